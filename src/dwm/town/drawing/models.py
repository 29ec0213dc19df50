"""The meshes of road users and objects, in their box's frame (origin in the box's middle, x forward), filling the box."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

from dwm.town.drawing.mesh import Colour, Mesh, MeshBuilder
from dwm.town.world.kinds import KINDS, Kind

GLASS: Colour = (0.1, 0.13, 0.18)
HEADLIGHT: Colour = (1.0, 0.97, 0.8)
TAILLIGHT: Colour = (0.95, 0.08, 0.06)
BLUE_LIGHT: Colour = (0.15, 0.4, 1.0)
DARK: Colour = (0.12, 0.12, 0.13)
SKIN: Colour = (0.87, 0.66, 0.52)
RED: Colour = (0.85, 0.12, 0.1)
BLUE: Colour = (0.1, 0.3, 0.82)
WHITE: Colour = (0.95, 0.95, 0.95)
ORANGE: Colour = (1.0, 0.5, 0.05)
GREEN: Colour = (0.1, 0.6, 0.3)


@cache
def model(name: str) -> Mesh:
    """The mesh of a kind."""
    kind = KINDS[name]
    builder = MeshBuilder()
    BUILDERS[name](builder, *kind.size)
    mesh = builder.mesh()
    return Mesh(mesh.vertices - (0, 0, kind.size[2] / 2), mesh.colours, mesh.glow, mesh.uv, mesh.triangles)


def footprint(kind: Kind) -> Mesh:
    """The dark patch on the ground below a thing, in its box's frame."""
    length, width, height = kind.size
    x, y, z = length / 2, width / 2, -height / 2
    builder = MeshBuilder()
    builder.face([(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)], (0.03, 0.03, 0.04), alpha=0.75, shaded=False)
    return builder.mesh()


def _lights(b: MeshBuilder, length: float, width: float, z: tuple[float, float], share: float = 0.24) -> None:
    """A pair of headlights in front and of tail lights behind, a hair inside the box."""
    for side in (-1, 1):
        outer, inner = side * width * 0.47, side * width * (0.47 - share)
        for x, colour in ((length / 2, HEADLIGHT), (-length / 2, TAILLIGHT)):
            points = [(x, outer, z[0]), (x, inner, z[0]), (x, inner, z[1]), (x, outer, z[1])]
            b.face(points, colour, outward=(x, 0, 0), glow=True)


def _wheels(b: MeshBuilder, xs: tuple[float, ...], width: float, radius: float) -> None:
    for x in xs:
        for side in (-1, 1):
            b.wheel((x, side * (width / 2 - 0.13), radius), (radius, radius), 0.125)


def _cabin(
    b: MeshBuilder, base: tuple[float, float], roof: tuple[float, float], z: tuple[float, float], ys, top
) -> None:
    """A glass frustum with a painted roof: base and roof are (rear x, front x), ys the half widths below and above."""
    (b0, b1), (r0, r1), (z0, z1), (y0, y1) = base, roof, z, ys
    bottom = [(b1, -y0, z0), (b1, y0, z0), (b0, y0, z0), (b0, -y0, z0)]
    upper = [(r1, -y1, z1), (r1, y1, z1), (r0, y1, z1), (r0, -y1, z1)]
    b.hull(bottom, upper, [GLASS] * 4, top)


def _car(b: MeshBuilder, length: float, width: float, height: float, paint: Colour, boxy: float, trunk: float) -> None:
    waist, low, half = height * 0.56, 0.22, length / 2 - 0.03
    body = [(-half, low), (half, low), (half, waist * 0.86), (half - 0.25, waist * 0.97), (-half, waist * 0.97)]
    b.profile(body, -width / 2 + 0.035, width / 2 - 0.035, paint)
    rear, front = -half + trunk, half - length * 0.24
    roof = (rear + 0.28 * (1 - boxy) + 0.12, front - 0.55 * (1 - boxy) - 0.2)
    _cabin(b, (rear, front), roof, (waist * 0.97, height - 0.07), (width / 2 - 0.06, width / 2 - 0.2), paint)
    b.box((roof[0], -width / 2 + 0.2, height - 0.07), (roof[1], width / 2 - 0.2, height), paint)
    middle = (rear + front) / 2 - 0.1
    for side in (-1, 1):
        y = side * (width / 2 - 0.075)
        b.box((middle - 0.06, min(y, y * 0.86), waist), (middle + 0.06, max(y, y * 0.86), height - 0.05), paint)
    _wheels(b, (-length * 0.3, length * 0.31), width, 0.34)
    _lights(b, length, width, (waist * 0.62, waist * 0.84))


