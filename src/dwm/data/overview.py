"""A clip as people look at it: the cameras with boxes, map and LiDAR drawn on, the view from above beside them. Writes no file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from pydantic import Field

from dwm.clip import Clip
from dwm.conventions import NUSCENES_VIEWS
from dwm.data.birdseye import BirdseyeOptions, draw_boxes_birdseye, draw_map_birdseye
from dwm.data.foreground import draw_foreground
from dwm.data.layout import Camera, draw_boxes, draw_map
from dwm.data.options import LayoutOptions
from dwm.errors import DwmError
from dwm.geometry import apply, inverse
from dwm.options import Options

Picture = UInt8[np.ndarray, "h w 3"]
PLACES = {name: (i // 3, i % 3 if i < 3 else 5 - i) for i, name in enumerate(NUSCENES_VIEWS)}
"""Row and column of nuScenes' cameras: the back cameras mirrored under the front ones, as one would see them turning round."""
DEPTH_METRES = (2.0, 10.0, 25.0, 60.0)
DEPTH_COLORS = np.array([[255, 60, 60], [255, 220, 60], [60, 220, 120], [60, 120, 255]], float)
STRENGTH = {"boxes": 1.0, "map": 0.55}
MARGIN = 4
DARKER = 4
"""By what the background is divided where the foreground shall stand out."""


class LookOptions(Options):
    """What is drawn and how large."""

    tile_width: int = Field(448, ge=64, le=4096, description="width in pixels of one camera's picture")
    boxes: bool = Field(True, description="whether boxes are drawn")
    map: bool = Field(True, description="whether the map is drawn")
    lidar: bool = Field(True, description="whether LiDAR points are drawn, near ones red, far ones blue")
    birdseye: bool = Field(True, description="whether the view from above stands beside")
    foreground: bool = Field(False, description="whether all but what is annotated is darkened, rectangle by rectangle")
    metres: float = Field(60.0, gt=0, description="width in metres of the view from above")


def look_at(clip: Clip, options: LookOptions = LookOptions()) -> UInt8[np.ndarray, "t h w 3"]:
    """All frames of a clip, each as one picture: cameras in rows of three, the view from above at the right."""
    points = sweeps_in_world(clip) if options.lidar else [None] * clip.length
    return np.stack([_sheet(clip, frame, points[frame], options) for frame in range(clip.length)])


def look_at_both(clip: Clip, edited: Clip, options: LookOptions = LookOptions()) -> UInt8[np.ndarray, "t rows w 3"]:
    """The same of a clip, above, and of an edited one, below, whose pictures are still those that were recorded."""
    above, below = look_at(clip, options), look_at(edited, options)
    line = np.full((len(above), MARGIN, above.shape[2], 3), 255, np.uint8)
    return np.concatenate([above, line, below], 1)


