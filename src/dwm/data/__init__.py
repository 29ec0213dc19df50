"""Scenes: nuScenes folders and archives → `Clip`; windows, layout pictures, captions, batches. Knows no network."""

from dwm.data.batch import collate, merge, prepare
from dwm.data.layout import LayoutOptions, draw_boxes, draw_map

__all__ = ["LayoutOptions", "collate", "draw_boxes", "draw_map", "merge", "prepare"]
