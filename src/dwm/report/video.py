"""`Video`: what generation gives and evaluation measures; the mosaic of its views, and its files. It never loads a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.conventions import NUSCENES_VIEWS
from dwm.errors import DwmError, nearest
from dwm.report import draw
from dwm.report.film import Film

MOSAIC_ORDER = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")
"""How a six-camera mosaic is read: what lies ahead above, what lies behind below, left on the left."""

TILE_WIDTHS = (400, 640)
"""A mosaic's pictures are enlarged or reduced until their width (pixels) lies between these."""


@dataclass(frozen=True)
class Video:
    """b clips of t frames and v synchronised views: RGB in [0, 1] at `fps` frames a second. One clip's video is its only item.

    At 0 frames a second they are single pictures, all of the same instant.
    """

    frames: Float[Tensor, "b t v 3 h w"]
    fps: float
    views: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.frames.ndim != 6 or self.frames.shape[3] != 3 or 0 in self.frames.shape:
            raise ValueError(f"frames are (b, t, v, 3, h, w), not {tuple(self.frames.shape)}")
        if len(self.views) != self.frames.shape[2]:
            raise ValueError(f"{self.frames.shape[2]} views but {len(self.views)} names: {self.views}")
        object.__setattr__(self, "frames", self.frames.detach().to("cpu", torch.float32).clamp(0, 1))
        object.__setattr__(self, "views", tuple(self.views))

    def __len__(self) -> int:
        return self.frames.shape[0]

    def __getitem__(self, clip: int) -> Video:
        """One clip, as a video of one item."""
        return Video(self.frames[clip : clip + 1 or None], self.fps, self.views)

    @property
    def length(self) -> int:
        """Frames of each clip."""
        return self.frames.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of one picture."""
        return self.frames.shape[5], self.frames.shape[4]

    def seconds(self, frame: int) -> float:
        """When a frame is, from the first one."""
        return frame / self.fps if self.fps else 0.0

    def select(self, views: Sequence[str]) -> Video:
        """The same video with only these views, in this order."""
        for name in views:
            if name not in self.views:
                raise DwmError(f"view {name} is not in this video ({', '.join(self.views)}){nearest(name, self.views)}")
        return Video(self.frames[:, :, [self.views.index(name) for name in views]], self.fps, tuple(views))

    def pictures(self, clip: int = 0) -> UInt8[np.ndarray, "t v h w 3"]:
        """One clip's pictures as bytes."""
        return (self.frames[clip].movedim(2, -1) * 255).round().to(torch.uint8).numpy()

    def mosaic(self, columns: int = 3, names: bool = True, scale: float | None = None, clip: int = 0) -> Film:
        """One clip's views side by side, camera names on them; small pictures are enlarged (by `scale` if given)."""
        size = _tile_size(self.size, scale)
        order = mosaic_order(self.views)
        pictures = self.pictures(clip)
        return Film(np.stack([self._tiles(frame, order, columns, names, size) for frame in pictures]), self.fps)

    def _tiles(
        self,
        frame: UInt8[np.ndarray, "v h w 3"],
        order: Sequence[int],
        columns: int,
        names: bool,
        size: tuple[int, int],
    ) -> UInt8[np.ndarray, "H W 3"]:
        tiles = [draw.resized(frame[view], size) for view in order]
        if names:
            tiles = [draw.with_name(tile, self.views[view]) for tile, view in zip(tiles, order, strict=True)]
        return draw.grid(tiles, min(columns, len(tiles)))

    def save(self, path: str | Path) -> tuple[Path, ...]:
        """Writes what the path's suffix asks for, and says what was written.

        `.mp4`, `.gif`: the mosaic; `.png`: the mosaic of a single frame; no suffix: a folder with one PNG for each frame and view.
        Several clips become `name-0.mp4`, `name-1.mp4`, …
        """
        path = Path(path)
        if len(self) > 1:
            return tuple(
                file
                for clip in range(len(self))
                for file in self[clip].save(path.with_name(f"{path.stem}-{clip}{path.suffix}"))
            )
        if not path.suffix:
            return self._save_pictures(path)
        return (self.mosaic().save(path),)

    def _save_pictures(self, folder: Path) -> tuple[Path, ...]:
        return tuple(
            Film(picture[None], self.fps).save(folder / f"{frame:03d}_{name}.png")
            for frame, pictures in enumerate(self.pictures())
            for name, picture in zip(self.views, pictures, strict=True)
        )


def spread_frames(length: int, most: int) -> list[int]:
    """Indices of at most `most` of `length` frames, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, length - 1, min(most, length)).round().astype(int)).tolist()


def mosaic_order(views: Sequence[str]) -> list[int]:
    """The order in which views are shown: nuScenes' cameras as one looks around, all others after them as they come."""
    indices = [views.index(name) for name in MOSAIC_ORDER if name in views]
    return indices + [index for index, name in enumerate(views) if name not in NUSCENES_VIEWS]


def _tile_size(size: tuple[int, int], scale: float | None) -> tuple[int, int]:
    width, height = size
    smallest, largest = TILE_WIDTHS
    if scale is None:
        scale = -(-smallest // width) if width < smallest else min(1.0, largest / width)
    if scale <= 0:
        raise DwmError(f"scale {scale} of a mosaic must be above 0")
    return max(2, round(width * scale)), max(2, round(height * scale))


def real_video(batch: ClipBatch, views: Sequence[str] = NUSCENES_VIEWS) -> Video:
    """The photographs of a batch."""
    if batch.frames is None:
        raise DwmError("this batch has no pictures: load them, or leave the real video out")
    return Video(batch.frames, float(batch.fps[0]), tuple(views))


def layout_video(batch: ClipBatch, views: Sequence[str] = NUSCENES_VIEWS) -> Video | None:
    """What the network is told, drawn: the map with the boxes over it. None where a batch has neither."""
    boxes, lanes = batch.layout_boxes, batch.layout_map
    if boxes is None or lanes is None:
        one = lanes if boxes is None else boxes
        return None if one is None else Video(one, float(batch.fps[0]), tuple(views))
    covered = boxes.amax(
        dim=3, keepdim=True
    )  # a box's line is bright in one channel at least; its edge fades into the map
    return Video(boxes + lanes * (1 - covered), float(batch.fps[0]), tuple(views))
