"""Sweeps as people look at them: range images, and the view from above, frame by frame. Loads no network."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from dwm.clip import Clip
from dwm.data.overview import DEPTH_COLORS, DEPTH_METRES, LookOptions, draw_above
from dwm.data.rays import NOWHERE, RayOptions, boxes_of, range_image, surfaces
from dwm.geometry import apply
from dwm.report.video import Video

SIDE = 512
"""Pixels in a side of the view from above, and in the width of a range image."""
TALL = 3
"""Pixels in a row of a range image."""
GAP = 4
VIEW = "LIDAR_TOP"


def range_picture(distance: Float[np.ndarray, "R C"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Ranges in metres as colours, near ones red, far ones blue, no echo black; the highest beam above, ahead in the middle."""
    flipped = distance[::-1]
    colors = np.stack([np.interp(flipped, DEPTH_METRES, DEPTH_COLORS[:, c]) for c in range(3)], -1)
    picture = (colors * (flipped < NOWHERE)[..., None]).astype(np.uint8)
    size = (SIDE, TALL * len(distance))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))


def lidar_video(clip: Clip, rays: RayOptions, recorded: Clip | None = None) -> Video:
    """A clip's sweeps: range images of the recorded one (of a clip that has one), of what the layout tells of and of the sweep,
    and the view from above, with boxes and map."""
    assert clip.lidar is not None
    frames = [_frame(clip, frame, rays, recorded) for frame in range(clip.length)]
    pixels = torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 255
    return Video(pixels[None, :, None], clip.fps, (VIEW,))


def _frame(clip: Clip, frame: int, rays: RayOptions, recorded: Clip | None) -> UInt8[np.ndarray, "h w 3"]:
    track = clip.lidar
    assert track is not None
    layout = surfaces(boxes_of(clip, frame), track.world_from_lidar(frame), track.mounting(frame), rays)[0]
    rows = [("layout: boxes and ground", np.minimum(layout[0], layout[2]).astype(np.float64))]
    if recorded is not None and recorded.lidar is not None:
        rows.insert(0, ("recorded", range_image(recorded.lidar.points[frame], rays)[0].astype(np.float64)))
    sweep = np.asarray(track.points[frame], np.float64)
    rows.append(("sweep", range_image(sweep, rays)[0].astype(np.float64)))
    in_world = apply(track.world_from_lidar(frame), sweep[:, :3])
    above = draw_above(clip, frame, SIDE, in_world, LookOptions())
    parts = [_named(range_picture(distance), name) for name, distance in rows]
    line = np.full((GAP, SIDE, 3), 90, np.uint8)
    return np.concatenate([piece for part in (*parts, above) for piece in (line, part)][1:])


def _named(picture: UInt8[np.ndarray, "h w 3"], name: str) -> UInt8[np.ndarray, "h w 3"]:
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)  # at the right: the mosaic writes the view's name at the left
    draw.text((SIDE - 6, 2), name, anchor="ra", fill="white", stroke_width=2, stroke_fill="black")
    return np.asarray(image)
