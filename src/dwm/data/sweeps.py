"""Clips → batches of sweeps: points by distance, thinned, in the vehicle's frame; boxes and map from above. Knows no format."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dwm.clip import Clip, LidarTrack
from dwm.clip_batch import ClipBatch, SweepBatch
from dwm.data.birdseye import BirdseyeOptions, draw_boxes_birdseye, draw_map_birdseye
from dwm.data.loading import Windows
from dwm.data.points import moved, thinned, within
from dwm.data.rays import RayOptions, boxes_of, draw_map_rays, range_image, surfaces
from dwm.errors import DwmError

FASTEST = 100.0
"""Metres a second that no vehicle drives: poses further apart jump."""
Draw = Callable[[Clip, int, BirdseyeOptions], np.ndarray]


@dataclass(frozen=True)
class SweepPreparation:
    """What of a sweep is used: points from `nearest` to `farthest` metres around the LiDAR, `most` of them drawn at random.

    boxes, map: whether these are drawn from above, as `birdseye` says; with `rays` as a LiDAR's rays meet them.
    """

    nearest: float = 2.4
    farthest: float = 72.0
    most: int = 32768
    boxes: bool = True
    map: bool = True
    birdseye: BirdseyeOptions = field(default_factory=BirdseyeOptions)
    rays: RayOptions | None = None


@dataclass(frozen=True)
class SweepReader:
    """Windows of a data set as batches of one clip with its LiDAR alone. Picklable."""

    windows: Windows
    frames: int
    preparation: SweepPreparation

    def __len__(self) -> int:
        return len(self.windows)

    def read(self, index: int, frames: slice = slice(None), generator: torch.Generator | None = None) -> ClipBatch:
        return prepare_sweeps(self.windows[index].part(frames, slice(None)), self.preparation, generator)


def prepare_sweeps(clip: Clip, preparation: SweepPreparation, generator: torch.Generator | None = None) -> ClipBatch:
    """One clip as a batch of one, without views. Raises DwmError for a clip without LiDAR, or whose poses are no numbers."""
    track = clip.lidar
    where = f"{clip.scene or 'the clip'}"
    if track is None:
        raise DwmError(f"{where}: has no LiDAR; take a data set with sweeps (dwm town writes one)")
    t = len(track.times)
    mounting = np.broadcast_to(track.ego_from_lidar, (t, 4, 4))
    if not (np.isfinite(track.world_from_ego).all() and np.isfinite(mounting).all()):
        raise DwmError(
            f"{where}: a pose of the vehicle or of its LiDAR is no number; check the set with dwm data check"
        )
    _warn_of_jumps(track, where)
    times = torch.from_numpy((np.asarray(track.times, np.float64) - float(track.times[0])) / 1000)
    clouds = [np.array(track.points[frame], np.float32) for frame in range(t)]
    points = tuple(_sweep(clouds[frame], mounting[frame], preparation, generator) for frame in range(t))
    lidar = SweepBatch(
        (points,),
        times[None].float(),
        torch.from_numpy(track.world_from_ego.astype(np.float64))[None],
        torch.from_numpy(mounting.astype(np.float32))[None],
        **(
            _from_above(clip, preparation)
            if preparation.rays is None
            else _along_rays(clip, preparation, clouds, mounting)
        ),
    )
    return ClipBatch(
        fps=torch.tensor([clip.fps], dtype=torch.float32),
        times=torch.zeros(1, t, 0),
        intrinsics=torch.zeros(1, t, 0, 3, 3),
        ego_from_camera=torch.zeros(1, t, 0, 4, 4),
        world_from_ego=torch.zeros(1, t, 0, 4, 4),
        image_size=torch.zeros(1, t, 0, 2, dtype=torch.int64),
        scenes=(clip.scene,),
        lidar=lidar,
    )


def merge_lidar(batches: Sequence[SweepBatch]) -> SweepBatch:
    """Sweeps of clips of one length as one batch; a layout that only some have is black for the others."""
    return SweepBatch(
        tuple(clip for batch in batches for clip in batch.points),
        torch.cat([batch.times for batch in batches]),
        torch.cat([batch.world_from_ego for batch in batches]),
        torch.cat([batch.ego_from_lidar for batch in batches]),
        _joined([batch.layout_boxes for batch in batches]),
        _joined([batch.layout_map for batch in batches]),
        _joined([batch.ranges for batch in batches]),
        _joined([batch.surfaces for batch in batches]),
    )


def _joined(layouts: Sequence[Tensor | None]) -> Tensor | None:
    there = next((layout for layout in layouts if layout is not None), None)
    if there is None:
        return None
    return torch.cat([torch.zeros_like(there[:1]) if layout is None else layout for layout in layouts])


def _sweep(
    cloud: Float[np.ndarray, "n _"],
    mounting: Float[np.ndarray, "4 4"],
    preparation: SweepPreparation,
    generator: torch.Generator | None,
) -> Tensor:
    """(n, 3) in the vehicle's frame."""
    points = torch.from_numpy(np.ascontiguousarray(cloud[:, :3]))
    near = thinned(within(points, preparation.nearest, preparation.farthest), preparation.most, generator)
    return moved(near, torch.from_numpy(mounting.astype(np.float32)))


def _from_above(clip: Clip, preparation: SweepPreparation) -> dict[str, Tensor | None]:
    return {
        "layout_boxes": _pictures(clip, draw_boxes_birdseye, preparation) if preparation.boxes else None,
        "layout_map": _pictures(clip, draw_map_birdseye, preparation) if preparation.map else None,
    }


def _along_rays(
    clip: Clip, preparation: SweepPreparation, clouds: Sequence[np.ndarray], mounting: Float[np.ndarray, "t 4 4"]
) -> dict[str, Tensor | None]:
    rays, track, t = preparation.rays, clip.lidar, len(clouds)
    assert rays is not None and track is not None
    met = [
        surfaces(
            boxes_of(clip, frame) if preparation.boxes else None, track.world_from_lidar(frame), mounting[frame], rays
        )
        for frame in range(t)
    ]
    values = {
        "ranges": [range_image(cloud, rays) for cloud in clouds],
        "surfaces": [where for where, _ in met],
        "layout_boxes": [picture for _, picture in met] if preparation.boxes else None,
        "layout_map": [draw_map_rays(clip, frame, mounting[frame], rays, preparation.birdseye) for frame in range(t)]
        if preparation.map
        else None,
    }
    return {key: None if value is None else torch.from_numpy(np.stack(value))[None] for key, value in values.items()}


def _pictures(clip: Clip, draw: Draw, preparation: SweepPreparation) -> Tensor:
    """(1, t, 3, H, W) bytes."""
    pictures = [draw(clip, frame, preparation.birdseye) for frame in range(clip.length)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)[None].contiguous()


def _warn_of_jumps(track: LidarTrack, where: str) -> None:
    """The network sees each sweep in its own frame, so a jump spoils no sweep; but what is told of the window is wrong."""
    if len(track.times) < 2:
        return
    seconds = np.diff(np.asarray(track.times, np.float64)) / 1e6
    metres = np.linalg.norm(np.diff(track.world_from_ego[:, :3, 3], axis=0), axis=1)
    jumps = metres > FASTEST * np.maximum(seconds, 1e-3) + 1
    if jumps.any():
        at = int(jumps.argmax())
        warnings.warn(
            f"{where}: the vehicle's pose jumps {metres[at]:.0f} m between sweeps {at} and {at + 1} of a clip "
            f"({seconds[at]:.2f} s); it is used as it is",
            stacklevel=3,
        )
