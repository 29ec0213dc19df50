"""The map of an Argoverse log → `LaneMap`: lane boundaries, drivable areas and crossings, with their heights. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from shapely import LineString, Polygon

from dwm.clip import LaneMap
from dwm.data.tables.scene_tables import FARTHEST
from dwm.errors import DwmError
from dwm.storage import Tree, limits
from dwm.strict_json import parse_json

ADVICE = "fetch the log again"
Shapes = list[Polygon | LineString]


def read_map(tree: Tree, name: str) -> LaneMap:
    """The map in a `log_map_archive_….json`. Raises DwmError, with the element, for what is no map or not finite."""
    content = parse_json(tree.read(name, limits.TEXT), name)
    readers = {"lane": ("lane_segments", _lane), "drivable_area": ("drivable_areas", _area)}
    readers["ped_crossing"] = ("pedestrian_crossings", _crossing)
    return LaneMap({layer: tuple(_shapes(name, content, part, of)) for layer, (part, of) in readers.items()})


def _shapes(
    name: str, content: Any, part: str, of: Callable[[str, dict[str, Any]], Shapes]
) -> Iterator[Polygon | LineString]:
    elements = content.get(part) if isinstance(content, dict) else None
    if not isinstance(elements, dict):
        raise DwmError(f"{name}: {part} is missing, or no object of elements; {ADVICE}")
    for key, element in elements.items():
        where = f"{name}: {part} {key[:40]}"
        if not isinstance(element, dict):
            raise DwmError(f"{where}: is {type(element).__name__}, not an object; {ADVICE}")
        yield from of(where, element)


def _lane(where: str, element: dict[str, Any]) -> Shapes:
    """Both boundaries; none at intersections, where lanes cross."""
    if not isinstance(is_intersection := element.get("is_intersection"), bool):
        raise DwmError(f"{where}: is_intersection is missing, or not true or false; {ADVICE}")
    if is_intersection:
        return []
    lines = [_points(where, element, f"{side}_lane_boundary") for side in ("left", "right")]
    return [LineString(points) for points in lines if len(points) > 1]


def _area(where: str, element: dict[str, Any]) -> Shapes:
    points = _points(where, element, "area_boundary")
    return [Polygon(points)] if len(points) > 2 else []


def _crossing(where: str, element: dict[str, Any]) -> Shapes:
    """Its two edges run the same way, so that the second is gone back along."""
    one, other = (_points(where, element, edge) for edge in ("edge1", "edge2"))
    points = np.concatenate([one, other[::-1]])
    return [Polygon(points)] if len(points) > 2 else []


def _points(where: str, element: dict[str, Any], field: str) -> Float[np.ndarray, "n 3"]:
    rows: Any = element.get(field)
    try:
        points = np.array([[row[axis] for axis in "xyz"] for row in rows], np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError) as error:
        raise DwmError(f"{where}: {field} is missing, or no list of x, y, z; {ADVICE}") from error
    if not (np.abs(points) < FARTHEST).all():
        raise DwmError(f"{where}: {field} holds a point that is not finite, or beyond the earth; {ADVICE}")
    return points
