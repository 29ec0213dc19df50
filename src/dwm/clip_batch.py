"""`ClipBatch`: clips of one shape side by side, as tensors. It holds them and moves them to a device; reads and draws nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Num, UInt8
from torch import Tensor


@dataclass(frozen=True)
class SweepBatch:
    """The LiDAR of b clips of t frames. Clouds are ragged: points[b][t] are the n points (x, y, z) of one sweep, in metres in
    the vehicle's frame at that sweep.

    times are ms relative to the clip's first sweep; the poses of the vehicle say how it moves over the window, in float64,
    since worlds are kilometres wide. Layouts are boxes and map from above, as bytes (0 … 255) or floats in [0, 1].

    Sweeps along rays have layouts as those rays meet them; ranges are what was measured (metres, intensity 0 … 255), surfaces
    where a ray enters the first box, leaves it, and meets the ground (metres).
    """

    points: tuple[tuple[Float[Tensor, "_ 3"], ...], ...]
    times: Float[Tensor, "b t"]
    world_from_ego: Float[Tensor, "b t 4 4"]
    ego_from_lidar: Float[Tensor, "b t 4 4"]
    layout_boxes: Float[Tensor, "b t 3 H W"] | UInt8[Tensor, "b t 3 H W"] | None = None
    layout_map: Float[Tensor, "b t 3 H W"] | UInt8[Tensor, "b t 3 H W"] | None = None
    ranges: Float[Tensor, "b t 2 H W"] | None = None
    surfaces: Float[Tensor, "b t 3 H W"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(b, t)"""
        b, t = self.times.shape
        return b, t

    @property
    def present(self) -> Bool[Tensor, "b t"]:
        """Which frames have a sweep with points."""
        return torch.tensor([[len(sweep) > 0 for sweep in clip] for clip in self.points])

    def map(self, change: Callable[[Tensor], Tensor]) -> SweepBatch:
        """The same with every tensor changed."""
        points = tuple(tuple(change(sweep) for sweep in clip) for clip in self.points)
        changed = {
            item.name: change(value) for item in fields(self) if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, points=points, **changed)

    def frames_from(self, start: int, stop: int) -> SweepBatch:
        """The frames start … stop-1 of every clip."""
        points = tuple(clip[start:stop] for clip in self.points)
        cut = {
            item.name: value[:, start:stop]
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, points=points, **cut)


@dataclass(frozen=True)
class ClipBatch:
    """b clips of one shape, as tensors. What is None is not conditioned on. A batch of sweeps alone has no views (v = 0).

    frames and layouts are RGB in [0, 1]; those of a loader are bytes (0 … 255), a quarter of the memory on the way between
    processes and to the device, until `to` has made them floats there. times are ms relative to the first frame of the
    first sensor; intrinsics are in pixels of the original pictures, whose (width, height) is image_size; captions[b][t][v]
    are the words of each picture.
    """

    fps: Float[Tensor, "b"]
    times: Float[Tensor, "b t v"]
    intrinsics: Float[Tensor, "b t v 3 3"]
    ego_from_camera: Float[Tensor, "b t v 4 4"]
    world_from_ego: Float[Tensor, "b t v 4 4"]
    image_size: Num[Tensor, "b t v 2"]
    frames: Float[Tensor, "b t v 3 h w"] | UInt8[Tensor, "b t v 3 h w"] | None = None
    layout_boxes: Float[Tensor, "b t v 3 H W"] | UInt8[Tensor, "b t v 3 H W"] | None = None
    layout_map: Float[Tensor, "b t v 3 H W"] | UInt8[Tensor, "b t v 3 H W"] | None = None
    captions: tuple[tuple[tuple[str, ...], ...], ...] | None = None
    crossview_mask: Bool[Tensor, "b v v"] | None = None
    is_uncalibrated: Bool[Tensor, "b"] | None = None
    scenes: tuple[str, ...] = field(default=())
    lidar: SweepBatch | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Small tensors travel between processes by value: as shared memory each would hold a file open."""
        values = [getattr(self, item.name) for item in fields(self)]
        return _clip_batch, tuple(value.numpy() if _is_small(value) else value for value in values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(b, t, v)"""
        b, t, v = self.times.shape
        return b, t, v

    def to(self, device: torch.device | str) -> ClipBatch:
        """The same batch with every tensor on `device`, and pictures as floats."""
        return self.map(lambda value: as_floats(value.to(device, non_blocking=True)))

    def map(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        """The same batch with every tensor changed."""
        changed = {
            item.name: change(value) for item in fields(self) if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, lidar=None if self.lidar is None else self.lidar.map(change), **changed)

    def frames_from(self, start: int, stop: int) -> ClipBatch:
        """The frames start … stop-1 of every clip; what has no time axis is kept whole."""
        cut = {
            item.name: value[:, start:stop]
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor) and item.name in TIME_INDEXED
        }
        captions = None if self.captions is None else tuple(clip[start:stop] for clip in self.captions)
        lidar = None if self.lidar is None else self.lidar.frames_from(start, stop)
        return replace(self, captions=captions, lidar=lidar, **cut)


def _is_small(value: Any) -> bool:
    plain = isinstance(value, Tensor) and value.device.type == "cpu" and not value.requires_grad
    return plain and value.dtype != torch.bfloat16 and value.nbytes <= SMALL


def _clip_batch(*values: Any) -> ClipBatch:
    tensors: list[Any] = [torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in values]
    return ClipBatch(*tensors)


SMALL = 1 << 17
"""Bytes of a tensor up to which it travels by value."""


def as_floats(tensor: Tensor) -> Tensor:
    """Pictures of bytes as floats in [0, 1]; any other tensor as it is."""
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor


TIME_INDEXED = frozenset(
    ("times", "intrinsics", "ego_from_camera", "world_from_ego", "image_size", "frames", "layout_boxes", "layout_map")
)
