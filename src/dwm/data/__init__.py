"""Scenes: nuScenes folders and archives → `Clip`; windows, layout pictures, captions, batches. Knows no network."""

from dwm.data.batch import collate, merge, prepare
from dwm.data.captions import CaptionOptions
from dwm.data.layout import LayoutOptions, draw_boxes, draw_map
from dwm.data.loading import ClipDataset, DatasetWindows
from dwm.data.nuscenes.dataset import Dataset, ReadOptions, open_dataset
from dwm.data.nuscenes.scene import Scene, Window

__all__ = [
    "CaptionOptions",
    "ClipDataset",
    "Dataset",
    "DatasetWindows",
    "LayoutOptions",
    "ReadOptions",
    "Scene",
    "Window",
    "collate",
    "draw_boxes",
    "draw_map",
    "merge",
    "open_dataset",
    "prepare",
]
