"""What stands still: sky, ground, road with its markings, buildings, trees, lamps, as meshes in a scene's local frame.

Places follow from the streets by fixed rules (set-back, spacing from the corner), so that they can be guessed from the map.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from shapely.geometry import Polygon

from dwm.town.mesh import Colour, Mesh, MeshBuilder
from dwm.town.streets import CORNER, CROSSING, CROSSING_MIDDLE, SIDEWALK, STOP, Street, Streets
from dwm.town.style import (
    GROUND_COLOURS,
    KERB,
    LINE_WHITE,
    LINE_YELLOW,
    ROAD,
    ROAD_WET,
    ROOF_COLOURS,
    Look,
    Style,
)
from dwm.town.style import (
    SIDEWALK as SIDEWALK_COLOUR,
)

SETBACK = 4.0
BUILDING, GAP, DEPTH = 16.0, 4.0, 12.0
STOREY, BAY = 3.2, 4.0
STOREYS = {"low": (2, 2), "tall": (6, 5)}
"""Storeys of the corner building and every second one after it, and of those between."""

LAMP_WARM: Colour = (1.0, 0.85, 0.55)


@dataclass(frozen=True)
class Part:
    """A mesh and how it is drawn: `ground` parts are painted in order without depth, others are depth-tested."""

    mesh: Mesh
    ground: bool = False
    texture: str = ""


@dataclass(frozen=True)
class Side:
    """One kerb of a stretch of street: u runs from u0 by `step` (±1) for `length` metres; d is sign · distance."""

    street: Street
    u0: float
    step: int
    length: float
    sign: int

    @property
    def kerb(self) -> float:
        return self.street.left if self.sign > 0 else self.street.right

    def point(self, along: float, beyond: float) -> tuple[float, float]:
        """A place `along` metres from the corner and `beyond` metres behind the kerb."""
        return self.street.point(self.u0 + self.step * along, self.sign * (self.kerb + beyond))


def sides(streets: Streets) -> Iterator[tuple[Side, bool]]:
    """All kerb sides, measured from the junction's corners (or the middle crossing); True where buildings start at once."""
    if streets.cross is None:
        for step in (1, -1):
            for sign in (1, -1):
                yield Side(streets.main, 0.0, step, streets.main.half_length, sign), True
        return
    for arm in streets.arms:
        for sign in (1, -1):
            length = arm.street.half_length - arm.edge
            yield Side(arm.street, arm.at(0.0), arm.sign, length, sign), not arm.street.across
    missing = _missing(streets)
    if missing is not None:  # the blind side of a T: houses run on opposite the stem
        sign = missing
        yield Side(streets.main, -streets.cross.left, 1, streets.cross.left + streets.cross.right, sign), False


def _missing(streets: Streets) -> int | None:
    """The side (±1) of the main street on which the crossing street does not go on."""
    signs = {arm.sign for arm in streets.arms if arm.street.across}
    return None if len(signs) == 2 else -signs.pop()


FAR_AWAY = 900.0
WET_ROAD = 0.72
"""Opacity of a wet road; the rest is what it mirrors."""


def ground_parts(streets: Streets, style: Style, look: Look) -> list[Part]:
    """Everything that is flat, painted from below to above. The land leaves the road free, where a wet one mirrors."""
    land, sidewalk, kerb, road = MeshBuilder(), MeshBuilder(), MeshBuilder(), MeshBuilder()
    for low, high, edges in _blocks(streets):
        _land(land, low, high, GROUND_COLOURS[style.ground])
        for builder, width, colour in ((sidewalk, SIDEWALK, SIDEWALK_COLOUR), (kerb, 0.22, KERB)):
            for x0, y0, x1, y1 in _edge_strips(low, high, edges, width):
                _land(builder, (x0, y0), (x1, y1), colour)
    asphalt = ROAD_WET if look.wet else ROAD
    for corner, towards in _corners(streets):
        _fillet(kerb, corner, towards, 0.22, KERB)
        _fillet(kerb, corner, towards, 0.0, asphalt)
    for street, u0, u1 in _road_pieces(streets):
        _rectangle(road, street, (u0, u1), (-street.right, street.left), asphalt, WET_ROAD if look.wet else 1.0)
    layers = (land, sidewalk, kerb, road)
    parts = [Part(layer.mesh().tinted(look.tint), ground=True) for layer in layers]
    return [*parts, Part(_markings(streets).tinted(look.tint), ground=True)]


