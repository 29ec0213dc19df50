"""The embedded world: streets, traffic, cameras, LiDAR, and its nuScenes writer."""

from dwm.town.dataset import TownDataset
from dwm.town.nuscenes.writer import NuScenesOptions, write_nuscenes
from dwm.town.scene import TownOptions, TownScene, town_scene
from dwm.town.world.captions import caption_words, recaption

__all__ = [
    "NuScenesOptions",
    "TownDataset",
    "TownOptions",
    "TownScene",
    "caption_words",
    "recaption",
    "town_scene",
    "write_nuscenes",
]
