"""`Clip`: one clip and its edits, in numpy. Many are a `ClipBatch`; what a clip is made of has its names here too.

This module only holds and checks them: it reads no file, draws nothing and knows no network.
Letters of shapes: b clips, t frames, v views, n things, h w rows and columns of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num

from dwm.clip_parts import NO_BOXES as NO_BOXES
from dwm.clip_parts import Boxes as Boxes
from dwm.clip_parts import Caption as Caption
from dwm.clip_parts import LaneMap as LaneMap
from dwm.clip_parts import LidarTrack as LidarTrack
from dwm.clip_parts import PartOfPictures as PartOfPictures
from dwm.clip_parts import Pictures as Pictures
from dwm.clip_parts import Rig as Rig
from dwm.clip_parts import Sweeps as Sweeps
from dwm.clip_parts import means as means
from dwm.clip_parts import outlines as outlines
from dwm.conventions import CAPTION_KEYS as CAPTION_KEYS
from dwm.conventions import MAP_LAYERS as MAP_LAYERS
from dwm.conventions import NUSCENES_VIEWS as NUSCENES_VIEWS
from dwm.errors import DwmError, nearest
from dwm.geometry import rotation_z, transform


@dataclass(frozen=True, repr=False)
class Clip:
    """t frames of v synchronised views, with everything that is known about them. What is None is not known.

    times are µs of each picture; world_from_ego is the car's pose at that picture's own time. boxes[frame][view] are the
    boxes at that picture (None: not annotated at that instant, which is drawn as nothing).
    """

    scene: str
    fps: float
    rig: Rig
    times: Num[np.ndarray, "t v"]
    world_from_ego: Float[np.ndarray, "t v 4 4"]
    pictures: Pictures | None = None
    boxes: tuple[tuple[Boxes | None, ...], ...] | None = None
    map: LaneMap | None = None
    captions: tuple[tuple[Caption, ...], ...] | None = None
    lidar: LidarTrack | None = None
    description: str = ""
    crossview_mask: Bool[np.ndarray, "v v"] | None = None

    @property
    def length(self) -> int:
        return len(self.times)

    @property
    def views(self) -> tuple[str, ...]:
        return self.rig.names

    def with_captions(self, captions: tuple[tuple[Caption, ...], ...]) -> Clip:
        return replace(self, captions=captions)

    def __repr__(self) -> str:
        t, v = self.times.shape
        parts = [name for name in ("pictures", "boxes", "map", "captions", "lidar") if getattr(self, name) is not None]
        return f"Clip({self.scene or 'no scene'}: {t} frames at {self.fps:g} a second, {v} views; {', '.join(parts)})"

    # Edits: each gives another clip, in which what was asked is different and everything else stays.
    # Pictures stay those that were recorded; LiDAR that no longer fits is left out.

    def without(self, *names: str) -> Clip:
        """The clip without these boxes: instances, or categories with all below them. Raises DwmError for one that names none."""
        self._require(names)
        return self._with_boxes(
            lambda boxes, _, __: boxes.select(~np.any([boxes.named(name) for name in names], 0)) if names else boxes
        )

    def moving(self, name: str, left: float = 0, forward: float = 0, up: float = 0, turn: float = 0) -> Clip:
        """The clip with the boxes of an instance (or category) moved along their own axes in every frame.

        left, forward, up are metres, turn degrees counter-clockwise. Raises DwmError where the name means no box.
        """
        self._require((name,))
        step, turned = np.array([forward, left, up], np.float64), rotation_z(np.deg2rad(turn))

        def move(boxes: Boxes, frame: int, view: int) -> Boxes:
            which = boxes.named(name)
            center = boxes.center + np.where(which[:, None], boxes.rotation @ step, 0.0)
            rotation = np.where(which[:, None, None], boxes.rotation @ turned, boxes.rotation)
            return replace(boxes, center=center, rotation=rotation)

        return self._with_boxes(move)

    def adding(self, box: Boxes, track: Float[np.ndarray, "k 5"] | None = None) -> Clip:
        """The clip with one more thing, wherever a picture's boxes are known. box: one box, in the world's frame.

        track: seconds since the clip's first picture, x, y, z of the centre (world, metres) and heading (radians), in the order
        of time; between them the box goes straight, before and behind them it stands. None: it stands where `box` is.
        Raises DwmError for an instance that the clip has already, and for a clip none of whose pictures has known boxes.
        """
        if len(box) != 1:
            raise DwmError(f"adding: expected one box, found {len(box)}; add one after the other")
        if box.instance[0] in self.instances:
            raise DwmError(f"adding: the clip has an instance {box.instance[0]} already; name the new one otherwise")
        if track is not None and (len(track) == 0 or not np.isfinite(track).all() or (np.diff(track[:, 0]) <= 0).any()):
            raise DwmError("adding: a track is one or more rows of finite numbers whose seconds rise")
        if self.boxes is not None and all(boxes is None for row in self.boxes for boxes in row):
            raise DwmError("adding: no picture of this clip has known boxes; take a clip at annotated times")
        start = self.times.min()

        def add(boxes: Boxes, frame: int, view: int) -> Boxes:
            if track is None:
                return boxes.joined(box)
            seconds = (self.times[frame, view] - start) / 1e6
            heading = np.unwrap(track[:, 4])
            x, y, z, yaw = (np.interp(seconds, track[:, 0], line) for line in (*track[:, 1:4].T, heading))
            placed = replace(box, center=np.array([[x, y, z]]), rotation=rotation_z(float(yaw))[None])
            return boxes.joined(placed)

        t, v = self.times.shape
        whole = self if self.boxes is not None else replace(self, boxes=((NO_BOXES,) * v,) * t)
        return whole._with_boxes(add)

    def shifted(self, ego_left: float = 0, ego_forward: float = 0, ego_up: float = 0, ego_turn: float = 0) -> Clip:
        """The clip with the own car, and so its cameras, moved along its axes: metres, and degrees counter-clockwise."""
        step = transform(rotation_z(np.deg2rad(ego_turn)), np.array([ego_forward, ego_left, ego_up], np.float64))
        return replace(self, world_from_ego=self.world_from_ego @ step, lidar=None)

    def with_words(self, **parts: str) -> Clip:
        """The clip with these parts (`time`, `weather`, …: `CAPTION_KEYS`) of all captions replaced; the rest of each stays."""
        for name in parts:
            if name not in CAPTION_KEYS:
                raise DwmError(f"with_words: captions have no part {name}{nearest(name, CAPTION_KEYS)}")
        t, v = self.times.shape
        captions = self.captions or ((Caption(),) * v,) * t
        return self.with_captions(tuple(tuple(replace(caption, **parts) for caption in row) for row in captions))

    def without_map(self, *layers: str) -> Clip:
        """The clip without these layers of the map (`MAP_LAYERS`)."""
        for name in layers:
            if name not in MAP_LAYERS:
                raise DwmError(
                    f"without_map: no layer {name}{nearest(name, MAP_LAYERS)} (known: {', '.join(MAP_LAYERS)})"
                )
        if self.map is None:
            raise DwmError("without_map: this clip has no map")
        left = {name: () if name in layers else polygons for name, polygons in self.map.layers.items()}
        return replace(self, map=LaneMap(left))

    def with_rig(self, rig: Rig) -> Clip:
        """The clip seen by other cameras; one of a name that the clip lacks has times, poses and boxes of its first camera.

        Pictures and captions are of the old cameras and are left out.
        """
        if rig.changes and len(rig.image_size) != self.length:
            raise DwmError(f"with_rig: cameras of {len(rig.image_size)} frames for a clip of {self.length}")
        column = [self.rig.index(name) if name in self.rig.names else 0 for name in rig.names]
        boxes = None if self.boxes is None else tuple(tuple(row[view] for view in column) for row in self.boxes)
        times, poses = self.times[:, column], self.world_from_ego[:, column]
        with_cameras = replace(self, rig=rig, times=times, world_from_ego=poses, boxes=boxes)
        return replace(with_cameras, pictures=None, captions=None, crossview_mask=None)

    def _require(self, names: Sequence[str]) -> None:
        """Raises DwmError for a name that means none of the clip's boxes."""
        things = self.instances
        kinds = sorted(set(things.values()))
        for name in names:
            if not name or not means(name, things):
                known = f" (there are {', '.join(kinds)})" if kinds else ""
                raise DwmError(f"{name!r} names no box of this clip{nearest(name, [*kinds, *things])}{known}")

    def _with_boxes(self, change: Callable[[Boxes, int, int], Boxes]) -> Clip:
        rows = tuple(
            tuple(None if boxes is None else change(boxes, frame, view) for view, boxes in enumerate(row))
            for frame, row in enumerate(self.boxes or ())
        )
        return replace(self, boxes=rows if self.boxes is not None else None, lidar=None)

    @property
    def instances(self) -> Mapping[str, str]:
        """The category of every thing that the clip's boxes know, by instance."""
        cells = [boxes for row in self.boxes or () for boxes in row if boxes is not None]
        return {thing: kind for cell in cells for thing, kind in zip(cell.instance, cell.category, strict=True)}

    def part(self, frames: slice, views: slice) -> Clip:
        """Some frames and views of the clip; no picture is loaded."""
        t, v = (range(count)[part] for count, part in zip(self.times.shape, (frames, views), strict=True))

        def cut(rows: tuple[tuple[Any, ...], ...] | None) -> tuple[tuple[Any, ...], ...] | None:
            return None if rows is None else tuple(row[views] for row in rows[frames])

        lidar = self.lidar
        if lidar is not None:
            lidar = replace(
                lidar,
                times=lidar.times[frames],
                world_from_ego=lidar.world_from_ego[frames],
                ego_from_lidar=lidar.ego_from_lidar if lidar.ego_from_lidar.ndim == 2 else lidar.ego_from_lidar[frames],
                points=lidar.points[frames],
            )
        return replace(
            self,
            rig=self.rig.select(self.rig.names[views]).frames(frames),
            times=self.times[frames, views],
            world_from_ego=self.world_from_ego[frames, views],
            pictures=None if self.pictures is None else PartOfPictures(self.pictures, tuple(t), tuple(v)),
            boxes=cut(self.boxes),
            captions=cut(self.captions),
            lidar=lidar,
            crossview_mask=None if self.crossview_mask is None else self.crossview_mask[views, views],
        )


def ring_mask(views: int) -> Bool[np.ndarray, "v v"]:
    """Which views see each other when the cameras stand in a ring: each itself and its two neighbours."""
    steps = (np.arange(views)[:, None] - np.arange(views)[None]) % views
    return (steps <= 1) | (steps == views - 1)
