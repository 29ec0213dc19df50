"""Coloured, textured triangles in numpy, built from boxes, extrusions and cylinders. Knows no renderer and no town.

Shading is baked into the colours: a face's brightness depends on the direction of its normal alone, so that what a thing
looks like follows from its pose and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

Colour = tuple[float, float, float]
Point = Sequence[float] | np.ndarray

LAMP_WARM: Colour = (1.0, 0.85, 0.55)
"""The light of street lamps."""

TOP, SIDE, END, BOTTOM = 1.0, 0.84, 0.68, 0.4
"""Brightness of faces that look up, to ±y, to ±x and down."""


@dataclass(frozen=True)
class Mesh:
    """Triangles with a colour (RGB in [0, 1] and opacity) and a texture coordinate per vertex.

    glow is 1 where the colour is light given off (lamps, lit windows), which no time of day darkens.
    """

    vertices: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 4"]
    glow: Float[np.ndarray, "n"]
    uv: Float[np.ndarray, "n 2"]
    triangles: Int[np.ndarray, "m 3"]

    def tinted(self, tint: Colour) -> Mesh:
        """The same mesh under light of this colour; glowing vertices keep theirs."""
        factor = np.where(self.glow[:, None] > 0, 1.0, np.asarray(tint)[None])
        colours = np.concatenate([np.clip(self.colours[:, :3] * factor, 0, 1), self.colours[:, 3:]], -1)
        return Mesh(self.vertices, colours, self.glow, self.uv, self.triangles)


@dataclass(frozen=True)
class Part:
    """A mesh and how it is drawn: `ground` parts are painted in order without depth, others are depth-tested."""

    mesh: Mesh
    ground: bool = False
    texture: str = ""


def unit_normal(corners: Sequence[Point]) -> tuple[float, ...]:
    """The direction that a polygon faces, of length one."""
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = corners[:3]
    ax, ay, az, bx, by, bz = x1 - x0, y1 - y0, z1 - z0, x2 - x0, y2 - y0, z2 - z0
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    length = max(sum(a * a for a in normal) ** 0.5, 1e-12)
    return tuple(a / length for a in normal)


def shade(normal: Sequence[float]) -> float:
    """The baked brightness of a face with this unit normal."""
    x, y, z = normal
    return float(x * x * END + y * y * SIDE + z * z * (TOP if z > 0 else BOTTOM))


@dataclass
class MeshBuilder:
    """Collects faces; `mesh()` gives the result."""

    vertices: list[Point] = field(default_factory=list)
    colours: list[tuple[float, float, float, float]] = field(default_factory=list)
    glow: list[float] = field(default_factory=list)
    uv: list[Point] = field(default_factory=list)
    triangles: list[tuple[int, int, int]] = field(default_factory=list)

    def mesh(self) -> Mesh:
        return Mesh(
            np.asarray(self.vertices, np.float64).reshape(-1, 3),
            np.asarray(self.colours, np.float64).reshape(-1, 4),
            np.asarray(self.glow, np.float64),
            np.asarray(self.uv, np.float64).reshape(-1, 2),
            np.asarray(self.triangles, np.int64).reshape(-1, 3),
        )

    def face(
        self,
        points: Sequence[Point] | np.ndarray,
        colour: Colour,
        *,
        outward: Point | None = None,
        uv: Sequence[Point] | np.ndarray | None = None,
        glow: bool = False,
        alpha: float = 1.0,
        shaded: bool = True,
    ) -> None:
        """A flat convex polygon, counter-clockwise seen from outside; `outward` turns it round where it is not."""
        corners = [tuple(map(float, point)) for point in points]
        normal = unit_normal(corners)
        coordinates = list(uv) if uv is not None else [(0.0, 0.0)] * len(corners)
        if outward is not None and sum(a * b for a, b in zip(normal, outward, strict=True)) < 0:
            corners, coordinates, normal = corners[::-1], coordinates[::-1], tuple(-a for a in normal)
        light = shade(normal) if shaded and not glow else 1.0
        base = len(self.vertices)
        self.vertices.extend(corners)
        self.colours.extend([(colour[0] * light, colour[1] * light, colour[2] * light, alpha)] * len(corners))
        self.glow.extend([float(glow)] * len(corners))
        self.uv.extend(coordinates)
        self.triangles.extend((base, base + i, base + i + 1) for i in range(1, len(corners) - 1))

    def box(self, low: Point, high: Point, colour: Colour, *, top: Colour | None = None, glow: bool = False) -> None:
        """An axis-aligned box; `top` colours its upper face otherwise."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        self.face([(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)], colour, outward=(1, 0, 0), glow=glow)
        self.face([(x0, y0, z0), (x0, y1, z0), (x0, y1, z1), (x0, y0, z1)], colour, outward=(-1, 0, 0), glow=glow)
        self.face([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], colour, outward=(0, 1, 0), glow=glow)
        self.face([(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)], colour, outward=(0, -1, 0), glow=glow)
        self.face([(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], top or colour, outward=(0, 0, 1), glow=glow)
        self.face([(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)], colour, outward=(0, 0, -1), glow=glow)

    def hull(self, bottom: Sequence[Point], top: Sequence[Point], colours: Sequence[Colour], roof: Colour) -> None:
        """A frustum: the polygon `bottom` joined to `top` (same count); one colour for each side face, one for the top."""
        middle = np.asarray(top, np.float64).mean(0)
        centre = (np.asarray(bottom, np.float64).mean(0) + middle) / 2
        count = len(bottom)
        for i in range(count):
            j = (i + 1) % count
            points = np.asarray([bottom[i], bottom[j], top[j], top[i]], np.float64)
            self.face(points, colours[i], outward=points.mean(0) - centre)
        self.face(top, roof, outward=middle - centre)

    def profile(self, outline: Sequence[tuple[float, float]], y0: float, y1: float, colour: Colour) -> None:
        """A convex outline in (x, z), extruded from y0 to y1."""
        xs, zs = np.mean(outline, axis=0)
        for i in range(len(outline)):
            (xa, za), (xb, zb) = outline[i], outline[(i + 1) % len(outline)]
            middle = ((xa + xb) / 2 - xs, 0.0, (za + zb) / 2 - zs)
            self.face([(xa, y0, za), (xb, y0, zb), (xb, y1, zb), (xa, y1, za)], colour, outward=middle)
        self.face([(x, y0, z) for x, z in outline], colour, outward=(0, y0 - y1, 0))
        self.face([(x, y1, z) for x, z in outline], colour, outward=(0, y1 - y0, 0))

    def disc_y(self, centre: Point, radii: tuple[float, float], y_out: float, colour: Colour, sides: int = 10) -> None:
        """A flat ellipse in the plane y = centre.y that faces ±y (`y_out`), with radii along x and z."""
        angles = np.arange(sides) * (2 * np.pi / sides)
        points = [
            (centre[0] + radii[0] * np.cos(a), centre[1], centre[2] + radii[1] * np.sin(a)) for a in angles.tolist()
        ]
        self.face(points, colour, outward=(0, y_out, 0))

    def wheel(self, centre: Point, radii: tuple[float, float], half_width: float, sides: int = 10) -> None:
        """A dark wheel with a lighter hub, its axle along y."""
        angles = np.arange(sides) * (2 * np.pi / sides)
        outline = [(centre[0] + radii[0] * np.cos(a), centre[2] + radii[1] * np.sin(a)) for a in angles.tolist()]
        self.profile(outline, centre[1] - half_width, centre[1] + half_width, (0.07, 0.07, 0.08))
        for side in (-1, 1):
            hub = (centre[0], centre[1] + side * (half_width + 0.002), centre[2])
            self.disc_y(hub, (radii[0] * 0.45, radii[1] * 0.45), side, (0.6, 0.6, 0.62), 8)

    def ball(self, centre: Point, radii: Point, colours: tuple[Colour, Colour], rings: int = 4, sides: int = 8) -> None:
        """An ellipsoid of flat faces, shading from `colours[0]` above to `colours[1]` below."""
        centre_, radii_ = np.asarray(centre, np.float64), np.asarray(radii, np.float64)

        def point(ring: int, side: int) -> np.ndarray:
            up, around = np.pi * (0.5 - ring / rings), 2 * np.pi * side / sides
            unit = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
            return centre_ + radii_ * unit

        for ring in range(rings):
            weight = (ring + 0.5) / rings
            colour = tuple(a + (b - a) * weight for a, b in zip(*colours, strict=True))
            for side in range(sides):
                points = [point(ring, side), point(ring, side + 1), point(ring + 1, side + 1), point(ring + 1, side)]
                if ring == 0:
                    points = points[1:]
                elif ring == rings - 1:
                    points = points[:3]
                outward = np.mean(points, axis=0) - centre_
                self.face(points, colour, outward=outward, shaded=False)  # type: ignore[arg-type]
