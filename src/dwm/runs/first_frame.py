"""A clip that starts from pictures of the user's own: one for each camera, of the first frame. No data set is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from dwm.clip import Clip
from dwm.data.pictures import open_picture
from dwm.errors import DwmError
from dwm.runs.blank_clip import plain_clip
from dwm.storage import read_file

FRONT = ("CAM_FRONT",)
"""The camera of a single picture, where no view is named."""


@dataclass(frozen=True)
class FirstFrame:
    """Pictures of one instant; the later frames are not known and have the same ones."""

    pictures: tuple[UInt8[np.ndarray, "_ _ 3"], ...]

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        picture = self.pictures[view]
        if size is None:
            return picture
        return np.asarray(Image.fromarray(cut(picture, size)).resize(size, Image.Resampling.BICUBIC, reducing_gap=3))


def first_frame_clip(images: Sequence[str], views: tuple[str, ...], frames: int, fps: float) -> Clip:
    """A standing car whose cameras are the usual ones and whose first pictures are these files, a file for each view.

    Raises DwmError for another number of files, and for one that is no picture.
    """
    if len(images) != len(views):
        raise DwmError(
            f"--image: {len(images)} pictures for {len(views)} views ({', '.join(views)}); give one for each, in this order"
        )
    return replace(plain_clip(views, frames, fps), pictures=FirstFrame(tuple(map(opened, images))))


def opened(path: str) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file in RGB, upright. Raises DwmError where it is none."""
    from PIL import ImageOps

    try:
        return np.asarray(ImageOps.exif_transpose(open_picture(read_file(path), path)).convert("RGB"))
    except UnidentifiedImageError:
        raise DwmError(f"--image {path}: not a picture (JPEG, PNG, WEBP, …)") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DwmError(f"--image {path}: a picture that cannot be read ({error})") from error


def cut(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "_ _ 3"]:
    """The middle of a picture, in the proportions of `size` (width, height)."""
    height, width = picture.shape[:2]
    wide, high = min(width, round(height * size[0] / size[1])), min(height, round(width * size[1] / size[0]))
    left, top = (width - wide) // 2, (height - high) // 2
    return picture[top : top + high, left : left + wide]