def _land(b: MeshBuilder, low: tuple[float, float], high: tuple[float, float], colour: Colour) -> None:
    (x0, y0), (x1, y1) = low, high
    points = [(x0, y0, 0.0), (x1, y0, 0.0), (x1, y1, 0.0), (x0, y1, 0.0)]
    b.face(points, colour, outward=(0, 0, 1), shaded=False)


def _blocks(streets: Streets) -> Iterator[tuple[tuple[float, float], tuple[float, float], str]]:
    """Rectangles (low, high) of land between the roads, and which of their edges (w, e, s, n) lie on a kerb."""
    main, cross = streets.main, streets.cross
    arms = {arm.sign for arm in streets.arms if arm.street.across}
    for sign, (y0, y1), edge in ((1, (main.left, FAR_AWAY), "s"), (-1, (-FAR_AWAY, -main.right), "n")):
        if cross is None or sign not in arms:
            yield (-FAR_AWAY, y0), (FAR_AWAY, y1), edge
            continue
        yield (-FAR_AWAY, y0), (-cross.left, y1), edge + "e"
        yield (cross.right, y0), (FAR_AWAY, y1), edge + "w"
        end = sign * cross.half_length
        yield (-cross.left, min(end, sign * FAR_AWAY)), (cross.right, max(end, sign * FAR_AWAY)), ""
    yield (main.half_length, -main.right), (FAR_AWAY, main.left), ""
    yield (-FAR_AWAY, -main.right), (-main.half_length, main.left), ""


def _edge_strips(low, high, edges: str, width: float) -> Iterator[tuple[float, float, float, float]]:
    (x0, y0), (x1, y1) = low, high
    strips = {
        "s": (x0, y0, x1, y0 + width),
        "n": (x0, y1 - width, x1, y1),
        "w": (x0, y0, x0 + width, y1),
        "e": (x1 - width, y0, x1, y1),
    }
    return (strips[edge] for edge in edges)


def _road_pieces(streets: Streets) -> list[tuple[Street, float, float]]:
    """The streets without overlaps, so that a translucent wet road is nowhere painted twice."""
    main = streets.main
    result = [(main, -main.half_length, main.half_length)]
    result += [
        (arm.street, arm.at(0.0), arm.sign * arm.street.half_length) for arm in streets.arms if arm.street.across
    ]
    return result


def _rectangle(b: MeshBuilder, street: Street, u, d, colour: Colour, alpha: float = 1.0) -> None:
    points = [(*street.point(x, y), 0.0) for x, y in ((u[0], d[0]), (u[1], d[0]), (u[1], d[1]), (u[0], d[1]))]
    b.face(points, colour, outward=(0, 0, 1), shaded=False, alpha=alpha)


def _corners(streets: Streets) -> Iterator[tuple[tuple[float, float], tuple[int, int]]]:
    """The road's inner corners and the directions (±1, ±1) away from the junction."""
    if streets.cross is None:
        return
    for arm in streets.arms:
        if arm.street.across:
            y = arm.at(0.0)
            yield (streets.cross.right, y), (1, arm.sign)
            yield (-streets.cross.left, y), (-1, arm.sign)


def _fillet(b: MeshBuilder, corner, towards, grow: float, colour: Colour) -> None:
    (x, y), (sx, sy) = corner, towards
    cx, cy, radius = x + sx * CORNER, y + sy * CORNER, CORNER - grow
    arc = [
        (cx - sx * radius * np.cos(a), cy - sy * radius * np.sin(a), 0.0) for a in np.linspace(0, np.pi / 2, 7).tolist()
    ]
    b.face([(x + sx * grow, y + sy * grow, 0.0), *arc], colour, outward=(0, 0, 1), shaded=False)


