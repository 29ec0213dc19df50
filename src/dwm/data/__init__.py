"""Scenes: data sets of any format in `open.py` → `Clip`; windows, layout pictures, captions, batches. Knows no network."""

from dwm.data.batch import collate, merge, prepare
from dwm.data.birdseye import BirdseyeOptions, draw_boxes_birdseye, draw_map_birdseye
from dwm.data.captions import CaptionOptions
from dwm.data.dataset import Dataset, ReadOptions, Scene
from dwm.data.foreground import ForegroundOptions, draw_foreground
from dwm.data.layout import LayoutOptions, draw_boxes, draw_map
from dwm.data.loading import ClipDataset, DatasetWindows
from dwm.data.open import Format, open_dataset
from dwm.data.overview import LookOptions, look_at
from dwm.data.tables.scene import Window
from dwm.data.tables.scene_tables import SceneTables

__all__ = [
    "BirdseyeOptions",
    "CaptionOptions",
    "ClipDataset",
    "Dataset",
    "DatasetWindows",
    "ForegroundOptions",
    "Format",
    "LayoutOptions",
    "LookOptions",
    "ReadOptions",
    "Scene",
    "SceneTables",
    "Window",
    "collate",
    "draw_boxes",
    "draw_boxes_birdseye",
    "draw_foreground",
    "draw_map",
    "draw_map_birdseye",
    "look_at",
    "merge",
    "open_dataset",
    "prepare",
]