def _sheet(clip: Clip, frame: int, points: Float[np.ndarray, "n 3"] | None, options: LookOptions) -> Picture:
    if not clip.views:
        return draw_above(clip, frame, 2 * options.tile_width, points, options)
    cells = [PLACES[name] for name in clip.views if name in PLACES]
    if len(set(cells)) < len(clip.views):
        cells = [(i // 3, i % 3) for i in range(len(clip.views))]
    columns, lines = max(c for _, c in cells) + 1, max(r for r, _ in cells) + 1
    width = options.tile_width
    height = max(round(width * h / w) for w, h in clip.rig.image_size.reshape(-1, 2).tolist())
    above = lines * height + (lines - 1) * MARGIN if options.birdseye else 0
    total = (columns * (width + MARGIN) - MARGIN, lines * (height + MARGIN) - MARGIN)
    sheet = Image.new("RGB", (total[0] + (above + MARGIN if above else 0), total[1]))
    for view, (row, column) in enumerate(cells):
        w, h = clip.rig.at(frame).image_size[view].tolist()
        tile = draw_view(clip, frame, view, (width, round(width * h / w)), points, options)
        sheet.paste(Image.fromarray(tile), (column * (width + MARGIN), row * (height + MARGIN)))
    if above:
        sheet.paste(Image.fromarray(draw_above(clip, frame, above, points, options)), (sheet.width - above, 0))
    return np.asarray(sheet)


def draw_view(
    clip: Clip,
    frame: int,
    view: int,
    size: tuple[int, int],
    points: Float[np.ndarray, "n 3"] | None = None,
    options: LookOptions = LookOptions(),
) -> Picture:
    """One camera's picture at `size` (width, height) with what is known drawn on; points in the world's frame."""
    picture = (
        np.zeros((size[1], size[0], 3), np.uint8) if clip.pictures is None else clip.pictures.load(frame, view, size)
    )
    if options.foreground:
        stands = draw_foreground(clip, frame, view, size).any(-1, keepdims=True)
        picture = np.where(stands, picture, picture // DARKER)
    if options.map:
        picture = _over(picture, draw_map(clip, frame, view, size, LayoutOptions(pen_width=4)), STRENGTH["map"])
    if points is not None:
        picture = _dots(picture, *_visible_points(Camera(clip, frame, view), points, size))
    if options.boxes:
        picture = _over(picture, draw_boxes(clip, frame, view, size, LayoutOptions(pen_width=5)), STRENGTH["boxes"])
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((6, 4), clip.views[view], fill="white", stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def draw_above(
    clip: Clip, frame: int, side: int, points: Float[np.ndarray, "n 3"] | None, options: LookOptions = LookOptions()
) -> Picture:
    """The view from above, `side` pixels wide and high: map, LiDAR, boxes, and the car's own arrow; ahead is to the right."""
    above = BirdseyeOptions(size=(side, side), pixels_per_metre=side / options.metres)
    picture = draw_map_birdseye(clip, frame, above) // 3 if options.map else np.zeros((side, side, 3), np.uint8)
    if points is not None:
        pose = clip.world_from_ego[frame, 0] if clip.lidar is None else clip.lidar.world_from_ego[frame]
        placed = apply(above.picture_from_ego @ inverse(pose), points)[:, :2]
        picture = _dots(picture, placed, np.full((len(placed), 3), 200.0), radius=0)
    if options.boxes:
        picture = _over(picture, draw_boxes_birdseye(clip, frame, above), 1.0)
    image, middle, unit = Image.fromarray(picture), side / 2, side / options.metres
    arrow = [(middle - unit, middle - unit), (middle + 3 * unit, middle), (middle - unit, middle + unit)]
    ImageDraw.Draw(image).polygon(arrow, fill="white")
    return np.asarray(image)


def sweeps_in_world(clip: Clip) -> Sequence[Float[np.ndarray, "_ 3"] | None]:
    """Each frame's sweep in the world's frame; None where there is none, with a warning where its file is missing."""
    if clip.lidar is None:
        return [None] * clip.length
    track, clouds = clip.lidar, []
    for frame in range(clip.length):
        try:
            sweep = track.points[frame][:, :3].astype(np.float64)
        except DwmError as error:
            warnings.warn(f"{error} (drawn without LiDAR)", stacklevel=2)
            return [None] * clip.length
        clouds.append(apply(track.world_from_lidar(frame), sweep))
    return clouds


def _visible_points(
    camera: Camera, points: Float[np.ndarray, "n 3"], size: tuple[int, int]
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, "k 3"]]:
    """Pixels and colours of the points in front of a camera, far ones first."""
    in_camera = camera.see(points)
    in_camera = in_camera[in_camera[:, 2] > 1.0]
    in_camera = in_camera[np.argsort(-in_camera[:, 2])]
    pixels = in_camera[:, :2] / in_camera[:, 2:] * (np.array(size) / camera.size)
    colors = np.stack([np.interp(in_camera[:, 2], DEPTH_METRES, DEPTH_COLORS[:, c]) for c in range(3)], 1)
    return pixels, colors


def _dots(
    picture: Picture, pixels: Float[np.ndarray, "k 2"], colors: Float[np.ndarray, "k 3"], radius: int = 1
) -> Picture:
    picture, (height, width) = picture.copy(), picture.shape[:2]
    at = np.floor(pixels).astype(np.int64)
    for x in range(radius + 1):
        for y in range(radius + 1):
            column, row = at[:, 0] + x, at[:, 1] + y
            keep = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            picture[row[keep], column[keep]] = colors[keep]
    return picture


def _over(picture: Picture, lines: Picture, strength: float) -> Picture:
    """Lines on black laid over a picture, as far as they are bright."""
    alpha = strength * lines.max(-1, keepdims=True) / 255
    return (picture * (1 - alpha) + lines * strength).clip(0, 255).astype(np.uint8)