def _markings(streets: Streets) -> Mesh:
    b = MeshBuilder()
    if streets.cross is None:
        low, high = CROSSING_MIDDLE
        _zebra(b, streets.main, low, high)
        for sign, start in ((1, high + 1.0), (-1, low - 1.0)):
            _lines(b, streets.main, sign, start)
            _stop_bar(b, streets.main, sign, start)
        return b.mesh()
    for arm in streets.arms:
        _zebra(b, arm.street, arm.at(CROSSING[0]), arm.at(CROSSING[1]))
        _lines(b, arm.street, arm.sign, arm.at(STOP - 0.4))
        _stop_bar(b, arm.street, arm.sign, arm.at(STOP - 0.4))
    return b.mesh()


def _zebra(b: MeshBuilder, street: Street, u0: float, u1: float) -> None:
    for d in np.arange(-street.right + 0.35, street.left - 0.5, 1.3).tolist():
        _rectangle(b, street, (u0, u1), (d, d + 0.7), LINE_WHITE)


def _stop_bar(b: MeshBuilder, street: Street, sign: int, u: float) -> None:
    inner, outer = (0.15, street.left - 2.3) if sign > 0 else (-0.15, -street.right + 2.3)
    _rectangle(b, street, (u, u + sign * 0.45), (inner, outer), LINE_WHITE)


def _lines(b: MeshBuilder, street: Street, sign: int, start: float) -> None:
    """The double centre line, dashed lane lines and the parking strips' edges of a stretch."""
    end = sign * street.half_length
    for d in (-0.2, 0.2):
        _rectangle(b, street, (start, end), (d - 0.09, d + 0.09), LINE_YELLOW)
    inner = [-i * 3.5 for i in range(1, street.forward)] + [i * 3.5 for i in range(1, street.backward)]
    for d in inner:
        for u in np.arange(abs(start), abs(end), 9.0).tolist():
            _rectangle(b, street, (sign * u, sign * (u + 3.6)), (d - 0.1, d + 0.1), LINE_WHITE)
    for d in (-street.right + 2.3, street.left - 2.3):
        _rectangle(b, street, (start + sign * 7.0, end), (d - 0.07, d + 0.07), LINE_WHITE)


def building_places(streets: Streets) -> list[tuple[Side, float, int]]:
    """(side, metres from the corner, number from the corner) of each house. Along the main street from the corner on, along
    the crossing street behind the corner house."""
    places = []
    for side, corner in sides(streets):
        start = SIDEWALK + SETBACK if streets.cross is not None else 2.0
        if not corner:
            start += DEPTH + GAP
        if side.length < 60:
            places.append((side, (side.length - BUILDING) / 2, 0))
            continue
        alongs = np.arange(start, side.length - BUILDING, BUILDING + GAP).tolist()
        places += [(side, along, index) for index, along in enumerate(alongs)]
    return places


def building_footprints(streets: Streets) -> list[Polygon]:
    """The ground that houses cover."""
    near, far = SIDEWALK + SETBACK, SIDEWALK + SETBACK + DEPTH
    return [
        Polygon([side.point(a, n) for a, n in ((u, near), (u + BUILDING, near), (u + BUILDING, far), (u, far))])
        for side, u, _ in building_places(streets)
    ]


def building_parts(streets: Streets, style: Style, look: Look) -> list[Part]:
    """Walls, ground floor and roof of every house."""
    return [
        part for side, along, index in building_places(streets) for part in _building(side, along, index, style, look)
    ]


