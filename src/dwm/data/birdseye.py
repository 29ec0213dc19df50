"""Boxes and map seen from above, the car in the middle: one picture per frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from pydantic import Field
from shapely import LineString, MultiPoint, Polygon, box, get_coordinates

from dwm.clip import Clip
from dwm.data.layout import color_of, stroke
from dwm.data.options import BOX_COLORS, MAP_COLORS, Color
from dwm.geometry import apply, inverse
from dwm.options import Options

FOOTPRINT = np.array([[-0.5, -0.5, 0], [-0.5, 0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0]])
AROUND = np.array([[0, 2], [2, 3], [3, 1], [1, 0]])
OUTLINED = "lane"
"""Lanes overlap: they are drawn as outlines even where other layers are filled."""
MAP_ORDER = ("drivable_area", "ped_crossing", OUTLINED)


class BirdseyeOptions(Options):
    """How pictures from above are drawn."""

    size: tuple[int, int] = Field((640, 640), description="width and height in pixels")
    pixels_per_metre: float = Field(6.4, gt=0, description="scale")
    left_is_up: bool = Field(
        True, description="whether the car's left is up (as on a map) or down; ahead is to the right"
    )
    pen_width: int = Field(2, ge=1, le=64, description="line width in pixels")
    fill_boxes: bool = Field(False, description="whether boxes are solid or outlines")
    fill_map: bool = Field(True, description="whether areas and crossings are solid or outlines")
    box_colors: dict[str, Color] = Field(BOX_COLORS, description="RGB by prefix of the category; the first that fits")
    map_colors: dict[str, Color] = Field(MAP_COLORS, description="RGB by map layer; a layer left out is not drawn")

    @property
    def picture_from_ego(self) -> Float[np.ndarray, "4 4"]:
        """Pixels (x right, y down) of a point in the ego frame."""
        scale, (width, height) = self.pixels_per_metre, self.size
        y = -scale if self.left_is_up else scale
        return np.array([[scale, 0, 0, width / 2], [0, y, 0, height / 2], [0, 0, y, 0], [0, 0, 0, 1]])


def draw_boxes_birdseye(
    clip: Clip, frame: int, options: BirdseyeOptions = BirdseyeOptions()
) -> UInt8[np.ndarray, "h w 3"]:
    """The boxes of a frame from above on black. Black where nothing is annotated."""
    picture = Image.new("RGB", options.size)
    boxes = None if clip.boxes is None else next((one for one in clip.boxes[frame] if one is not None), None)
    if not clip.views and clip.lidar is not None and clip.lidar.boxes is not None:
        boxes = clip.lidar.boxes[frame]
    if boxes is None or len(boxes) == 0:
        return np.asarray(picture)
    world = (FOOTPRINT * boxes.size[:, None]) @ boxes.rotation.swapaxes(1, 2) + boxes.center[:, None]
    corners = apply(_picture_from_world(clip, frame, options), world)[..., :2]
    colors = [color_of(name, options.box_colors) for name in boxes.category]
    keep = [i for i, color in enumerate(colors) if color is not None]
    if options.fill_boxes:
        draw = ImageDraw.Draw(picture)
        for i in keep:
            draw.polygon(corners[i][AROUND[:, 0]].ravel().tolist(), fill=colors[i])
        return np.asarray(picture)
    segments = corners[keep][:, AROUND].reshape(-1, 4)
    inks = np.array([colors[i] for i in keep], np.uint8).reshape(-1, 3).repeat(len(AROUND), 0)
    return np.asarray(stroke(picture, segments, inks, options.pen_width))


def draw_map_birdseye(
    clip: Clip, frame: int, options: BirdseyeOptions = BirdseyeOptions()
) -> UInt8[np.ndarray, "h w 3"]:
    """The map around the car from above on black. Black without a map."""
    picture = Image.new("RGB", options.size)
    if clip.map is None:
        return np.asarray(picture)
    placed = _picture_from_world(clip, frame, options)
    area = _area(placed, options)
    for layer in MAP_ORDER:
        if layer not in options.map_colors or layer not in clip.map.layers:
            continue
        for number in np.sort(clip.map.trees[layer].query(area, predicate="intersects")):
            shape, solid = clip.map.layers[layer][number], options.fill_map and layer != OUTLINED
            if isinstance(shape, LineString):
                pixels = _pixels(placed, shape).ravel().tolist()
                ImageDraw.Draw(picture).line(pixels, fill=options.map_colors[layer], width=options.pen_width)
                continue
            _draw_rings(picture, shape, area, placed, options.map_colors[layer], 0 if solid else options.pen_width)
    return np.asarray(picture)


def _picture_from_world(clip: Clip, frame: int, options: BirdseyeOptions) -> Float[np.ndarray, "4 4"]:
    world_from_ego = clip.world_from_ego[frame, 0] if clip.lidar is None else clip.lidar.world_from_ego[frame]
    return options.picture_from_ego @ inverse(world_from_ego)


def _area(placed: Float[np.ndarray, "4 4"], options: BirdseyeOptions) -> Polygon:
    """The part of the world's x, y that the picture shows, with a pen's width around it."""
    margin, (width, height) = 4 * options.pen_width, options.size
    edges = [[x, y, 0] for x in (-margin, width + margin) for y in (-margin, height + margin)]
    return MultiPoint(apply(np.linalg.inv(placed), np.array(edges, float))[:, :2]).convex_hull


def _pixels(placed: Float[np.ndarray, "4 4"], line: LineString) -> Float[np.ndarray, "n 2"]:
    return apply(placed, np.nan_to_num(get_coordinates(line, include_z=True)))[:, :2]


def _draw_rings(
    picture: Image.Image, polygon: Polygon, area: Polygon, placed: Float[np.ndarray, "4 4"], color: Color, pen: int
) -> None:
    """One polygon, solid with black holes (pen 0) or as outlines that lie inside each ring (as Pillow draws them)."""
    draw = ImageDraw.Draw(picture)
    for ring, ink in [(polygon.exterior, color), *((hole, color if pen else (0, 0, 0)) for hole in polygon.interiors)]:
        if not box(*ring.bounds).intersects(area):
            continue
        pixels = _pixels(placed, ring).ravel().tolist()
        if pen:
            draw.polygon(pixels, outline=ink, width=pen)
        else:
            draw.polygon(pixels, fill=ink)
