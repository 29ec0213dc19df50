"""Boxes and map from above as LiDAR networks get them: one picture of six channels, boxes first."""

from __future__ import annotations

import torch
from torch import Tensor

from dwm.clip_batch import SweepBatch

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(pictures: Tensor, mean: tuple[float, ...] = MEAN, deviation: tuple[float, ...] = DEVIATION) -> Tensor:
    """Bytes (..., 3, H, W) → numbers around 0."""
    shape = (-1, 1, 1)
    middle, width = (pictures.new_tensor(x, dtype=torch.float32).view(shape) for x in (mean, deviation))
    return (pictures.float() / 255 - middle) / width


def layout_of(sweeps: SweepBatch) -> Tensor | None:
    """What a batch is told from above as (b, t, 3 or 6, H, W) numbers around 0; None where it is told nothing."""
    parts = [part for part in (sweeps.layout_boxes, sweeps.layout_map) if part is not None]
    bytes_of = [part if part.dtype == torch.uint8 else part * 255 for part in parts]
    return torch.cat([normalise(part) for part in bytes_of], dim=2) if parts else None


def drop(pictures: Tensor, keep: Tensor | None) -> Tensor:
    """Normalised pictures (n, ...) with zeros, the mean colour, for all that is not kept; `keep` names the first of them."""
    if keep is None:
        return pictures
    whole = torch.ones(len(pictures), dtype=torch.bool, device=pictures.device)
    whole[: len(keep)] = keep
    return pictures * whole.view(-1, *(1,) * (pictures.ndim - 1))


def with_blank(pictures: Tensor) -> Tensor:
    """For guidance: as many zeros first, then the pictures."""
    return torch.cat([torch.zeros_like(pictures), pictures])