def _building(side: Side, along: float, index: int, style: Style, look: Look) -> list[Part]:
    """Walls (textured), and a roof."""
    storeys = STOREYS[style.height][index % 2]
    height = storeys * STOREY
    near, far = SIDEWALK + SETBACK, SIDEWALK + SETBACK + DEPTH
    corners = [
        side.point(*at) for at in ((along, near), (along + BUILDING, near), (along + BUILDING, far), (along, far))
    ]
    centre = np.mean(corners, axis=0)
    walls, shops, roof = MeshBuilder(), MeshBuilder(), MeshBuilder()
    for i in range(4):
        (xa, ya), (xb, yb) = corners[i], corners[(i + 1) % 4]
        bays = round(float(np.hypot(xb - xa, yb - ya)) / BAY)
        outward = ((xa + xb) / 2 - centre[0], (ya + yb) / 2 - centre[1], 0.0)
        uv = [(0, 0), (bays / 2, 0), (bays / 2, (storeys - 1) / 2), (0, (storeys - 1) / 2)]
        lower = [(xa, ya, STOREY), (xb, yb, STOREY), (xb, yb, height), (xa, ya, height)]
        walls.face(lower, (1, 1, 1), outward=outward, uv=uv, glow=False)
        ground = [(xa, ya, 0.0), (xb, yb, 0.0), (xb, yb, STOREY), (xa, ya, STOREY)]
        shops.face(ground, (1, 1, 1), outward=outward, uv=[(0, 0), (bays / 2, 0), (bays / 2, 1), (0, 1)])
    _roof(roof, side, along, near, far, height, style)
    return [
        Part(walls.mesh(), texture="facade"),
        Part(shops.mesh(), texture="shops"),
        Part(roof.mesh().tinted(look.tint)),
    ]


def _roof(b: MeshBuilder, side: Side, along: float, near: float, far: float, height: float, style: Style) -> None:
    colour, over = ROOF_COLOURS[style.wall], 0.5
    a0, a1, n0, n1 = along - over, along + BUILDING + over, near - over, far + over

    def at(a: float, n: float, z: float) -> tuple[float, float, float]:
        return (*side.point(a, n), z)

    if style.height == "tall":
        low = [at(a0, n0, height), at(a1, n0, height), at(a1, n1, height), at(a0, n1, height)]
        high = [(x, y, z + 0.7) for x, y, z in low]
        b.hull(low, high, [colour] * 4, colour)
        return
    ridge, middle = height + 3.4, (n0 + n1) / 2
    up = (0, 0, 1)
    b.face([at(a0, n0, height), at(a1, n0, height), at(a1, middle, ridge), at(a0, middle, ridge)], colour, outward=up)
    b.face([at(a0, n1, height), at(a1, n1, height), at(a1, middle, ridge), at(a0, middle, ridge)], colour, outward=up)
    for a in (along, along + BUILDING):
        gable = [at(a, near, height), at(a, far, height), at(a, middle, ridge - 0.3)]
        outward = np.asarray(at(a, 0, 0)) - np.asarray(at(along + BUILDING / 2, 0, 0))
        b.face(gable, tuple(0.75 * c for c in colour), outward=outward)


def tree_places(streets: Streets, style: Style) -> list[tuple[float, float]]:
    """Trees stand between sidewalk and houses, at every gap and house's middle, or at every third gap."""
    pitch = BUILDING + GAP
    first = SIDEWALK + SETBACK + BUILDING + GAP / 2 if streets.cross is not None else BUILDING + 2.0 + GAP / 2
    spacing, first = (pitch / 2, first - pitch / 2) if style.trees == "many" else (3 * pitch, first)
    places = []
    for side, _ in sides(streets):
        if side.length < 60:
            continue
        places += [
            side.point(a, SIDEWALK + SETBACK * 0.42) for a in np.arange(first, side.length - 5, spacing).tolist()
        ]
    return places


def tree(look: Look) -> Mesh:
    """A round tree, its foot in the origin."""
    b = MeshBuilder()
    b.box((-0.17, -0.17, 0.0), (0.17, 0.17, 2.6), (0.38, 0.26, 0.16))
    b.ball((0.0, 0.0, 4.2), (1.75, 1.75, 2.1), ((0.3, 0.6, 0.2), (0.1, 0.3, 0.1)), rings=5, sides=9)
    return b.mesh().tinted(look.tint)


