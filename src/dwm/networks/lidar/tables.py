"""What windows of tokens need and no training changes: positions of tokens, indices and masks of shifted windows."""

from __future__ import annotations

import torch
from torch import Tensor

MASKED = -100.0
"""Added to the scores of tokens that a shift brought together although they are no neighbours."""


def position_table(channels: int, rows: int, columns: int) -> Tensor:
    """Sines and cosines (rows * columns, channels): the first half of the channels codes the column, the other the row."""
    frequencies = 10000.0 ** -(torch.arange(channels // 4, dtype=torch.float64) / (channels / 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [coordinate.reshape(-1, 1) * frequencies for coordinate in (column, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def fit_window(rows: int, columns: int, window: int, shift: int) -> tuple[int, int]:
    """Window and shift in effect: a grid that is not larger than the window is one window, and nothing is shifted."""
    smallest = min(rows, columns)
    return (smallest, 0) if smallest <= window else (window, shift)


def relative_index(window: int) -> Tensor:
    """(window², window²): where the bias of a pair of tokens lies in a table of (2 window - 1)² rows."""
    coordinates = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    apart = coordinates[:, :, None] - coordinates[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def shift_mask(rows: int, columns: int, window: int, shift: int) -> Tensor:
    """(windows, window², window²): 0 where tokens were neighbours before the shift, `MASKED` where not."""
    row, column = (_bands(size, window, shift) for size in (rows, columns))
    region = 3 * row[:, None] + column
    tiles = region.unflatten(0, (-1, window)).unflatten(2, (-1, window)).transpose(1, 2).reshape(-1, window * window)
    return (tiles[:, None] != tiles[:, :, None]).float() * MASKED


def _bands(size: int, window: int, shift: int) -> Tensor:
    bands = torch.zeros(size, dtype=torch.long)
    bands[size - window :] = 1
    bands[size - shift :] = 2
    return bands