def _hatchback(b: MeshBuilder, length: float, width: float, height: float) -> None:
    _car(b, length, width, height, BLUE, 0.45, 0.1)


def _sedan(b: MeshBuilder, length: float, width: float, height: float) -> None:
    _car(b, length, width, height, RED, 0.1, 0.75)


def _suv(b: MeshBuilder, length: float, width: float, height: float) -> None:
    _car(b, length, width, height, WHITE, 0.75, 0.08)


def _police(b: MeshBuilder, length: float, width: float, height: float) -> None:
    _car(b, length, width, height - 0.16, (0.1, 0.14, 0.3), 0.1, 0.75)
    for side in (-1, 1):
        y = side * (width / 2 - 0.003)
        points = [(-length * 0.4, y, 0.45), (length * 0.4, y, 0.45), (length * 0.4, y, 0.68), (-length * 0.4, y, 0.68)]
        b.face(points, WHITE, outward=(0, side, 0))
    b.box((-0.3, -0.6, height - 0.16), (0.0, 0.6, height), BLUE_LIGHT, glow=True)


def _band(
    b: MeshBuilder, xs: tuple[float, float], width: float, z: tuple[float, float], panes: int, gap: float
) -> None:
    """Windows along both sides."""
    pitch = (xs[1] - xs[0]) / panes
    for side in (-1, 1):
        y = side * width / 2
        for i in range(panes):
            x0, x1 = xs[0] + i * pitch + gap / 2, xs[0] + (i + 1) * pitch - gap / 2
            b.face([(x0, y, z[0]), (x1, y, z[0]), (x1, y, z[1]), (x0, y, z[1])], GLASS, outward=(0, side, 0))


def _pane(b: MeshBuilder, x: float, half_width: float, z: tuple[float, float], front: bool) -> None:
    points = [(x, -half_width, z[0]), (x, half_width, z[0]), (x, half_width, z[1]), (x, -half_width, z[1])]
    b.face(points, GLASS, outward=(1 if front else -1, 0, 0))


def _bus(b: MeshBuilder, length: float, width: float, height: float) -> None:
    half = length / 2 - 0.04
    b.box((-half, -width / 2 + 0.04, 0.35), (half, width / 2 - 0.04, height), GREEN, top=(0.85, 0.9, 0.85))
    _band(b, (-half + 0.3, half - 0.3), width, (1.35, 2.55), 6, 0.22)
    _pane(b, half + 0.03, width / 2 - 0.15, (1.2, 2.75), True)
    _pane(b, -half - 0.03, width / 2 - 0.35, (1.6, 2.6), False)
    _stripe(b, (-half, half), width, (0.8, 1.05), WHITE)
    _wheels(b, (-length * 0.3, length * 0.32), width, 0.5)
    _lights(b, length, width, (0.6, 0.95), 0.2)


def _truck(b: MeshBuilder, length: float, width: float, height: float) -> None:
    half, cab = length / 2 - 0.04, length / 2 - 2.0
    b.box((-half, -width / 2 + 0.02, 0.5), (half, width / 2 - 0.02, 0.85), DARK)
    b.box((-half, -width / 2, 0.85), (cab - 0.15, width / 2, height), (0.93, 0.9, 0.8))
    b.box((cab, -width / 2 + 0.05, 0.6), (half, width / 2 - 0.05, height * 0.84), ORANGE)
    _pane(b, half + 0.03, width / 2 - 0.2, (1.5, 2.4), True)
    _band(b, (cab + 0.4, half - 0.2), width - 0.03, (1.5, 2.3), 1, 0.1)
    _wheels(b, (-length * 0.28, length * 0.34), width, 0.5)
    _lights(b, length, width, (0.65, 0.95), 0.2)


def _trailer(b: MeshBuilder, length: float, width: float, height: float) -> None:
    half = length / 2
    b.box((-half + 0.03, -width / 2 + 0.03, 0.85), (half - 0.3, width / 2 - 0.03, height), (0.55, 0.36, 0.22))
    b.box((-half, -0.5, 0.55), (half, 0.5, 0.85), DARK)
    for side in (-1, 1):
        y = side * width / 2
        for x in (-half + 1.2, 0.0, half - 1.5):
            points = [(x - 0.08, y, 0.85), (x + 0.08, y, 0.85), (x + 0.08, y, height), (x - 0.08, y, height)]
            b.face(points, (0.35, 0.22, 0.14), outward=(0, side, 0))
    _wheels(b, (-length * 0.32, -length * 0.1), width, 0.48)
    for side in (-1, 1):
        points = [
            (-half - 0.0, side * 1.0, 0.9),
            (-half, side * 0.6, 0.9),
            (-half, side * 0.6, 1.15),
            (-half, side, 1.15),
        ]
        b.face(points, TAILLIGHT, outward=(-1, 0, 0), glow=True)


