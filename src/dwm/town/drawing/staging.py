"""Puts a scene's meshes together for the renderer: what stands still, the models of what moves, the light and the haze."""

from __future__ import annotations

import numpy as np

from dwm.geometry import rotation_z
from dwm.town.drawing.atmosphere import haze_veils, pool, sky
from dwm.town.drawing.ground import ground_parts
from dwm.town.drawing.mesh import Mesh, Part
from dwm.town.drawing.models import footprint, model
from dwm.town.drawing.renderer import SceneGraph
from dwm.town.drawing.scenery import building_parts, lamp, lamp_positions, tree, tree_positions
from dwm.town.drawing.textures import facade, shops
from dwm.town.world.kinds import KINDS
from dwm.town.world.streets import Streets
from dwm.town.world.style import Style, look


def stage(streets: Streets, style: Style) -> SceneGraph:
    """The nodes of a scene without its traffic, which `SceneGraph.place` sets."""
    colours = look(style)
    static: list[Part] = ground_parts(streets, style, colours)
    if colours.lit:
        static += [
            _moved(pool(5.0, 0.3), x + 1.4 * np.cos(a), y + 1.4 * np.sin(a), 0.0, True)
            for x, y, a in lamp_positions(streets)
        ]
    static += building_parts(streets, style, colours)
    plant, post = tree(colours), lamp(colours)
    static += [_moved(plant, x, y, 0.0, False) for x, y in tree_positions(streets, style)]
    static += [_moved(post, x, y, a, False) for x, y, a in lamp_positions(streets)]
    models = {
        name: (Part(footprint(kind).tinted(colours.tint), ground=True), Part(model(name).tinted(colours.tint)))
        for name, kind in KINDS.items()
    }
    beam = pool(5.0, 0.35, (14.0, 0.0), 2.4) if style.time == "night" else None
    pictures = {"facade": facade(style, colours), "shops": shops(style, colours)}
    return SceneGraph(static, models, pictures, sky(colours), haze_veils(colours), beam, colours.wet)


def _moved(mesh: Mesh, x: float, y: float, yaw: float, ground: bool) -> Part:
    vertices = mesh.vertices @ rotation_z(yaw).T + (x, y, 0.0)
    return Part(Mesh(vertices, mesh.colours, mesh.glow, mesh.uv, mesh.triangles), ground=ground)