def lamp_places(streets: Streets) -> list[tuple[float, float, float]]:
    """(x, y, yaw) of the lamps: at every second gap, one metre behind the kerb; yaw points over the road."""
    places = []
    for side, _ in sides(streets):
        if side.length < 60:
            continue
        for along in np.arange(14.0, min(side.length - 10, 140.0), 2 * (BUILDING + GAP)).tolist():
            (x, y), (rx, ry) = side.point(along, 0.6), side.point(along, -1.0)
            places.append((x, y, float(np.arctan2(ry - y, rx - x))))
    return places


def lamp(look: Look) -> Mesh:
    """A street lamp whose arm reaches along +x."""
    b = MeshBuilder()
    b.box((-0.08, -0.08, 0.0), (0.08, 0.08, 6.4), (0.3, 0.32, 0.34))
    b.box((-0.08, -0.06, 6.3), (1.7, 0.06, 6.45), (0.3, 0.32, 0.34))
    b.box((1.0, -0.18, 6.12), (1.9, 0.18, 6.32), LAMP_WARM if look.lit else (0.7, 0.7, 0.68), glow=look.lit)
    return b.mesh().tinted(look.tint)


def pool(radius: float, strength: float, centre: tuple[float, float] = (0.0, 0.0), stretch: float = 1.0) -> Mesh:
    """A spot of warm light on the ground that fades towards its rim."""
    b = MeshBuilder()
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    rim = [(centre[0] + stretch * radius * np.cos(a), centre[1] + radius * np.sin(a), 0.0) for a in angles.tolist()]
    for i in range(len(rim)):
        b.face([(*centre, 0.0), rim[i], rim[(i + 1) % len(rim)]], LAMP_WARM, shaded=False, alpha=0.0, glow=True)
    mesh = b.mesh()
    mesh.colours[::3, 3] = strength
    return mesh


def sky(look: Look, radius: float = 300.0) -> Mesh:
    """A dome around the camera, graded from the horizon up; below the horizon it mirrors itself (wet roads show that)."""
    b = MeshBuilder()
    elevations = np.radians([0.0, 4.0, 10.0, 18.0, 28.0, 40.0, 60.0, 90.0])
    shares = np.clip(np.degrees(elevations) / 32.0, 0, 1)
    palette = np.asarray(look.sky)
    colours = [tuple(np.array([np.interp(w * 2, (0, 1, 2), palette[:, c]) for c in range(3)])) for w in shares]
    azimuths = np.linspace(0, 2 * np.pi, 25)

    def point(e: float, a: float) -> tuple[float, float, float]:
        return (radius * np.cos(e) * np.cos(a), radius * np.cos(e) * np.sin(a), radius * np.sin(e))

    for flip in (1, -1):
        for i in range(len(elevations) - 1):
            for a0, a1 in itertools.pairwise(azimuths):
                low, high = flip * elevations[i], flip * elevations[i + 1]
                points = [point(low, a0), point(low, a1), point(high, a1), point(high, a0)]
                b.face(points, (1, 1, 1), outward=-np.mean(points, axis=0), shaded=False, glow=True)
                lows = [abs(np.arcsin(np.clip(v[2] / radius, -1, 1)) - low) < 1e-6 for v in b.vertices[-4:]]
                b.colours[-4:] = [(*colours[i if is_low else i + 1], 1.0) for is_low in lows]
    return b.mesh()


FOG_DISTANCES = (5.0, 7.0, 9.5, 12.5, 16.0, 20.0, 25.0, 31.0, 38.0, 47.0, 58.0, 72.0, 92.0, 120.0, 160.0)


def haze_veils(look: Look) -> list[Mesh]:
    """Translucent walls before the camera, the farthest first: what lies behind one loses its share to the haze.

    They face along +y; each is one quad, for two that meet would show their seam.
    """
    if look.haze < 0.004:
        return []
    veils, inner = [], 0.0
    for distance in FOG_DISTANCES:
        alpha, inner = 1 - float(np.exp(-look.haze * (distance - inner))), distance
        b, half = MeshBuilder(), 1.6 * distance
        points = [(-half, distance, 0.0), (half, distance, 0.0), (half, distance, 90.0), (-half, distance, 90.0)]
        b.face(points, look.horizon, shaded=False, glow=True, alpha=alpha)
        veils.append(b.mesh())
    return veils[::-1]
