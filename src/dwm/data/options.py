"""How captions become words and how layout pictures are drawn. Draws nothing and reads no file."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from dwm.conventions import CAPTION_KEYS
from dwm.geometry import NEAR
from dwm.options import Options

Part = Literal["time", "weather", "environment", "objects", "image_description"]


class CaptionOptions(Options):
    """How captions become the words that a network reads."""

    align_keys: tuple[Part, ...] = Field(
        (), description="parts whose most frequent value over the views is given to all views"
    )
    selected_keys: tuple[Part, ...] = Field(CAPTION_KEYS, description="parts that are used, in this order")
    reorder: bool = Field(False, description="whether the parts come in a random order")
    drop_rates: dict[Part, float] = Field({}, description="probability by part with which it is left out")
    seed: int = Field(0, ge=0, description="seed of the random choices, with the item and the epoch")

    def random(self, epoch: int, item: int) -> np.random.RandomState:
        """The random state of one item of one epoch: the same in every worker and after a resume."""
        return np.random.RandomState(np.random.SeedSequence([self.seed, epoch, item]).generate_state(8))


Color = tuple[int, int, int]


BOX_COLORS: dict[str, Color] = {
    "human.pedestrian": (255, 0, 0),
    "vehicle.bicycle": (128, 255, 0),
    "vehicle.motorcycle": (0, 255, 128),
    "vehicle.bus": (128, 0, 255),
    "vehicle.car": (0, 0, 255),
    "vehicle.construction": (128, 128, 255),
    "vehicle.emergency": (255, 128, 128),
    "vehicle.trailer": (255, 255, 255),
    "vehicle.truck": (255, 255, 0),
    "movable_object.barrier": (64, 64, 64),
    "movable_object.trafficcone": (128, 128, 0),
}


OPENDWM_BOX_COLORS = {name: color for name, color in BOX_COLORS.items() if not name.startswith("movable_object")}
"""What OpenDWM's reader draws where its settings say nothing: neither barriers nor cones."""

MAP_COLORS: dict[str, Color] = {"drivable_area": (0, 0, 255), "lane": (0, 255, 0), "ped_crossing": (255, 0, 0)}


class LayoutOptions(Options):
    """How layout pictures are drawn."""

    mode: Literal["fast", "exact"] = Field(
        "fast",
        description="fast: drawn at the wanted size; exact: as OpenDWM draws, at the original size, then resized",
    )
    pen_width: int = Field(8, ge=1, le=64, description="line width in pixels of a picture of 1600×900")
    min_pen: float = Field(
        1.0, gt=0, description="line width in pixels of the drawn picture below which fast never goes"
    )
    box_colors: dict[str, Color] = Field(BOX_COLORS, description="RGB by prefix of the category; the first that fits")
    map_colors: dict[str, Color] = Field(MAP_COLORS, description="RGB by map layer; a layer left out is not drawn")
    box_distance: float = Field(512.0, gt=NEAR, description="depth in metres beyond which boxes are not drawn")
    map_distance: float = Field(65.0, gt=NEAR, description="depth in metres beyond which the map is not drawn")
