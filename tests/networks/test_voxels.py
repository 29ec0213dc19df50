"""Sweeps as cells: what is not finite, absent or far away leaves no mark, and a box that is none is refused."""

from __future__ import annotations

import pytest
import torch

from dwm.errors import DwmError
from dwm.networks.lidar.voxels import VoxelGrid

SMALL = VoxelGrid(-2, 2, -2, 2, 1, -1, 1, 1)


def test_an_empty_sweep_is_an_empty_grid() -> None:
    assert SMALL.stack([[torch.zeros(0, 3)]]).sum() == 0


def test_points_that_are_not_finite_or_outside_are_left_out() -> None:
    points = torch.tensor([[float("nan"), 0, 0], [float("inf"), 0, 0], [2.0, 0, 0], [0.5, -1.5, 0.5]])
    cells = SMALL.occupancy(points)
    assert cells.nonzero().tolist() == [[1, 0, 2]]


def test_centres_lie_in_the_cells_of_their_points() -> None:
    cells = SMALL.occupancy(torch.tensor([[0.3, -1.2, 0.1]]))
    assert SMALL.points(cells).tolist() == [[0, -2, 0]]
    assert SMALL.points(cells, centre=True).tolist() == [[0.5, -1.5, 0.5]]


@pytest.mark.parametrize("faulty", [{"step": 0.0}, {"x_min": 50.0}, {"step": 1e-4}, {"z_step": float("nan")}])
def test_a_grid_that_is_none_is_refused(faulty: dict[str, float]) -> None:
    with pytest.raises(DwmError, match="voxel grid"):
        VoxelGrid(**faulty)
