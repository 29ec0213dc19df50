"""Which cells of a picture lie in the boxes of vehicles, and of people and cycles, as the segmenter names them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from PIL import Image, ImageDraw
from shapely.geometry import MultiPoint, Polygon

from dwm.clip import Boxes, Clip
from dwm.data.layout import Camera
from dwm.evaluation.networks.segmenter import CELL, NOTHING, PERSON, SIZE, VEHICLE
from dwm.geometry import NEAR, box_corners

PEOPLE = ("human.", "vehicle.bicycle", "vehicle.motorcycle")
FARTHEST = 50.0
"""Metres to a box's middle, beyond which it has hardly a cell."""


def class_of(category: str) -> int:
    """The segmenter's class of a nuScenes category; `NOTHING` for what it does not know."""
    if category.startswith(PEOPLE):
        return PERSON
    return VEHICLE if category.startswith("vehicle.") else NOTHING


def box_cells(clip: Clip, frame: int, view: int) -> Int[np.ndarray, "h w"]:
    """The class of the nearest box at the middle of every cell, `NOTHING` where there is none."""
    picture = Image.new("L", SIZE, NOTHING)
    boxes = None if clip.boxes is None else clip.boxes[frame][view]
    if boxes is not None and len(boxes):
        draw = ImageDraw.Draw(picture)
        for hull, kind in _hulls(Camera(clip, frame, view), boxes):
            draw.polygon([tuple(point) for point in hull.exterior.coords], fill=kind)
    return np.asarray(picture)[CELL // 2 :: CELL, CELL // 2 :: CELL].astype(np.int64)


def _hulls(camera: Camera, boxes: Boxes) -> list[tuple[Polygon, int]]:
    """The outlines of boxes in the picture of the segmenter's size, the farthest first."""
    corners = box_corners(boxes.center, boxes.size, boxes.rotation)
    projection = camera.see(corners)
    scale = np.array(SIZE) / np.array(camera.size)
    hulls = []
    for number in np.argsort(-projection[..., 2].mean(1)):
        points, kind = projection[number], class_of(boxes.category[number])
        if kind == NOTHING or points[:, 2].min() < NEAR or points[:, 2].mean() > FARTHEST:
            continue
        hull = MultiPoint(points[:, :2] / points[:, 2:] * scale).convex_hull
        if isinstance(hull, Polygon):
            hulls.append((hull, kind))
    return hulls
