"""What was driven as a scene package: data like any other, which `dwm data`, `generate`, `train` and `export` read.

A scene is a drive from one beginning through one map: a reset or the next street begins another. `drive-000` has the pictures
that the network drew and the words that it was told, `drive-000-real` what the source itself saw. Nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from dwm.clip import Caption, LaneMap, Rig
from dwm.data.package import Manifest, PackageWriter
from dwm.data.package.writer import SceneWriter
from dwm.drive.world import Picture, as_jpeg

START = 1_700_000_000_000_000
"""µs of the first drive's reset. Not the clock of the machine: the same drive gives the same package."""
PAUSE = 1_000_000
"""µs between a drive's last picture and the next drive's reset."""
QUALITY = 95


@dataclass
class _Scene:
    """One of a drive's two scenes, and the caption of its last picture."""

    writer: SceneWriter
    said: Caption | None = None
    last: int = 0

    def add(
        self,
        time: int,
        pose: Float[np.ndarray, "4 4"],
        picture: Picture,
        views: UInt8[np.ndarray, "v h w 3"],
        caption: Caption,
    ) -> None:
        boxes, names = picture.moment.boxes, picture.rig.names
        # No LiDAR looks here.
        instant = self.writer.instant(time, boxes, None if boxes is None else [0] * len(boxes))
        if caption != self.said:
            # Of several captions the nearest in time counts: the old one holds to the picture before.
            ends = [(self.last, self.said)] if self.said is not None else []
            for at, words in (*ends, (time, caption)):
                for name in names:
                    self.writer.caption(name, at, words)
        for name, pixels in zip(names, views, strict=True):
            self.writer.frame(name, time, pose, as_jpeg(pixels, QUALITY), instant)
        self.said, self.last = caption, time


@dataclass
class _Drive:
    """From one beginning through one map."""

    name: str
    map: LaneMap | None
    rig: Rig
    scenes: dict[str, _Scene] = field(default_factory=dict)


class ScenePackage:
    """Writes the pictures of a world as they come. The package (a `.zip` or a folder) appears when it is closed, if any came."""

    def __init__(self, path: Path, source: str) -> None:
        """`source`: what the manifest says it comes from."""
        self.path, self.source = path, source
        self.stack = ExitStack()
        self.package: PackageWriter | None = None
        self.drive: _Drive | None = None
        self.drives, self.frame = 0, -1
        self.reset = self.last = START

    def add(self, picture: Picture) -> None:
        """Keeps one picture, its boxes, its pose and its words."""
        moment, again = picture.moment, picture.frame <= self.frame
        if again:
            self.reset = self.last + PAUSE
        drive = self.drive
        if drive is None or again or not _same_place(drive, picture):
            self.drive = drive = self._begun(picture)
        self.frame, self.last = picture.frame, self.reset + round(moment.time * 1e6)
        for ending, views, pose, caption in _sides(picture):
            if ending not in drive.scenes:
                drive.scenes[ending] = self._scene(drive, ending, views)
            drive.scenes[ending].add(self.last, pose, picture, views, caption)

    def close(self) -> None:
        self.stack.close()

    def _begun(self, picture: Picture) -> _Drive:
        if self.package is None:
            self.package = self.stack.enter_context(PackageWriter(self.path, Manifest(source=self.source)))
        drive = _Drive(f"drive-{self.drives:03d}", picture.moment.map, picture.rig)
        self.drives += 1
        if drive.map is not None:
            self.package.map(drive.name, drive.map)
        return drive

    def _scene(self, drive: _Drive, ending: str, views: UInt8[np.ndarray, "v h w 3"]) -> _Scene:
        assert self.package is not None
        kind = "as it was" if ending else "as a network drew it"
        name = drive.name + ending
        scene = self.package.scene(name, drive.name if drive.map is not None else "", f"{self.source}, {kind}")
        height, width = views.shape[1:3]
        scale = np.array([width, height]) / drive.rig.image_size
        for number, view in enumerate(drive.rig.names):
            pixels = np.diag([*scale[number], 1.0]) @ drive.rig.intrinsics[number]
            scene.sensor(view, drive.rig.ego_from_camera[number], pixels)
        return _Scene(scene)


def _same_place(drive: _Drive, picture: Picture) -> bool:
    """Whether the map and the cameras are those that the drive began with."""
    there = picture.moment.map
    if there is not drive.map and there != drive.map:
        return False
    names = ("intrinsics", "ego_from_camera", "image_size")
    return picture.rig is drive.rig or all(
        np.array_equal(getattr(picture.rig, name), getattr(drive.rig, name)) for name in names
    )


def _sides(
    picture: Picture,
) -> Iterator[tuple[str, UInt8[np.ndarray, "v h w 3"], Float[np.ndarray, "4 4"], Caption]]:
    """Ending of the scene's name, pictures, the car's pose in them, words."""
    moment = picture.moment
    told = moment.caption if picture.prompt is None else Caption(image_description=picture.prompt)
    yield "", picture.views, moment.world_from_ego, told
    if picture.real is not None:
        seen_from = moment.world_from_ego if moment.pictured_from is None else moment.pictured_from
        yield "-real", picture.real, seen_from, moment.caption
