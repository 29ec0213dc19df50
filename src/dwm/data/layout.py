"""Layout pictures: boxes and map outlines of one picture of a clip, drawn as its camera would see them, as coloured lines.

`fast` draws straight at the wanted size: edges found by place, culled, anti-aliased by a canvas a few times larger, pen
scaled with the picture. `exact` draws as OpenDWM's reader does (original size, then resized), for weights that learned from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from shapely import MultiPoint, Polygon

from dwm.clip import Boxes, Clip, LaneMap
from dwm.data.options import Color, LayoutOptions
from dwm.geometry import NEAR, UNIT_CUBE_CORNERS, apply, inverse

MAP_ORDER = ("lane", "drivable_area", "ped_crossing")

BOX_EDGES = np.array(
    # The twelve edges of `UNIT_CUBE_CORNERS`, then a diagonal on the left and one on the front face, which show the heading.
    [[0, 1], [0, 2], [1, 3], [2, 3], [0, 4], [1, 5], [2, 6], [3, 7], [4, 5], [4, 6], [5, 7], [6, 7], [6, 3], [6, 5]]
)
_TRAIL = np.array([4, 0, 1, 0, 2, 3, 1, 5, 4, 6, 2, 6, 3, 7, 5, 6, 7])
BOX_STROKE = np.stack([_TRAIL[:-1], _TRAIL[1:]], 1)
"""The same edges in one stroke, two of them passed twice: one call to Pillow instead of fourteen. Its pixels depend on a line's
direction a little, so that `exact` keeps to `BOX_EDGES`."""
NOMINAL_SIZE = (1600, 900)
"""nuScenes' pictures, for which pens are given: a set that was stored smaller is drawn with the same look."""

CULL_MARGIN = 5.0
"""Metres by which the search for map edges reaches beyond the picture, so that wide lines just outside still show."""


def color_of(category: str, colors: dict[str, Color]) -> Color | None:
    """The colour of the first prefix that fits, or None where the category is not drawn."""
    return next((color for prefix, color in colors.items() if category.startswith(prefix)), None)


def draw_boxes(
    clip: Clip, frame: int, view: int, size: tuple[int, int] | None = None, options: LayoutOptions = LayoutOptions()
) -> UInt8[np.ndarray, "h w 3"]:
    """The boxes of one picture on black at `size` (width, height; None: the original). Black where nothing is annotated."""
    camera = Camera(clip, frame, view)
    boxes = None if clip.boxes is None else clip.boxes[frame][view]
    return _draw(camera.size, size, _box_lines(camera, boxes, options), options)


def draw_map(
    clip: Clip, frame: int, view: int, size: tuple[int, int] | None = None, options: LayoutOptions = LayoutOptions()
) -> UInt8[np.ndarray, "h w 3"]:
    """The map's outlines of one picture on black at `size` (width, height; None: the original). Black without a map."""
    camera = Camera(clip, frame, view)
    return _draw(camera.size, size, _map_lines(camera, clip.map, options), options)


class Camera:
    """One camera at one instant: what projects the world into its picture."""

    def __init__(self, clip: Clip, frame: int, view: int) -> None:
        rig = clip.rig.at(frame)
        self.intrinsics = rig.intrinsics[view]
        self.size = (int(rig.image_size[view, 0]), int(rig.image_size[view, 1]))
        self.world_from_camera = clip.world_from_ego[frame, view] @ rig.ego_from_camera[view]
        self.camera_from_world = inverse(self.world_from_camera)

    def see(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """World points as homogeneous pixels; the third row is the depth in metres."""
        return apply(self.camera_from_world, points) @ self.intrinsics.T

    def footprint(self, distance: float) -> Polygon:
        """The part of the world's x, y that the picture can show up to `distance` metres, and a margin."""
        width, height = self.size
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1.0]]) * distance
        rays = apply(self.world_from_camera, corners @ np.linalg.inv(self.intrinsics).T)
        return MultiPoint(np.vstack([rays, self.world_from_camera[:3, 3]])[:, :2]).convex_hull.buffer(CULL_MARGIN, 1)


@dataclass(frozen=True)
class _Lines:
    """Segments (x0, y0, x1, y1) in pixels of the original picture, in drawing order, with the colour of each."""

    segments: Float[np.ndarray, "k 4"]
    colors: UInt8[np.ndarray, "k 3"]


NO_LINES = _Lines(np.zeros((0, 4)), np.zeros((0, 3), np.uint8))


def _box_lines(camera: Camera, boxes: Boxes | None, options: LayoutOptions) -> _Lines:
    if boxes is None:
        return NO_LINES
    palette = {name: color_of(name, options.box_colors) for name in set(boxes.category)}
    keep = [i for i, name in enumerate(boxes.category) if palette[name] is not None]
    if not keep:
        return NO_LINES
    corners = (UNIT_CUBE_CORNERS * boxes.size[keep, None]) @ boxes.rotation[keep].swapaxes(1, 2)
    in_camera = camera.see(corners + boxes.center[keep, None])
    show = _may_show(in_camera, camera.size, options.box_distance)
    colors = np.array([palette[boxes.category[i]] for i in keep], np.uint8)[show]
    order = BOX_EDGES if options.mode == "exact" else BOX_STROKE
    edges = in_camera[show][:, order].reshape(-1, 2, 3)
    return _clip_depth(edges, colors.repeat(len(order), 0), options.box_distance)


