"""Edits of a clip: each gives another clip, in which what was asked is different and everything else stays.

Pictures stay those that were recorded; LiDAR that no longer fits is left out. `Clip`'s methods of the same names call these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dwm.clip import NO_BOXES, Boxes, Caption, Clip, LaneMap, Rig
from dwm.conventions import CAPTION_KEYS, MAP_LAYERS
from dwm.errors import DwmError, nearest
from dwm.geometry import rotation_z, transform


def without(clip: Clip, *names: str) -> Clip:
    """The clip without these boxes: instances, or categories with all below them. Raises DwmError for one that names none."""
    _require(clip, names)
    return _with_boxes(
        clip, lambda boxes, _, __: boxes.select(~np.any([boxes.named(name) for name in names], 0)) if names else boxes
    )


def moving(clip: Clip, name: str, left: float = 0, forward: float = 0, up: float = 0, turn: float = 0) -> Clip:
    """The clip with the boxes of an instance (or category) moved along their own axes in every frame.

    left, forward, up are metres, turn degrees counter-clockwise. Raises DwmError where the name means no box.
    """
    _require(clip, (name,))
    step, turned = np.array([forward, left, up], np.float64), rotation_z(np.deg2rad(turn))

    def move(boxes: Boxes, frame: int, view: int) -> Boxes:
        which = boxes.named(name)
        center = boxes.center + np.where(which[:, None], boxes.rotation @ step, 0.0)
        rotation = np.where(which[:, None, None], boxes.rotation @ turned, boxes.rotation)
        return replace(boxes, center=center, rotation=rotation)

    return _with_boxes(clip, move)


def adding(clip: Clip, box: Boxes, track: Float[np.ndarray, "k 5"] | None = None) -> Clip:
    """The clip with one more thing, wherever a picture's boxes are known. box: one box, in the world's frame.

    track: seconds since the clip's first picture, x, y, z of the centre (world, metres) and heading (radians), in the order
    of time; between them the box goes straight, before and behind them it stands. None: it stands where `box` is.
    Raises DwmError for an instance that the clip has already, and for a clip none of whose pictures has known boxes.
    """
    if len(box) != 1:
        raise DwmError(f"adding: expected one box, found {len(box)}; add one after the other")
    if box.instance[0] in clip.instances:
        raise DwmError(f"adding: the clip has an instance {box.instance[0]} already; name the new one otherwise")
    if track is not None and (len(track) == 0 or not np.isfinite(track).all() or (np.diff(track[:, 0]) <= 0).any()):
        raise DwmError("adding: a track is one or more rows of finite numbers whose seconds rise")
    if clip.boxes is not None and all(boxes is None for row in clip.boxes for boxes in row):
        raise DwmError("adding: no picture of this clip has known boxes; take a clip at annotated times")
    start = clip.times.min()

    def add(boxes: Boxes, frame: int, view: int) -> Boxes:
        if track is None:
            return boxes.joined(box)
        seconds = (clip.times[frame, view] - start) / 1e6
        heading = np.unwrap(track[:, 4])
        x, y, z, yaw = (np.interp(seconds, track[:, 0], line) for line in (*track[:, 1:4].T, heading))
        placed = replace(box, center=np.array([[x, y, z]]), rotation=rotation_z(float(yaw))[None])
        return boxes.joined(placed)

    t, v = clip.times.shape
    whole = clip if clip.boxes is not None else replace(clip, boxes=((NO_BOXES,) * v,) * t)
    return _with_boxes(whole, add)


def shifted(clip: Clip, ego_left: float = 0, ego_forward: float = 0, ego_up: float = 0, ego_turn: float = 0) -> Clip:
    """The clip with the own car, and so its cameras, moved along its axes: metres, and degrees counter-clockwise."""
    step = transform(rotation_z(np.deg2rad(ego_turn)), np.array([ego_forward, ego_left, ego_up], np.float64))
    return replace(clip, world_from_ego=clip.world_from_ego @ step, lidar=None)


def with_words(clip: Clip, **parts: str) -> Clip:
    """The clip with these parts (`time`, `weather`, …: `CAPTION_KEYS`) of all captions replaced; the rest of each stays."""
    for name in parts:
        if name not in CAPTION_KEYS:
            raise DwmError(f"with_words: captions have no part {name}{nearest(name, CAPTION_KEYS)}")
    t, v = clip.times.shape
    captions = clip.captions or ((Caption(),) * v,) * t
    return clip.with_captions(tuple(tuple(replace(caption, **parts) for caption in row) for row in captions))


def without_map(clip: Clip, *layers: str) -> Clip:
    """The clip without these layers of the map (`MAP_LAYERS`)."""
    for name in layers:
        if name not in MAP_LAYERS:
            raise DwmError(f"without_map: no layer {name}{nearest(name, MAP_LAYERS)} (known: {', '.join(MAP_LAYERS)})")
    if clip.map is None:
        raise DwmError("without_map: this clip has no map")
    left = {name: () if name in layers else polygons for name, polygons in clip.map.layers.items()}
    return replace(clip, map=LaneMap(left))


def with_rig(clip: Clip, rig: Rig) -> Clip:
    """The clip seen by other cameras; one of a name that the clip lacks has times, poses and boxes of its first camera.

    Pictures and captions are of the old cameras and are left out.
    """
    if rig.changes and len(rig.image_size) != clip.length:
        raise DwmError(f"with_rig: cameras of {len(rig.image_size)} frames for a clip of {clip.length}")
    column = [clip.rig.index(name) if name in clip.rig.names else 0 for name in rig.names]
    boxes = None if clip.boxes is None else tuple(tuple(row[view] for view in column) for row in clip.boxes)
    times, poses = clip.times[:, column], clip.world_from_ego[:, column]
    with_cameras = replace(clip, rig=rig, times=times, world_from_ego=poses, boxes=boxes)
    return replace(with_cameras, pictures=None, captions=None)


def means(name: str, things: Mapping[str, str]) -> bool:
    """Whether a name is one of these things, or a category that has one below it."""
    return any(name == thing or f"{kind}.".startswith(f"{name}.") for thing, kind in things.items())


def _require(clip: Clip, names: Sequence[str]) -> None:
    """Raises DwmError for a name that means none of the clip's boxes."""
    things = clip.instances
    kinds = sorted(set(things.values()))
    for name in names:
        if not name or not means(name, things):
            known = f" (there are {', '.join(kinds)})" if kinds else ""
            raise DwmError(f"{name!r} names no box of this clip{nearest(name, [*kinds, *things])}{known}")


def _with_boxes(clip: Clip, change: Callable[[Boxes, int, int], Boxes]) -> Clip:
    rows = tuple(
        tuple(None if boxes is None else change(boxes, frame, view) for view, boxes in enumerate(row))
        for frame, row in enumerate(clip.boxes or ())
    )
    return replace(clip, boxes=rows if clip.boxes is not None else None, lidar=None)
