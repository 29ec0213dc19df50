"""When and from where the sweeps of a clip are taken, be it an edited one or one without a LiDAR; sweeps in memory and in files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Float

from dwm.clip import Clip, LidarTrack
from dwm.geometry import inverse, transform
from dwm.storage import atomic_write

ROOF = transform(np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), np.array([0.943713, 0.0, 1.84023]))
"""Ego from LiDAR where a data set has none: nuScenes' mounting, x to the right, y ahead, z up (metres)."""


@dataclass(frozen=True)
class HeldSweeps:
    """Sweeps in memory (x, y, z, intensity, ring)."""

    clouds: tuple[Float[np.ndarray, "_ 5"], ...]

    def __len__(self) -> int:
        return len(self.clouds)

    @overload
    def __getitem__(self, index: int) -> Float[np.ndarray, "_ 5"]: ...

    @overload
    def __getitem__(self, index: slice) -> HeldSweeps: ...

    def __getitem__(self, index: int | slice) -> Float[np.ndarray, "_ 5"] | HeldSweeps:
        return HeldSweeps(self.clouds[index]) if isinstance(index, slice) else self.clouds[index]


def sweep_places(clip: Clip, recorded: Clip | None = None) -> LidarTrack:
    """A LiDAR whose sweeps are empty. recorded: the clip before edits; what moved its car moves its LiDAR too.

    Without a LiDAR sweeps are taken from the roof, at the time of each frame's first picture.
    """
    before = clip if recorded is None else recorded
    empty = HeldSweeps((np.zeros((0, 5)),) * clip.length)
    if before.lidar is None:
        return LidarTrack(clip.times[:, 0], clip.world_from_ego[:, 0], ROOF, empty)
    poses = before.lidar.world_from_ego
    if recorded is not None and not np.array_equal(clip.world_from_ego, recorded.world_from_ego):
        poses = poses @ inverse(recorded.world_from_ego[:, 0]) @ clip.world_from_ego[:, 0]
    return replace(before.lidar, world_from_ego=poses, points=empty, boxes=None)


def save_points(path: Path, points: Float[np.ndarray, "n 5"]) -> None:
    """Writes a sweep as nuScenes stores it: x, y, z (metres, the LiDAR's frame), intensity, ring as float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        beside.write_bytes(np.asarray(points).astype("<f4").tobytes())
