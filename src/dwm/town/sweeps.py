"""A clip's LiDAR in the town: sweeps cast when they are asked for. Writes no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
from jaxtyping import Float

from dwm.clip import Boxes
from dwm.town.drawing.lidar import EGO_FROM_LIDAR, Solids, scan
from dwm.town.drawing.lidar_solids import hulls, moved, scenery
from dwm.town.world.streets import Streets
from dwm.town.world.style import Style


@runtime_checkable
class Scene(Protocol):
    """What is asked of a `TownScene`."""

    @property
    def seed(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def streets(self) -> Streets: ...
    @property
    def style(self) -> Style: ...
    @property
    def world_from_local(self) -> Float[np.ndarray, "4 4"]: ...
    def things(self, time_s: float) -> Sequence[Any]: ...
    def boxes_of(self, things: Sequence[Any]) -> Boxes: ...
    def world_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]: ...


@dataclass(frozen=True)
class TownSweeps:
    """The sweeps at these seconds of a scene, all things in sight among what light meets. The same second, the same sweep."""

    scene: Scene
    times_s: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.times_s)

    @overload
    def __getitem__(self, index: int) -> Float[np.ndarray, "n 5"]: ...

    @overload
    def __getitem__(self, index: slice) -> TownSweeps: ...

    def __getitem__(self, index: int | slice) -> Float[np.ndarray, "n 5"] | TownSweeps:
        if isinstance(index, slice):
            return TownSweeps(self.scene, self.times_s[index])
        scene, time = self.scene, self.times_s[index]
        bodies = hulls(scene.boxes_of(scene.things(time)))
        generator = np.random.default_rng((scene.seed, scene.index, 97, round(time * 1e6)))
        return scan(Solids.join(self._scenery, bodies), scene.world_from_ego(time) @ EGO_FROM_LIDAR, generator)

    @cached_property
    def _scenery(self) -> Solids:
        move = self.scene.world_from_local
        return moved(scenery(self.scene.streets, self.scene.style), move[:3, :3], move[:3, 3])
