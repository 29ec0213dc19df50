"""Digests of pictures' pixels: whether latents are of the pictures that are there."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dwm.data.digests import as_keys, key_of


def as_bytes(pictures: Float[Tensor, "*n 3 h w"] | UInt8[Tensor, "*n 3 h w"]) -> UInt8[Tensor, "*n 3 h w"]:
    """Pictures in [0, 1] as the bytes that they were read from; bytes as they are."""
    return pictures if pictures.dtype == torch.uint8 else (pictures * 255).round().to(torch.uint8)


def pixel_keys(frames: Float[Tensor, "t v 3 h w"] | UInt8[Tensor, "t v 3 h w"]) -> Int[np.ndarray, "v 2"]:
    """One digest per view, over its frames."""
    views = as_bytes(frames).transpose(0, 1).contiguous().numpy()
    return as_keys(key_of(view.tobytes()) for view in views)
