"""Sky, haze and light on the ground: meshes that are drawn around a camera or below a lamp."""

from __future__ import annotations

import itertools

import numpy as np

from dwm.town.drawing.mesh import LAMP_WARM, Mesh, MeshBuilder
from dwm.town.world.style import Look


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
