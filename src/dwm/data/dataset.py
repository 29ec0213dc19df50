"""What a data set is to the rest of the house: `Dataset` and `Scene`, whichever format is behind them. Reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from dwm.clip import Clip
from dwm.conventions import NUSCENES_VIEWS
from dwm.data.captions import Missing
from dwm.errors import DwmError, nearest
from dwm.options import Options


class ReadOptions(Options):
    """What is read of a data set."""

    views: tuple[str, ...] = Field(NUSCENES_VIEWS, description="cameras, in the order in which a network sees them")
    lidar: bool = Field(True, description="whether the LiDAR, where there is one, is read and drives the clock")
    cameras: bool = Field(True, description="whether cameras are read; else clips have the LiDAR alone")
    maps: bool = Field(True, description="whether maps are read; without one of them, reading fails")
    key_frames_only: bool = Field(False, description="whether sweeps between key frames are left out")
    boxes_between: bool = Field(
        True, description="whether frames between two annotated moments have interpolated boxes; else they have none"
    )
    exact_pictures: bool = Field(False, description="whether JPEGs are decoded at full size before resizing")
    captions: tuple[str, str] | None = Field(
        None, description="caption file and times file: paths or URLs; none: by their names in the tree"
    )
    index: str | None = Field(
        None, description="opendv: the list of videos: a path or URL; none: by its name in the tree"
    )
    left_out: tuple[str, ...] = Field((), description="opendv: videos that are not read")
    missing_captions: Missing = Field("error", description="what a camera without captions reads")


@runtime_checkable
class Scene(Protocol):
    """One drive without a cut. Times are seconds since its first frame."""

    @property
    def name(self) -> str: ...

    @property
    def seconds(self) -> float:
        """From its first frame to its last."""

    @property
    def rate(self) -> float:
        """Frames per second as recorded; 0 where that is not known."""

    @property
    def views(self) -> tuple[str, ...]:
        """The cameras that it has pictures of."""

    def clip(
        self, start: float = 0.0, frames: int = 8, fps: float | None = None, views: Sequence[str] | None = None
    ) -> Clip:
        """`frames` frames from `start` (s) on, at `fps` (None: as recorded). Raises DwmError where the scene has no such frames."""


@runtime_checkable
class Dataset(Protocol):
    """Scenes of one data set. Picklable, and safe to use in forked or spawned workers."""

    @property
    def label(self) -> str:
        """What tells its scenes from another set's of the same names, where latents of both are stored."""

    @property
    def scenes(self) -> Sequence[Scene]: ...

    def __len__(self) -> int:
        """How many scenes there are."""

    def __getitem__(self, name: str | int) -> Scene:
        """A scene by its name or its number. Raises DwmError, with the nearest name, for one that is not there."""

    def windows(self, length: int, fps: float, stride: float, check: bool = True) -> Sequence[Any]:
        """All windows of `length` frames of all scenes; fps and stride as in `frame_windows`. A window is picklable, its `scene`
        the number of the scene that it is cut from."""

    def with_pictures(self, windows: Sequence[Any]) -> Sequence[Any]:
        """Those of them whose pictures are there, with a warning that counts the others. Raises DwmError where none is left."""

    def clip(self, window: Any) -> Clip:
        """A window as a clip."""

    def check(self, files: bool = False) -> Checked:
        """Walks the data set, and says what is broken. `files`: pictures and sweeps are decoded too."""

    def describe(self) -> str:
        """One line: where it lies, which format and version it is, how much it holds."""

    def digest(self) -> str | None:
        """Changes when anything that is known of its frames does; None where the name says all, as of what is drawn."""


@dataclass(frozen=True)
class Finding:
    """One kind of trouble: how often, and one example with its fix. A note is not a fault: the set can be used as it is."""

    kind: str
    count: int
    example: str
    is_fault: bool = True


@dataclass(frozen=True)
class Checked:
    """What was walked, and what was found."""

    version: str
    scenes: int
    frames: int
    boxes: int
    findings: tuple[Finding, ...]
    format: str = ""
    """What it was, in words; empty where nothing was recognised."""

    @property
    def faults(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.is_fault)


S = TypeVar("S", bound=Scene)


def scene_called(scenes: Sequence[S], name: str | int, where: str) -> S:
    """The scene of this name, token or number. Raises DwmError with the nearest name where there is none."""
    if isinstance(name, int):
        if not -len(scenes) <= name < len(scenes):
            raise DwmError(f"{where}: has no scene number {name}; it has {len(scenes)}, counted from 0")
        return scenes[name]
    for scene in scenes:
        if name in (scene.name, getattr(scene, "token", None)):
            return scene
    names = [scene.name for scene in scenes]
    raise DwmError(f"{where}: has no scene {name}{nearest(name, names)} ({len(names)} scenes: {few(names)})")


def few(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
