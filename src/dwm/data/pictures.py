"""Opening a picture's bytes: of the formats that cameras write, and no larger than a picture may be. Nothing is decoded here."""

from __future__ import annotations

import io

from PIL import Image

from dwm.storage import limits

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
"""Others are not tried: some formats that Pillow knows start programs (EPS) or read other files."""
DECODED = 512 << 20
"""Bytes of a decoded picture, at four a pixel."""


def open_picture(data: bytes, name: str) -> Image.Image:
    """The picture, its header read. Raises DwmError where it claims more pixels than `DECODED` holds, else as Pillow does."""
    picture = Image.open(io.BytesIO(data), formats=FORMATS)
    check_pixels(name, *picture.size)
    return picture


def check_pixels(name: str, width: int, height: int) -> None:
    """Raises DwmError where a picture of this size is too large to be decoded."""
    limits.check_size(f"{name}: a picture of {width}×{height}", 4 * width * height, DECODED)
