"""Sweeps as pictures from above: true and generated ones side by side, with what was told. Loads no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dwm.clip_batch import SweepBatch
from dwm.report.rays import range_picture
from dwm.storage import atomic_write

Picture = UInt8[np.ndarray, "_ _ 3"]
LOW, HIGH = (70.0, 110.0, 255.0), (255.0, 240.0, 90.0)
"""Colours of the lowest and of the highest layer of cells."""
SMALLEST = 320
"""Pixels in a side below which a picture is enlarged."""
GAP = 4


def from_above(cells: Tensor) -> Picture:
    """Occupied cells (z, y, x) as a picture, ahead to the right, left up: the highest one of each column gives the colour."""
    layers = len(cells)
    occupied = cells > 0
    top = (occupied * torch.arange(1, layers + 1, device=cells.device).view(-1, 1, 1)).amax(0)
    share = ((top - 1).clamp_min(0).float() / max(1, layers - 1))[..., None]
    low, high = (share.new_tensor(color) for color in (LOW, HIGH))
    colored = (low + share * (high - low)) * (top > 0)[..., None]
    return _enlarged(colored.flip(0).to(torch.uint8).cpu().numpy())


def sheet(
    sweeps: SweepBatch,
    clip: int,
    truth: Sequence[Tensor] | None,
    generated: Sequence[Tensor],
    ranges: Tensor | None = None,
    most: int = 8,
) -> Picture:
    """A row for each frame of a clip (`most` at most): the true sweep, boxes, map, the generated one. Along rays, with the
    generated `ranges` (b, t, 2, R, C), boxes and map lie between the true and the generated range image."""
    rows = []
    for frame in range(min(most, len(generated))):
        parts = [] if truth is None else [from_above(truth[frame])]
        if ranges is not None and sweeps.ranges is not None:
            parts.append(_range_images(sweeps, clip, frame, ranges[clip, frame]))
        for layout in (sweeps.layout_boxes, sweeps.layout_map):
            if layout is not None and ranges is None:
                parts.append(_layout(layout[clip, frame], parts[0].shape[:2] if parts else None))
        parts.append(from_above(generated[frame]))
        tall = max(len(part) for part in parts)
        rows.append(_beside([np.pad(part, ((0, tall - len(part)), (0, 0), (0, 0))) for part in parts], axis=1))
    return _beside(rows, axis=0)


def save_picture(picture: Picture, path: Path) -> Path:
    """Writes a PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside, beside.open("wb") as file:
        Image.fromarray(picture).save(file, "PNG")
    return path


def _range_images(sweeps: SweepBatch, clip: int, frame: int, ranges: Tensor) -> Picture:
    """What the LiDAR measured, was told of boxes and map, and what was generated, one above the other."""
    assert sweeps.ranges is not None
    true, generated = (range_picture(one[0].cpu().double().numpy()) for one in (sweeps.ranges[clip, frame], ranges))
    layouts = [
        _layout(layout[clip, frame], true.shape[:2])
        for layout in (sweeps.layout_boxes, sweeps.layout_map)
        if layout is not None
    ]
    return _beside([true, *layouts, generated], axis=0)


def _layout(picture: Tensor, size: tuple[int, int] | None) -> Picture:
    """(3, H, W), bytes or floats in [0, 1]."""
    numbers = picture.float() if picture.dtype == torch.uint8 else picture.float() * 255
    if size is not None and tuple(numbers.shape[-2:]) != size:
        numbers = F.interpolate(numbers[None], size, mode="nearest")[0]
    return _enlarged(numbers.flip(1).permute(1, 2, 0).to(torch.uint8).cpu().numpy())


def _enlarged(picture: Picture) -> Picture:
    times = max(1, -(-SMALLEST // max(picture.shape[:2])))
    return picture.repeat(times, 0).repeat(times, 1)


def _beside(parts: Sequence[Picture], axis: int) -> Picture:
    shape = list(parts[0].shape)
    shape[axis] = GAP
    line = np.full(shape, 90, np.uint8)
    joined = [part for picture in parts for part in (line, picture)][1:]
    return np.concatenate(joined, axis)
