"""Decoded pictures at the wanted size, quickly: what photographs and films share."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "h w 3"]


def resize(picture: Picture, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture at `size` (width, height): bilinear with antialiasing, within one level of what Pillow gives.

    PyTorch does the same sums for many pixels at once, which takes a quarter of Pillow's time.
    """
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    import torch  # here: naming a kind of data set costs no second

    pixels = torch.from_numpy(picture if picture.flags.writeable else picture.copy())[None].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(pixels, (size[1], size[0]), mode="bilinear", antialias=True)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