def _ambulance(b: MeshBuilder, length: float, width: float, height: float) -> None:
    half, top = length / 2 - 0.04, height - 0.2
    nose = half - 1.3
    b.box((-half, -width / 2 + 0.04, 0.35), (nose, width / 2 - 0.04, top), WHITE)
    b.profile(
        [(nose, 0.35), (half, 0.35), (half, 1.2), (nose + 0.5, 2.1), (nose, 2.1)],
        -width / 2 + 0.06,
        width / 2 - 0.06,
        WHITE,
    )
    _stripe(b, (-half, nose), width, (1.0, 1.35), RED)
    _band(b, (nose - 0.2, nose + 0.6), width, (1.35, 1.95), 1, 0.1)
    w = width / 2 - 0.2
    b.face(
        [(half + 0.02, -w, 1.24), (half + 0.02, w, 1.24), (nose + 0.54, w, 2.06), (nose + 0.54, -w, 2.06)],
        GLASS,
        outward=(1, 0, 1),
    )
    b.box((nose - 0.5, -0.8, top), (nose - 0.15, 0.8, height), BLUE_LIGHT, glow=True)
    _wheels(b, (-length * 0.28, length * 0.3), width, 0.4)
    _lights(b, length, width, (0.7, 1.0))


def _stripe(b: MeshBuilder, xs: tuple[float, float], width: float, z: tuple[float, float], colour: Colour) -> None:
    for side in (-1, 1):
        y = side * width / 2
        b.face([(xs[0], y, z[0]), (xs[1], y, z[0]), (xs[1], y, z[1]), (xs[0], y, z[1])], colour, outward=(0, side, 0))


def _excavator(b: MeshBuilder, length: float, width: float, height: float) -> None:
    yellow, half = (1.0, 0.74, 0.05), length / 2
    for side in (-1, 1):
        y = side * (width / 2 - 0.25)
        b.box((-half, y - 0.25, 0.0), (half * 0.55, y + 0.25, 0.75), DARK)
    b.box((-half, -width / 2 + 0.05, 0.8), (half * 0.4, width / 2 - 0.05, 1.6), yellow)
    b.box((-0.9, -width / 2 + 0.1, 1.6), (half * 0.35, width / 2 - 0.5, 2.7), GLASS, top=yellow)
    b.box((-0.95, -width / 2 + 0.08, 2.6), (half * 0.37, width / 2 - 0.48, 2.75), yellow)
    arm = [(half * 0.3, 1.3), (half * 0.45, 1.3), (half * 0.78, height), (half * 0.6, height)]
    b.profile(arm, width / 2 - 0.45, width / 2 - 0.1, yellow)
    b.profile([(half * 0.66, height), (half * 0.8, height), (half * 0.98, 0.7), (half * 0.86, 0.7)], 0.72, 1.02, yellow)
    b.box((half * 0.72, 0.4, 0.0), (half, width / 2, 0.7), DARK)


def _rider(b: MeshBuilder, height: float, seat: float, shirt: Colour, head: Colour, width: float) -> None:
    b.box((-0.28, -width / 2, seat), (0.12, width / 2, height - 0.32), shirt)
    b.box((-0.2, -width / 2 + 0.02, seat - 0.4), (0.3, width / 2 - 0.02, seat), (0.14, 0.16, 0.28))
    b.ball((0.0, 0.0, height - 0.17), (0.17, 0.16, 0.17), (head, head))


def _bicycle(b: MeshBuilder, length: float, width: float, height: float) -> None:
    radius = 0.36
    for x in (-length / 2 + radius, length / 2 - radius):
        b.wheel((x, 0.0, radius), (radius, radius), 0.04, 12)
    b.box((-0.55, -0.04, radius), (0.55, 0.04, 0.62), (0.2, 0.75, 0.3))
    b.box((length / 2 - 0.5, -width / 2, 0.98), (length / 2 - 0.4, width / 2, 1.06), DARK)
    _rider(b, height, 0.85, (0.2, 0.75, 0.3), SKIN, width * 0.85)