def _map_lines(camera: Camera, lane_map: LaneMap | None, options: LayoutOptions) -> _Lines:
    if lane_map is None:
        return NO_LINES
    layers = [name for name in MAP_ORDER if name in options.map_colors and name in lane_map.edges]
    if not layers:
        return NO_LINES
    area = camera.footprint(options.map_distance)
    edges = [lane_map.edges[name].near(area) for name in layers]
    points = np.zeros((sum(len(start) for start, _ in edges), 2, 3))
    points[:, 0] = np.concatenate([start for start, _ in edges])
    points[:, 1] = np.concatenate([stop for _, stop in edges])
    colors = np.array([options.map_colors[name] for name in layers], np.uint8).repeat([len(s) for s, _ in edges], 0)
    in_camera = camera.see(points)
    show = _may_show(in_camera, camera.size, options.map_distance)
    return _clip_depth(in_camera[show], colors[show], options.map_distance)


def _may_show(in_camera: Float[np.ndarray, "n k 3"], size: tuple[int, int], far: float) -> np.ndarray:
    """Which groups of homogeneous pixels are not wholly nearer, farther or to one side of the picture (by 5 % of it)."""
    x, y, depth = in_camera[..., 0], in_camera[..., 1], in_camera[..., 2]
    left, right, top, bottom = (
        depth * bound for bound in (-0.05 * size[0], 1.05 * size[0], -0.05 * size[1], 1.05 * size[1])
    )
    outside = (depth < NEAR, depth > far, x < left, x > right, y < top, y > bottom)
    return ~np.any(np.stack(outside).all(-1), axis=0)


def _clip_depth(edges: Float[np.ndarray, "n 2 3"], colors: UInt8[np.ndarray, "n 3"], far: float) -> _Lines:
    """Edges between homogeneous pixels, cut at the near and far plane and divided by depth."""
    depth = edges[..., 2]
    if depth.size and (depth.min() < NEAR or depth.max() > far):
        keep = ~((depth < NEAR).all(1) | (depth > far).all(1))
        edges, colors = edges[keep], colors[keep]
        for plane, beyond in ((NEAR, edges[..., 2] < NEAR), (far, edges[..., 2] > far)):
            for end in (0, 1):
                crossing = np.flatnonzero(beyond[:, end])
                cut_ends, other_ends = edges[crossing, end], edges[crossing, 1 - end]
                share = (plane - cut_ends[:, 2]) / (other_ends[:, 2] - cut_ends[:, 2])
                edges[crossing, end] = cut_ends + share[:, None] * (other_ends - cut_ends)
    return _Lines((edges[..., :2] / edges[..., 2:]).reshape(-1, 4), colors)


def _draw(
    original: tuple[int, int], size: tuple[int, int] | None, lines: _Lines, options: LayoutOptions
) -> UInt8[np.ndarray, "h w 3"]:
    size = size or original
    if options.mode == "exact":
        picture = stroke(Image.new("RGB", original), lines.segments, lines.colors, options.pen_width)
        return np.asarray(picture if size == original else picture.resize(size, Image.Resampling.BILINEAR))
    pen = max(options.min_pen, options.pen_width * np.mean(np.array(size) / NOMINAL_SIZE))
    finer = 1 if pen >= 6 else 2 if pen >= 2 else 3
    segments = lines.segments * np.tile(np.array(size) / original * finer, 2)
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    left, top, right, bottom = _bounds(segments, pen * finer, size, finer)
    if left < right and top < bottom:
        canvas = Image.new("RGB", ((right - left) * finer, (bottom - top) * finer))
        stroke(canvas, segments - np.tile([left * finer, top * finer], 2), lines.colors, round(pen * finer))
        picture[top:bottom, left:right] = np.asarray(canvas if finer == 1 else canvas.reduce(finer))
    return picture


def _bounds(
    segments: Float[np.ndarray, "k 4"], pen: float, size: tuple[int, int], finer: int
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of the part of the picture that lines reach: only this part has to be drawn."""
    if len(segments) == 0:
        return 0, 0, 0, 0
    low, high = segments.reshape(-1, 2).min(0) - pen, segments.reshape(-1, 2).max(0) + pen
    left, top = np.clip(low // finer, 0, size).astype(int).tolist()
    right, bottom = np.clip(high // finer + 1, 0, size).astype(int).tolist()
    return left, top, right, bottom


def stroke(
    picture: Image.Image, segments: Float[np.ndarray, "k 4"], colors: UInt8[np.ndarray, "k 3"], pen: int
) -> Image.Image:
    """Draws segments; what goes on where the last one ended, in its colour, is one call to Pillow (the same pixels)."""
    if len(segments) == 0:
        return picture
    draw = ImageDraw.Draw(picture)
    breaks = (segments[1:, :2] != segments[:-1, 2:]).any(1) | (colors[1:] != colors[:-1]).any(1)
    starts = np.flatnonzero(np.concatenate([[True], breaks])).tolist()
    inks = [tuple(color) for color in colors[starts].tolist()]
    ends, heads = segments[:, 2:].ravel().tolist(), segments[starts, :2].tolist()
    for head, ink, start, stop in zip(heads, inks, starts, [*starts[1:], len(segments)], strict=True):
        draw.line(head + ends[2 * start : 2 * stop], fill=ink, width=pen)
    return picture
