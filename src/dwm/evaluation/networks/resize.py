"""Resizers of pictures as the libraries that compute FID have them. All are bilinear or bicubic in name; none equals another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PictureSize = Callable[[Float[Tensor, "n c h w"], tuple[int, int]], Float[Tensor, "n c y x"]]
"""Pictures and (height, width) → pictures of that size, on the same scale."""


def tensorflow_bilinear(pictures: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c y x"]:
    """TensorFlow 1: row i is read at i·(old/new), without half a pixel's shift and without antialias; cut at the border."""
    upper, lower, down = _neighbours(pictures.shape[-2], size[0], pictures.device)
    left, right, across = _neighbours(pictures.shape[-1], size[1], pictures.device)
    rows = pictures[..., upper, :], pictures[..., lower, :]
    top, bottom = (row[..., left] + (row[..., right] - row[..., left]) * across for row in rows)
    return top + (bottom - top) * down[:, None]


def bilinear(pictures: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c y x"]:
    """PyTorch's, with half a pixel's shift, without antialias."""
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False)


def smooth_bilinear(pictures: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c y x"]:
    """PyTorch's with antialias."""
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


def bicubic(pictures: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c y x"]:
    """Pillow's bicubic of float channels, cut to 0 … 255. In float64: Pillow sums in double precision."""
    resized = F.interpolate(pictures.double(), size, mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 255).to(pictures.dtype)


def _neighbours(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each new place: the old one before it, the one behind it, and how far it lies between them."""
    step = torch.tensor(old, dtype=torch.float32) / torch.tensor(new, dtype=torch.float32)
    position = torch.arange(new, dtype=torch.float32) * step
    before = position.floor().long().clamp_max(old - 1)
    behind = (before + 1).clamp_max(old - 1)
    return before.to(device), behind.to(device), (position - before).to(device)
