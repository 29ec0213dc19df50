"""Sweeps as occupied cells of a grid around the vehicle, and back to points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dwm.errors import DwmError

MOST_CELLS = 2**31
"""No grid is larger than this: 640 x 640 x 64 cells, the published size, are 26 millions."""


@dataclass(frozen=True)
class VoxelGrid:
    """A box in metres (frame of the points) and the size of its cells; x forward, y left, z up.

    Cells are counted by rounding, so a box that is no whole number of cells loses or gains a part of one at its upper end.
    """

    x_min: float = -50.0
    x_max: float = 50.0
    y_min: float = -50.0
    y_max: float = 50.0
    step: float = 0.15625
    z_min: float = -3.0
    z_max: float = 5.0
    z_step: float = 0.125

    def __post_init__(self) -> None:
        for name in ("step", "z_step"):
            if not getattr(self, name) > 0:
                raise DwmError(f"voxel grid: {name} is {getattr(self, name)}; give a size in metres above 0")
        for axis in "xyz":
            lower, upper = getattr(self, f"{axis}_min"), getattr(self, f"{axis}_max")
            if not lower < upper:
                raise DwmError(f"voxel grid: {axis}_min {lower} is not below {axis}_max {upper}")
        x, y, z = self.shape[::-1]
        if min(x, y, z) < 1 or x * y * z > MOST_CELLS:
            raise DwmError(
                f"voxel grid: {x} x {y} x {z} cells; give at least one an axis and at most {MOST_CELLS} in all"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers (z), rows (y), columns (x)."""
        return (
            round((self.z_max - self.z_min) / self.z_step),
            round((self.y_max - self.y_min) / self.step),
            round((self.x_max - self.x_min) / self.step),
        )

    def occupancy(self, points: Tensor) -> Tensor:
        """Points (n, 3 or more) → (z, y, x), 1 where a cell holds one. What is outside or not finite is left out."""
        sizes = torch.tensor(self.shape[::-1], device=points.device)
        cells = torch.zeros(self.shape, device=points.device)
        # Positions count as float32 whatever they are stored in: the same point falls into the same cell everywhere.
        indices = ((points[:, :3].float() - self._corner(points)) / self._steps(points)).floor()
        inside = (indices >= 0).all(1) & (indices < sizes).all(1)
        x, y, z = indices[inside].long().unbind(1)
        cells[z, y, x] = 1
        return cells

    def stack(self, clips: Sequence[Sequence[Tensor]]) -> Tensor:
        """Sweeps of b clips of t frames → (b, t, z, y, x)."""
        return torch.stack([torch.stack([self.occupancy(sweep) for sweep in clip]) for clip in clips])

    def points(self, cells: Tensor, centre: bool = False) -> Tensor:
        """Occupied cells of (z, y, x) → (n, 3) by layer, row and column: their lower corners, or their centres."""
        z, y, x = cells.nonzero().unbind(1)
        index = torch.stack([x, y, z], dim=1).float()
        return (index + 0.5 * centre) * self._steps(index) + self._corner(index)

    def _corner(self, like: Tensor) -> Tensor:
        return torch.tensor([self.x_min, self.y_min, self.z_min], device=like.device)

    def _steps(self, like: Tensor) -> Tensor:
        return torch.tensor([self.step, self.step, self.z_step], device=like.device)


def draw_occupancy(logits: Tensor, uniform: Tensor, tau: float = 1.0, hard: bool = True) -> Tensor:
    """Whether each cell is occupied, drawn with the probability sigmoid(logit): zeros and ones with the soft gradient.

    `uniform` holds a number between 0 and 1 for each logit; `hard` false gives the soft value itself.
    """
    soft = torch.sigmoid((logits + uniform.log() - (-uniform).log1p()) / tau)
    if not hard:
        return soft
    return (soft > 0.5).to(soft.dtype) - soft.detach() + soft
