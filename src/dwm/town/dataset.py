"""The town as a `Dataset` that is drawn: `town:seed=7`, and its line in the table of formats. Writes no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from dwm.clip import Clip
from dwm.conventions import NUSCENES_VIEWS
from dwm.data.dataset import Checked, ReadOptions, scene_called
from dwm.data.open import Format, register
from dwm.errors import DwmError, nearest
from dwm.town.scene import CAMERA_HZ, TownScene, town_scene
from dwm.town.world.options import TownOptions

SCENES = 200
"""How many scenes are shown where nobody says how many; there is no last one."""
MOST = 1_000_000_000


@dataclass(frozen=True)
class TownWindow:
    """Frames of one scene, at a time of its own."""

    scene: int
    frames: int
    fps: float


@dataclass(frozen=True)
class TownScenes(Sequence[TownScene]):
    """Scenes by place; each is built when it is asked for."""

    seed: int
    numbers: range
    options: TownOptions

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> TownScene: ...

    @overload
    def __getitem__(self, index: slice) -> TownScenes: ...

    def __getitem__(self, index: int | slice) -> TownScene | TownScenes:
        if isinstance(index, slice):
            return TownScenes(self.seed, self.numbers[index], self.options)
        return town_scene(self.seed, self.numbers[index], self.options)


@dataclass(frozen=True)
class TownDataset:
    """Scenes `first` … `first + count − 1` of the town of a seed."""

    seed: int
    first: int = 0
    count: int = SCENES
    views: tuple[str, ...] = NUSCENES_VIEWS
    options: TownOptions = field(default_factory=TownOptions)

    @property
    def label(self) -> str:
        return f"town {self.seed}"

    @property
    def scenes(self) -> TownScenes:
        return TownScenes(self.seed, range(self.first, self.first + self.count), self.options)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, name: str | int) -> TownScene:
        if isinstance(name, str) and name.removeprefix("scene-").isdecimal():  # not all are built to find one
            number = int(name.removeprefix("scene-"))
            if self.first <= number < self.first + self.count:
                return town_scene(self.seed, number, self.options)
        if isinstance(name, str):
            last = self.first + self.count - 1
            raise DwmError(f"town {self.seed}: has no scene {name}; it has scene-{self.first:04d} to scene-{last:04d}")
        return scene_called(self.scenes, name, f"town {self.seed}")

    def windows(self, length: int, fps: float, stride: float, check: bool = True) -> list[TownWindow]:
        """One of each scene, whatever the stride: of new scenes there is no end."""
        return [TownWindow(index, length, fps or float(CAMERA_HZ)) for index in range(self.count)]

    def with_pictures(self, windows: Sequence[TownWindow]) -> list[TownWindow]:
        return list(windows)

    def clip(self, window: TownWindow) -> Clip:
        number = self.first + window.scene
        scene = town_scene(self.seed, number, self.options)
        latest = scene.seconds - (window.frames - 1) / window.fps - 1
        start = np.random.default_rng((self.seed, number, 99)).uniform(1, max(1, latest))
        return scene.clip(round(start * window.fps) / window.fps, window.frames, window.fps, self.views)

    def check(self, files: bool = False) -> Checked:
        """Nothing can be broken of what has no files."""
        return Checked("drawn", self.count, 0, 0, (), "the embedded town")

    def describe(self) -> str:
        return f"town {self.seed}: drawn as it is asked for, {self.count} scenes from scene-{self.first:04d} on"

    def digest(self) -> None:
        return None


def draw_town(settings: Mapping[str, str], options: ReadOptions) -> TownDataset:
    """The town of the settings seed, first and scenes. Raises DwmError for others, and for what is no number."""
    values = {"seed": 0, "first": 0, "scenes": SCENES}
    for key, value in settings.items():
        if key not in values:
            raise DwmError(f"town:{key}={value}: the town has no {key}{nearest(key, values)} ({', '.join(values)})")
        if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) < MOST):
            raise DwmError(f"town:{key}={value}: expected a whole number below {MOST:,}")
        values[key] = int(value)
    if not values["scenes"]:
        raise DwmError("town:scenes=0: ask for one scene at least")
    return TownDataset(values["seed"], values["first"], values["scenes"], options.views)


FORMAT = register(Format("town", "the embedded town", is_drawn=True, draw=draw_town))
