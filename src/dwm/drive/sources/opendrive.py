"""An OpenDRIVE map (ASAM OpenDRIVE 1.4 to 1.7, `.xodr`) as a `LaneMap`: lane marks, the ground that is driven on, crossings.

Coordinates are OpenDRIVE's own: metres, x east, y north, z up. Superelevation is not read: roads are level across.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float
from shapely import union_all
from shapely.geometry import LineString, Polygon

from dwm.clip import LaneMap
from dwm.errors import DwmError

MOST_LETTERS = 256 << 20
LONGEST = 2_000_000.0
"""Metres of road of a whole map."""
STEP = 1.0
"""Metres between samples along a road."""
DRIVEN_ON = {
    "driving", "bidirectional", "parking", "shoulder", "stop", "entry", "exit", "onRamp", "offRamp", "connectingRamp", "bus",
    "taxi", "HOV",
}  # fmt: skip
UNPAINTED = {"none", "curb", "grass", "edge"}
"""Marks that are no paint: a curb is where the ground that is driven on ends."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


@dataclass(frozen=True)
class Cubics:
    """Cubic polynomials one after another along s: `start` of each, and a, b, c, d; before the first one it is 0."""

    start: Float[np.ndarray, "n"]
    factors: Float[np.ndarray, "n 4"]

    @classmethod
    def of(cls, elements: Sequence[Element], at: str, offset: float = 0.0) -> Cubics:
        rows = sorted([offset + _number(one, at), *(_number(one, name) for name in "abcd")] for one in elements)
        table = np.array(rows).reshape(-1, 5)
        return cls(table[:, 0], table[:, 1:])

    def __call__(self, s: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
        if not len(self.start):
            return np.zeros_like(s)
        which = np.searchsorted(self.start, s + 1e-9, "right") - 1
        ds = s - self.start[which]
        a, b, c, d = self.factors[which].T
        return np.where(which < 0, 0.0, a + ds * (b + ds * (c + ds * d)))


@dataclass(frozen=True)
class Line:
    """The reference line of a road: geometries by their start, and its height."""

    geometries: tuple[Element, ...]
    height: Cubics

    def at(self, s: Float[np.ndarray, "k"], t: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k 3"]:
        """Points at stations s, t metres to the left of the line."""
        x, y, heading = self.pose(s)
        return np.stack([x - t * np.sin(heading), y + t * np.cos(heading), self.height(s)], -1)

    def pose(self, s: Float[np.ndarray, "k"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and heading (radians) at stations s."""
        starts = np.array([_number(one, "s") for one in self.geometries])
        which = np.clip(np.searchsorted(starts, s + 1e-9, "right") - 1, 0, None)
        result = np.zeros((3, len(s)))
        for number in np.unique(which).tolist():
            here = which == number
            result[:, here] = _along(self.geometries[number], s[here] - starts[number])
        return result[0], result[1], result[2]


def read_opendrive(text: str, where: str = "OpenDRIVE map") -> LaneMap:
    """The map: `lane` has the painted marks as lines, `drivable_area` the ground, `ped_crossing` the crosswalks; all with height.

    Raises DwmError, beginning with `where`, for what is no OpenDRIVE, and for what is not read of it.
    """
    root = _parsed(text, where)
    marks: list[LineString] = []
    ground: list[Polygon] = []
    crossings: list[Polygon] = []
    length = 0.0
    try:
        for road in root.iter("road"):
            length += _number(road, "length")
            if length > LONGEST:
                raise DwmError(f"has more than {LONGEST / 1000:.0f} km of road")
            line = _line(road)
            for part in _lanes(road, line):
                marks += part.marks
                ground += part.ground
            crossings += _crossings(road, line)
    except (DwmError, ValueError) as error:
        raise DwmError(f"{where}: {error}") from None
    whole = union_all([area.buffer(0) if not area.is_valid else area for area in ground], grid_size=0.01)
    areas = tuple(part for part in getattr(whole, "geoms", (whole,)) if isinstance(part, Polygon) and part.area > 0)
    return LaneMap({"lane": tuple(marks), "drivable_area": areas, "ped_crossing": tuple(crossings)})


def _parsed(text: str, where: str) -> Element:
    if len(text) > MOST_LETTERS:
        raise DwmError(f"{where}: {len(text):,} letters; {MOST_LETTERS:,} at most")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DwmError(f"{where}: declares a document type, which maps have no use for; take it out")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DwmError(f"{where}: is no XML ({error}); give the text of an .xodr file") from None
    if root.tag != "OpenDRIVE":
        raise DwmError(f"{where}: is a <{root.tag[:40]}>, not an <OpenDRIVE>")
    return root


def _number(element: Element, name: str, default: float | None = None) -> float:
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DwmError(f"<{element.tag}> {name} is {text!r}; it is a number")
    return value


def _line(road: Element) -> Line:
    geometries = sorted(road.iterfind("planView/geometry"), key=lambda one: _number(one, "s"))
    if not geometries:
        raise DwmError(f"road {road.get('id')} has no planView")
    return Line(tuple(geometries), Cubics.of(road.findall("elevationProfile/elevation"), "s"))


def _along(geometry: Element, s: Float[np.ndarray, "k"]) -> Float[np.ndarray, "3 k"]:
    """x, y and heading s metres into a geometry."""
    shape = next(iter(geometry), None)
    kind = "" if shape is None else shape.tag
    if shape is None or kind == "line":
        u, v, turn = _clothoid(s, 0.0, 0.0, 1.0)
    elif kind == "arc":
        curvature = _number(shape, "curvature")
        u, v, turn = _clothoid(s, curvature, curvature, 1.0)
    elif kind == "spiral":
        u, v, turn = _clothoid(
            s, _number(shape, "curvStart"), _number(shape, "curvEnd"), max(_number(geometry, "length"), 1e-9)
        )
    elif kind in ("poly3", "paramPoly3"):
        u, v, turn = _polynomial(shape, s, _number(geometry, "length"))
    else:
        raise DwmError(f"a geometry is a <{kind[:40]}>; known: line, arc, spiral, poly3, paramPoly3")
    x, y, heading = (_number(geometry, name) for name in ("x", "y", "hdg"))
    c, sine = math.cos(heading), math.sin(heading)
    return np.stack([x + c * u - sine * v, y + sine * u + c * v, heading + turn])


def _clothoid(s: Float[np.ndarray, "k"], first: float, last: float, length: float) -> tuple[Any, Any, Any]:
    """A curve whose curvature goes from `first` to `last` over `length`: u ahead, v to the left, how far it has turned."""
    change = (last - first) / (2 * length)
    u_at = (NODES + 1) / 2 * s[:, None]
    angle = u_at * (first + change * u_at)
    return (
        (np.cos(angle) @ WEIGHTS) * s / 2,
        (np.sin(angle) @ WEIGHTS) * s / 2,
        s * (first + change * s),
    )


def _polynomial(shape: Element, s: Float[np.ndarray, "k"], length: float) -> tuple[Any, Any, Any]:
    if shape.tag == "poly3":
        u_factors, v_factors, end = [0.0, 1.0, 0.0, 0.0], [_number(shape, name) for name in "abcd"], length
    else:
        u_factors = [_number(shape, f"{name}U") for name in "abcd"]
        v_factors = [_number(shape, f"{name}V") for name in "abcd"]
        end = length if shape.get("pRange") == "arcLength" else 1.0
    # The parameter is no length: stations are found on a table of lengths.
    p = np.linspace(0.0, end, 257)
    u, v = (np.polynomial.polynomial.polyval(p, factors) for factors in (u_factors, v_factors))
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(u), np.diff(v)))])
    at = np.interp(s, way, p)
    du, dv = (np.polynomial.polynomial.polyval(at, np.polynomial.polynomial.polyder(f)) for f in (u_factors, v_factors))
    polyval = np.polynomial.polynomial.polyval
    return polyval(at, u_factors), polyval(at, v_factors), np.arctan2(dv, du)


@dataclass(frozen=True)
class Section:
    """What is drawn of one lane section."""

    marks: tuple[LineString, ...]
    ground: tuple[Polygon, ...]


def _lanes(road: Element, line: Line) -> Iterator[Section]:
    sections = sorted(road.iterfind("lanes/laneSection"), key=lambda one: _number(one, "s"))
    offset = Cubics.of(road.findall("lanes/laneOffset"), "s")
    ends = [*(_number(section, "s") for section in sections), _number(road, "length")]
    for section, (start, end) in zip(sections, pairwise(ends), strict=True):
        if end - start > 1e-6:
            yield _section(section, line, offset, start, end)


def _section(section: Element, line: Line, offset: Cubics, start: float, end: float) -> Section:
    s = np.linspace(start, end, max(2, math.ceil((end - start) / STEP) + 1))
    middle = offset(s)
    marks: list[LineString] = []
    ground: list[Polygon] = []
    for lane in section.iterfind("center/lane"):
        marks += _marks(lane, line, s, middle, start, end)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        inner = middle
        lanes = sorted(section.iterfind(f"{side}/lane"), key=lambda lane: abs(_number(lane, "id")))
        for lane in lanes:
            if lane.find("width") is None and lane.find("border") is not None:
                raise DwmError(f"lane {lane.get('id')} has borders in place of widths, which are not read")
            outer = inner + sign * Cubics.of(lane.findall("width"), "sOffset", start)(s)
            if lane.get("type") in DRIVEN_ON and np.abs(outer - inner).max() > 0.01:
                ring = np.concatenate([line.at(s, inner), line.at(s, outer)[::-1]])
                ground.append(Polygon(ring))
            marks += _marks(lane, line, s, outer, start, end)
            inner = outer
    return Section(tuple(marks), tuple(ground))


def _marks(
    lane: Element, line: Line, s: Float[np.ndarray, "k"], t: Float[np.ndarray, "k"], start: float, end: float
) -> list[LineString]:
    """The painted lines on a lane's outer edge, which lies t metres to the left of the reference line."""
    marks = sorted(lane.iterfind("roadMark"), key=lambda one: _number(one, "sOffset", 0.0))
    ends = [*(start + _number(mark, "sOffset", 0.0) for mark in marks), end]
    lines = []
    for mark, (begin, stop) in zip(marks, pairwise(ends), strict=True):
        if mark.get("type", "none") in UNPAINTED or stop - begin < 0.1:
            continue
        part = np.concatenate([[begin], s[(s > begin + 1e-6) & (s < stop - 1e-6)], [stop]])
        lines.append(LineString(line.at(part, np.interp(part, s, t))))
    return lines


def _crossings(road: Element, line: Line) -> Iterator[Polygon]:
    for thing in road.iterfind("objects/object"):
        if thing.get("type") != "crosswalk":
            continue
        outline = thing.find("outline")
        outline = thing.find("outlines/outline") if outline is None else outline
        corners = [] if outline is None else [_corner(thing, corner, line) for corner in outline]
        corners = [corner for corner in corners if corner is not None]
        if len(corners) >= 3 and (area := Polygon(corners)).area > 0.01:
            yield area


def _corner(thing: Element, corner: Element, line: Line) -> Float[np.ndarray, "3"] | None:
    if corner.tag == "cornerRoad":
        place = line.at(np.array([_number(corner, "s")]), np.array([_number(corner, "t")]))[0]
        return place + np.array([0.0, 0.0, _number(corner, "dz", 0.0)])
    if corner.tag != "cornerLocal":
        return None
    s, t = np.array([_number(thing, "s")]), np.array([_number(thing, "t")])
    heading = float(line.pose(s)[2][0]) + _number(thing, "hdg", 0.0)
    u, v = _number(corner, "u"), _number(corner, "v")
    turned = [math.cos(heading) * u - math.sin(heading) * v, math.sin(heading) * u + math.cos(heading) * v]
    up = _number(thing, "zOffset", 0.0) + _number(corner, "z", 0.0)
    return line.at(s, t)[0] + np.array([*turned, up])
