"""All that is flat: land, sidewalks, kerbs, road and its markings, painted in order without depth; local frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dwm.town.drawing.mesh import Colour, Mesh, MeshBuilder, Part
from dwm.town.world.streets import CORNER, CROSSING, CROSSING_MIDDLE, SIDEWALK, STOP, Street, Streets
from dwm.town.world.style import GROUND_COLOURS, KERB, LINE_WHITE, LINE_YELLOW, ROAD, ROAD_WET, Look, Style
from dwm.town.world.style import SIDEWALK as SIDEWALK_COLOUR

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
