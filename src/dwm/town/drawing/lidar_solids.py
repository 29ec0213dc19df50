"""What the LiDAR and the visibility test meet: the town's buildings, trees and lamps, and hulls of what its boxes hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from dwm.clip import Boxes
from dwm.geometry import rotation_z
from dwm.town.drawing.lidar import Solids
from dwm.town.drawing.scenery import (
    STOREY,
    STOREYS,
    building_footprints,
    building_positions,
    lamp_positions,
    tree_positions,
)
from dwm.town.world.streets import Streets
from dwm.town.world.style import Style

Value = TypeVar("Value")

# Parts of a thing as shares of its box: (low, high) along the length, the width and the height. A hull stays inside its box.
Extent = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
CAR: tuple[Extent, ...] = (((-0.49, 0.49), (-0.49, 0.49), (-0.38, 0.06)), ((-0.32, 0.26), (-0.42, 0.42), (0.06, 0.49)))
CYCLE: tuple[Extent, ...] = (
    ((-0.49, 0.49), (-0.12, 0.12), (-0.49, 0.0)),
    ((-0.18, 0.18), (-0.45, 0.45), (-0.05, 0.49)),
)
HULLS: dict[str, tuple[Extent, ...]] = {
    "vehicle.car": CAR,
    "vehicle.emergency.police": CAR,
    "vehicle.bicycle": CYCLE,
    "vehicle.motorcycle": CYCLE,
    "human.pedestrian": (((-0.25, 0.25), (-0.4, 0.4), (-0.49, 0.49)),),
    "movable_object.trafficcone": (
        ((-0.3, 0.3), (-0.3, 0.3), (-0.49, 0.0)),
        ((-0.15, 0.15), (-0.15, 0.15), (0.0, 0.49)),
    ),
    "movable_object.barrier": (((-0.2, 0.2), (-0.49, 0.49), (-0.49, 0.49)),),
    "vehicle.construction": (
        ((-0.49, 0.2), (-0.49, 0.49), (-0.49, 0.05)),
        ((-0.3, 0.1), (-0.4, 0.3), (0.05, 0.45)),
        ((0.1, 0.49), (0.1, 0.4), (-0.3, 0.45)),
    ),
    "": (((-0.49, 0.49), (-0.49, 0.49), (-0.36, 0.49)),),
}
"""By prefix of the category; the empty one serves all others (bodies on wheels)."""
REFLECTIVITY = {"vehicle.": 0.22, "human.": 0.12, "movable_object.trafficcone": 0.7, "movable_object.": 0.4, "": 0.2}

BUILDING, LEAVES, TRUNK, METAL = 0.16, 0.1, 0.14, 0.3
TRUNK_SIZE, CROWN_SIZE, CROWN_Z = (0.34, 0.34, 2.6), (3.5, 3.5, 4.2), 4.2
LAMP_SIZE = (0.16, 0.16, 6.4)


def _by_prefix(table: Mapping[str, Value], category: str) -> Value:
    return next(value for prefix, value in table.items() if category.startswith(prefix))


def hulls(boxes: Boxes) -> Solids:
    """The bodies inside annotated boxes; owner is the box's index."""
    low, high, owner = [], [], []
    for i, category in enumerate(boxes.category):
        for extent in _by_prefix(HULLS, category):
            share = np.array(extent)
            low.append(share[:, 0] * boxes.size[i])
            high.append(share[:, 1] * boxes.size[i])
            owner.append(i)
    index = np.array(owner, int)
    lows, highs = np.array(low).reshape(-1, 3), np.array(high).reshape(-1, 3)
    rotation = boxes.rotation[index]
    middle = np.einsum("nij,nj->ni", rotation, (lows + highs) / 2)
    shine = np.array([_by_prefix(REFLECTIVITY, boxes.category[i]) for i in owner])
    return Solids(boxes.center[index] + middle, highs - lows, rotation, shine, np.zeros(len(index), bool), index)


def scenery(streets: Streets, style: Style) -> Solids:
    """Buildings (up to their eaves), trees and lamps, in the streets' local frame."""
    bounds = np.array([footprint.bounds for footprint in building_footprints(streets)]).reshape(-1, 4)
    storeys = [STOREYS[style.height][index % 2] for _, _, index in building_positions(streets)]
    low = np.insert(bounds[:, :2], 2, 0.0, axis=1)
    high = np.column_stack([bounds[:, 2:], np.array(storeys) * STOREY])
    trees = np.array(tree_positions(streets, style)).reshape(-1, 2)
    lamps = np.array(lamp_positions(streets)).reshape(-1, 3)[:, :2]
    return Solids.join(
        _still((low + high) / 2, high - low, BUILDING),
        _still(np.insert(trees, 2, TRUNK_SIZE[2] / 2, axis=1), TRUNK_SIZE, TRUNK),
        _still(np.insert(trees, 2, CROWN_Z, axis=1), CROWN_SIZE, LEAVES, round_=True),
        _still(np.insert(lamps, 2, LAMP_SIZE[2] / 2, axis=1), LAMP_SIZE, METAL),
    )


def _still(center: Float[np.ndarray, "n 3"], size: object, reflectivity: float, round_: bool = False) -> Solids:
    n = len(center)
    sizes = np.broadcast_to(np.asarray(size, np.float64), (n, 3)).copy()
    return Solids(center, sizes, rotation_z(np.zeros(n)), np.full(n, reflectivity), np.full(n, round_), np.full(n, -1))


def moved(solids: Solids, rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]) -> Solids:
    """The same solids in another frame."""
    return Solids(
        solids.center @ rotation.T + translation,
        solids.size,
        rotation @ solids.rotation,
        solids.reflectivity,
        solids.round,
        solids.owner,
    )
