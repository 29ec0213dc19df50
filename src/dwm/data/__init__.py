"""Scenes: nuScenes folders and archives → `Clip`; windows, layout pictures, captions, batches. Knows no network."""

from dwm.data.batch import collate, merge, prepare
from dwm.data.birdseye import BirdseyeOptions, draw_boxes_birdseye, draw_map_birdseye
from dwm.data.captions import CaptionOptions
from dwm.data.foreground import ForegroundOptions, draw_foreground
from dwm.data.layout import LayoutOptions, draw_boxes, draw_map
from dwm.data.loading import ClipDataset, DatasetWindows
from dwm.data.nuscenes.dataset import Dataset, ReadOptions, open_dataset
from dwm.data.nuscenes.scene import Scene, Window
from dwm.data.overview import LookOptions, look_at

__all__ = [
    "BirdseyeOptions",
    "CaptionOptions",
    "ClipDataset",
    "Dataset",
    "DatasetWindows",
    "ForegroundOptions",
    "LayoutOptions",
    "LookOptions",
    "ReadOptions",
    "Scene",
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
