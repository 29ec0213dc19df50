"""Whether an edited clip can be: boxes in one another or in the own car, off the road, under it or above it. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from jaxtyping import Float
from shapely import Polygon, STRtree

from dwm.clip import Boxes, Clip
from dwm.geometry import apply

OWN_LENGTH = (-1.0, 3.1)
"""The own car behind and ahead of its origin, the middle of the rear axle, in metres: a compact car."""
OWN_WIDTH, OWN_HEIGHT = 1.75, 1.5
OVERLAP = 0.05
"""Share of the smaller box's ground that two boxes may share: annotated ones touch by as much."""
HEIGHT, SLOPE = 0.7, 0.05
"""How far a box may begin below or above the road: metres, and metres more for each metre from the own car's path."""


def ground_at(clip: Clip, point: Float[np.ndarray, "2"]) -> float:
    """The road's height (world, metres) at x, y: of the plane that the own car stands on where it comes nearest."""
    pose, _ = _nearest_pose(clip, point)
    up, across = pose[:3, 2], point - pose[:2, 3]
    return float(pose[2, 3] - up[:2] @ across / max(float(up[2]), 0.1))


def _nearest_pose(clip: Clip, point: Float[np.ndarray, "2"]) -> tuple[Float[np.ndarray, "4 4"], float]:
    poses = clip.world_from_ego.reshape(-1, 4, 4)
    metres = np.linalg.norm(poses[:, :2, 3] - point, axis=1)
    nearest = int(metres.argmin())
    return poses[nearest], float(metres[nearest])


@dataclass
class _Faults:
    """What is wrong, each kind once for each pair of things, with the first frame that shows it."""

    lines: dict[tuple[str, ...], str] = field(default_factory=dict)

    def add(self, key: tuple[str, ...], text: str, frame: int) -> None:
        self.lines.setdefault(key, f"{text} (frame {frame})")


def edit_faults(before: Clip, after: Clip) -> list[str]:
    """A line for each thing that an edit put where it cannot be; what the data say themselves is not judged."""
    faults = _Faults()
    own_moved = not np.array_equal(before.world_from_ego, after.world_from_ego)
    drivable = _drivable(after)
    for frame in range(after.length):
        if (pair := _boxes_at(before, after, frame)) is None:
            continue
        old, boxes, own = *pair, after.world_from_ego[frame, 0]
        changed = _changed(old, boxes)
        ground = _footprints(boxes)
        _overlaps(boxes, ground, changed, faults, frame)
        car = _own_ground(own)
        for i in np.flatnonzero(shapely.intersects(ground, car)).tolist() if len(boxes) else ():
            if (own_moved or changed[i]) and _level(boxes, i, own[2, 3], own[2, 3] + OWN_HEIGHT):
                faults.add(("own", boxes.instance[i]), f"{_name(boxes, i)} stands in the own car", frame)
        for i in np.flatnonzero(changed).tolist():
            _stands(after, boxes, i, drivable, faults, frame)
    if own_moved and drivable is not None:
        for frame in range(after.length):
            was, now = (shapely.Point(*clip.world_from_ego[frame, 0, :2, 3]) for clip in (before, after))
            if drivable.covers(was) and not drivable.covers(now):
                faults.add(("own",), "the own car is off the road, outside of the map's drivable area", frame)
    return list(faults.lines.values())


def _boxes_at(before: Clip, after: Clip, frame: int) -> tuple[Boxes | None, Boxes] | None:
    """The boxes of the first view whose boxes are known, before and after."""
    for view, boxes in enumerate(after.boxes[frame] if after.boxes else ()):
        if boxes is not None:
            return None if before.boxes is None else before.boxes[frame][view], boxes
    return None


def _changed(old: Boxes | None, boxes: Boxes) -> np.ndarray:
    """Which boxes an edit added or moved."""
    row_of = {} if old is None else dict(zip(old.instance, range(len(old)), strict=True))
    changed = np.ones(len(boxes), bool)
    for i, name in enumerate(boxes.instance):
        if old is not None and (j := row_of.get(name)) is not None:
            same = np.array_equal(old.center[j], boxes.center[i]) and np.array_equal(old.rotation[j], boxes.rotation[i])
            changed[i] = not same
    return changed


def _overlaps(boxes: Boxes, ground: np.ndarray, changed: np.ndarray, faults: _Faults, frame: int) -> None:
    if not changed.any():
        return
    moved = np.flatnonzero(changed)
    for which, j in STRtree(ground).query(ground[moved], predicate="intersects").T:
        i = int(moved[which])
        if i == j or (changed[j] and j < i):
            continue
        shared = ground[i].intersection(ground[j]).area / min(ground[i].area, ground[j].area)
        low, high = boxes.center[j, 2] - boxes.size[j, 2] / 2, boxes.center[j, 2] + boxes.size[j, 2] / 2
        if shared > OVERLAP and _level(boxes, i, low, high):
            key = (boxes.instance[i], boxes.instance[j])
            faults.add(key, f"{_name(boxes, i)} stands in {_name(boxes, int(j))}", frame)


def _stands(clip: Clip, boxes: Boxes, i: int, drivable: Polygon | None, faults: _Faults, frame: int) -> None:
    """Whether a box stands on the road's height and, where it is a vehicle, on the road."""
    point, name = boxes.center[i, :2], boxes.instance[i]
    above = float(boxes.center[i, 2] - boxes.size[i, 2] / 2) - ground_at(clip, point)
    allowed = HEIGHT + SLOPE * _nearest_pose(clip, point)[1]
    if above < -allowed:
        faults.add(("low", name), f"{_name(boxes, i)} begins {-above:.1f} m below the road", frame)
    elif above > allowed:
        faults.add(("high", name), f"{_name(boxes, i)} hangs {above:.1f} m above the road", frame)
    if boxes.category[i].startswith("vehicle.") and drivable is not None and not drivable.covers(shapely.Point(*point)):
        faults.add(("off", name), f"{_name(boxes, i)} is off the road, outside of the map's drivable area", frame)


def _drivable(clip: Clip) -> Polygon | None:
    """The drivable area around the clip's path; None where the map knows none there."""
    areas = [] if clip.map is None else list(clip.map.layers.get("drivable_area", ()))
    if not areas:
        return None
    reach = shapely.MultiPoint(clip.world_from_ego[..., :2, 3].reshape(-1, 2)).envelope.buffer(150)
    near = STRtree(areas).query(reach, predicate="intersects")
    polygons = [shapely.make_valid(shapely.force_2d(areas[i])) for i in near if areas[i].geom_type == "Polygon"]
    return shapely.union_all(polygons) if polygons else None


def _footprints(boxes: Boxes) -> np.ndarray:
    corners = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]]) / 2
    ground = (corners * boxes.size[:, None]) @ np.swapaxes(boxes.rotation, 1, 2) + boxes.center[:, None]
    return shapely.polygons(ground[..., :2])


def _own_ground(own: Float[np.ndarray, "4 4"]) -> Polygon:
    back, front, half = *OWN_LENGTH, OWN_WIDTH / 2
    corners = np.array([[front, half, 0], [front, -half, 0], [back, -half, 0], [back, half, 0]])
    return Polygon(apply(own, corners)[:, :2])


def _level(boxes: Boxes, i: int, low: float, high: float) -> bool:
    """Whether a box and what reaches from `low` to `high` share a height."""
    half = boxes.size[i, 2] / 2
    return bool(boxes.center[i, 2] - half < high and low < boxes.center[i, 2] + half)


def _name(boxes: Boxes, i: int) -> str:
    return f"{boxes.category[i]} {boxes.instance[i][:12]}"