def _motorcycle(b: MeshBuilder, length: float, width: float, height: float) -> None:
    radius = 0.36
    for x in (-length / 2 + radius, length / 2 - radius):
        b.wheel((x, 0.0, radius), (radius, radius), 0.1, 10)
    b.box((-0.85, -0.2, 0.4), (0.75, 0.2, 0.85), (0.55, 0.1, 0.6))
    b.box((length / 2 - 0.6, -width / 2, 0.95), (length / 2 - 0.48, width / 2, 1.05), DARK)
    _rider(b, height, 0.82, (0.16, 0.16, 0.18), (0.55, 0.1, 0.6), width * 0.75)
    b.box((length / 2 - 0.45, -0.12, 0.75), (length / 2 - 0.35, 0.12, 0.92), HEADLIGHT, glow=True)
    b.box((-0.9, -0.12, 0.7), (-0.86, 0.12, 0.82), TAILLIGHT, glow=True)


def _person(
    b: MeshBuilder, length: float, width: float, height: float, shirt: Colour, trousers: Colour, hair: Colour
) -> None:
    leg, neck, half = height * 0.47, height * 0.84, width / 2
    b.box((0.02, -half * 0.5, 0.0), (length / 2, -0.02, leg), trousers)
    b.box((-length / 2, 0.02, 0.0), (-0.02, half * 0.5, leg), trousers)
    b.box((-0.13, -half * 0.58, leg), (0.13, half * 0.58, neck), shirt)
    b.box((-length / 2 + 0.06, -half, leg * 1.05), (0.1, -half * 0.62, neck), shirt)
    b.box((-0.1, half * 0.62, leg * 1.05), (length / 2 - 0.06, half, neck), shirt)
    size = (height - neck) / 2
    b.ball((0.0, 0.0, neck + size), (size, size, size), (hair, SKIN))


def _adult(b: MeshBuilder, length: float, width: float, height: float) -> None:
    _person(b, length, width, height, (0.95, 0.3, 0.55), (0.15, 0.2, 0.4), (0.25, 0.16, 0.1))


def _child(b: MeshBuilder, length: float, width: float, height: float) -> None:
    _person(b, length, width, height, (0.2, 0.75, 0.9), (0.5, 0.35, 0.2), (0.35, 0.22, 0.1))


def _worker(b: MeshBuilder, length: float, width: float, height: float) -> None:
    _person(b, length, width, height, (1.0, 0.55, 0.0), (0.2, 0.22, 0.3), (1.0, 0.9, 0.1))


def _barrier(b: MeshBuilder, length: float, width: float, height: float) -> None:
    for side in (-1, 1):
        y = side * (width / 2 - 0.12)
        b.box((-length / 2, y - 0.06, 0.0), (length / 2, y + 0.06, 0.1), DARK)
        b.box((-0.04, y - 0.05, 0.1), (0.04, y + 0.05, height - 0.35), DARK)
    stripes = 6
    for i in range(stripes):
        y0, y1 = (-0.5 + i / stripes) * width, (-0.5 + (i + 1) / stripes) * width
        b.box((-0.06, y0, height - 0.4), (0.06, y1, height), (RED, WHITE)[i % 2])


def _cone(b: MeshBuilder, length: float, width: float, height: float) -> None:
    b.box((-length / 2, -width / 2, 0.0), (length / 2, width / 2, 0.06), ORANGE)
    radii = [(0.06, 0.17, ORANGE), (0.35, 0.115, WHITE), (0.58, 0.08, ORANGE), (height, 0.03, ORANGE)]
    angles = np.arange(8) * (2 * np.pi / 8)
    for (z0, r0, colour), (z1, r1, _) in itertools.pairwise(radii):
        low = [(r0 * np.cos(a), r0 * np.sin(a), z0) for a in angles]
        high = [(r1 * np.cos(a), r1 * np.sin(a), z1) for a in angles]
        b.hull(low, high, [colour] * 8, colour)


BUILDERS = {
    "hatchback": _hatchback,
    "sedan": _sedan,
    "suv": _suv,
    "bus": _bus,
    "truck": _truck,
    "excavator": _excavator,
    "police": _police,
    "ambulance": _ambulance,
    "trailer": _trailer,
    "bicycle": _bicycle,
    "motorcycle": _motorcycle,
    "adult": _adult,
    "child": _child,
    "worker": _worker,
    "barrier": _barrier,
    "cone": _cone,
}
