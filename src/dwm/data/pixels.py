"""Decoded pictures of any kind as RGB of 8 bits. Reads no file.

What is decided here: 16 bits are scaled (a value means v / 65535), never clipped; transparency is left out, colours are taken
as they are stored; a palette is looked up; CMYK is converted without a profile. Pixels stay where the file has them: an EXIF
note that a viewer should turn the picture is not followed, as calibration is of the stored pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from dwm.errors import DwmError

SIXTEEN_BITS = 65535 / 255
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")
"""Modes of grey pictures with 16 bits. Colour pictures of 16 bits are scaled by Pillow itself as it reads them."""


def as_rgb(picture: Image.Image, name: str) -> Image.Image:
    """The picture as RGB of 8 bits. Raises DwmError for numbers whose white is not known (32 bits, floats)."""
    if picture.mode == "RGB":
        return picture
    if picture.mode in WIDE or (picture.mode == "I" and picture.format == "PNG"):  # older Pillow reads such a PNG as I
        grey = np.round(np.asarray(picture).astype(np.float32) / SIXTEEN_BITS).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if picture.mode in ("I", "F"):
        raise DwmError(
            f"{name}: has {'floating point numbers' if picture.mode == 'F' else 'numbers of 32 bits'} for pixels, of which "
            "nobody knows what is white; store 8 or 16 bits"
        )
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
