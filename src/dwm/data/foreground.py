"""Where something stands that is annotated: filled rectangles around the boxes, as one picture per view."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from pydantic import Field

from dwm.clip import Clip
from dwm.data.layout import Camera
from dwm.data.options import BOX_COLORS, Color
from dwm.geometry import UNIT_CUBE_CORNERS
from dwm.options import Options


class ForegroundOptions(Options):
    """How foreground regions are drawn."""

    categories: tuple[str, ...] = Field(
        tuple(BOX_COLORS), description="prefixes of the categories that count as foreground"
    )
    foreground: Color = Field((255, 255, 255), description="RGB of a region")
    background: Color = Field((0, 0, 0), description="RGB elsewhere, and everywhere where nothing is annotated")


def draw_foreground(
    clip: Clip,
    frame: int,
    view: int,
    size: tuple[int, int] | None = None,
    options: ForegroundOptions = ForegroundOptions(),
) -> UInt8[np.ndarray, "h w 3"]:
    """The rectangle around the eight projected corners of each box that lies wholly in front of the camera."""
    camera = Camera(clip, frame, view)
    picture = Image.new("RGB", camera.size, options.background)
    boxes = None if clip.boxes is None else clip.boxes[frame][view]
    if boxes is not None and len(boxes):
        draw = ImageDraw.Draw(picture)
        corners = (UNIT_CUBE_CORNERS * boxes.size[:, None]) @ boxes.rotation.swapaxes(1, 2) + boxes.center[:, None]
        in_camera = camera.see(corners)
        counts = np.array([name.startswith(options.categories) for name in boxes.category])
        for box in in_camera[(in_camera[..., 2] > 0).all(1) & counts]:
            pixels = box[:, :2] / box[:, 2:]
            draw.rectangle([*pixels.min(0), *pixels.max(0)], fill=options.foreground)
    if size is not None and size != camera.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture)
