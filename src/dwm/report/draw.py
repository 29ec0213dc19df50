"""Small drawing tools of the reports: enlarging, words on plates, pictures in a grid. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Picture = UInt8[np.ndarray, "h w 3"]
BACKGROUND = (22, 24, 28)
INK = (236, 238, 240)
PLATE = (12, 14, 18, 165)
GAP = 4


def resized(picture: Picture, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture at `size` (width, height), smooth both ways."""
    if picture.shape[1::-1] == tuple(size):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3))


@lru_cache(maxsize=32)
def font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)


def with_name(picture: Picture, name: str) -> Picture:
    """The picture with a name on a dark plate in its upper left corner, sized to stay readable and out of the way."""
    return with_plates(picture, [(name, (0, 0))], pixels=max(10, picture.shape[1] // 30))


def with_plates(picture: Picture, names: Sequence[tuple[str, tuple[int, int]]], pixels: int) -> Picture:
    """The picture with names on dark plates; each comes with its plate's upper left corner (x, y)."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image, "RGBA")
    pad = pixels // 2
    for name, (x, y) in names:
        _, _, right, bottom = pen.textbbox((x + pad, y + pad * 0.7), name, font=font(pixels))
        pen.rectangle((x, y, right + pad, bottom + pad * 0.7), fill=PLATE)
        pen.text((x + pad, y + pad * 0.7), name, font=font(pixels), fill=INK)
    return np.asarray(image)


def grid(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"] | None], columns: int, gap: int = GAP
) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures of one size row by row, a thin dark line between them; None leaves its place empty."""
    height, width = next(picture.shape[:2] for picture in pictures if picture is not None)
    rows = -(-len(pictures) // columns)
    sheet = canvas(columns * (width + gap) - gap, rows * (height + gap) - gap)
    for index, picture in enumerate(pictures):
        if picture is not None:
            y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
            sheet[y : y + height, x : x + width] = picture
    return sheet


def canvas(width: int, height: int) -> Picture:
    return np.full((height, width, 3), BACKGROUND, dtype=np.uint8)


def text_width(text: str, pixels: int) -> int:
    return int(np.ceil(font(pixels).getlength(text)))
