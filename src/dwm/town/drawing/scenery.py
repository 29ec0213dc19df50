"""What stands beside the streets: buildings, trees, lamps, as meshes in a scene's local frame.

Places follow from the streets by fixed rules (set-back, spacing from the corner), so that they can be guessed from the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from shapely.geometry import Polygon

from dwm.town.drawing.mesh import LAMP_WARM, Mesh, MeshBuilder, Part
from dwm.town.world.streets import SIDEWALK, Street, Streets
from dwm.town.world.style import ROOF_COLOURS, Look, Style

SETBACK = 4.0
BUILDING, GAP, DEPTH = 16.0, 4.0, 12.0
STOREY, BAY = 3.2, 4.0
STOREYS = {"low": (2, 2), "tall": (6, 5)}
"""Storeys of the corner building and every second one after it, and of those between."""


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


def building_positions(streets: Streets) -> list[tuple[Side, float, int]]:
    """(side, metres from the corner, number from the corner) of each house. Along the main street from the corner on, along
    the crossing street behind the corner house."""
    positions = []
    for side, corner in sides(streets):
        start = SIDEWALK + SETBACK if streets.cross is not None else 2.0
        if not corner:
            start += DEPTH + GAP
        if side.length < 60:
            positions.append((side, (side.length - BUILDING) / 2, 0))
            continue
        alongs = np.arange(start, side.length - BUILDING, BUILDING + GAP).tolist()
        positions += [(side, along, index) for index, along in enumerate(alongs)]
    return positions


def building_footprints(streets: Streets) -> list[Polygon]:
    """The ground that houses cover."""
    near, far = SIDEWALK + SETBACK, SIDEWALK + SETBACK + DEPTH
    return [
        Polygon([side.point(a, n) for a, n in ((u, near), (u + BUILDING, near), (u + BUILDING, far), (u, far))])
        for side, u, _ in building_positions(streets)
    ]


def building_parts(streets: Streets, style: Style, look: Look) -> list[Part]:
    """Walls, ground floor and roof of every house."""
    return [
        part
        for side, along, index in building_positions(streets)
        for part in _building(side, along, index, style, look)
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
        b.face(gable, (0.75 * colour[0], 0.75 * colour[1], 0.75 * colour[2]), outward=outward)


def tree_positions(streets: Streets, style: Style) -> list[tuple[float, float]]:
    """Trees stand between sidewalk and houses, at every gap and house's middle, or at every third gap."""
    pitch = BUILDING + GAP
    first = SIDEWALK + SETBACK + BUILDING + GAP / 2 if streets.cross is not None else BUILDING + 2.0 + GAP / 2
    spacing, first = (pitch / 2, first - pitch / 2) if style.trees == "many" else (3 * pitch, first)
    positions = []
    for side, _ in sides(streets):
        if side.length < 60:
            continue
        positions += [
            side.point(a, SIDEWALK + SETBACK * 0.42) for a in np.arange(first, side.length - 5, spacing).tolist()
        ]
    return positions


def tree(look: Look) -> Mesh:
    """A round tree, its foot in the origin."""
    b = MeshBuilder()
    b.box((-0.17, -0.17, 0.0), (0.17, 0.17, 2.6), (0.38, 0.26, 0.16))
    b.ball((0.0, 0.0, 4.2), (1.75, 1.75, 2.1), ((0.3, 0.6, 0.2), (0.1, 0.3, 0.1)), rings=5, sides=9)
    return b.mesh().tinted(look.tint)


def lamp_positions(streets: Streets) -> list[tuple[float, float, float]]:
    """(x, y, yaw) of the lamps: at every second gap, one metre behind the kerb; yaw points over the road."""
    positions = []
    for side, _ in sides(streets):
        if side.length < 60:
            continue
        for along in np.arange(14.0, min(side.length - 10, 140.0), 2 * (BUILDING + GAP)).tolist():
            (x, y), (rx, ry) = side.point(along, 0.6), side.point(along, -1.0)
            positions.append((x, y, float(np.arctan2(ry - y, rx - x))))
    return positions


def lamp(look: Look) -> Mesh:
    """A street lamp whose arm reaches along +x."""
    b = MeshBuilder()
    b.box((-0.08, -0.08, 0.0), (0.08, 0.08, 6.4), (0.3, 0.32, 0.34))
    b.box((-0.08, -0.06, 6.3), (1.7, 0.06, 6.45), (0.3, 0.32, 0.34))
    b.box((1.0, -0.18, 6.12), (1.9, 0.18, 6.32), LAMP_WARM if look.lit else (0.7, 0.7, 0.68), glow=look.lit)
    return b.mesh().tinted(look.tint)
