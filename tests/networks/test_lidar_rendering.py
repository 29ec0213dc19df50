"""Rays through a grid of features: depths, what stops them, and rays that carry nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dwm.errors import DwmError
from dwm.networks.lidar import rendering
from dwm.networks.lidar.rendering import Box, depth_loss, render, rendered_points

BOX = Box((-2.0, -2.0, -2.0), (2.0, 2.0, 2.0), 0.01)


def wall(x: float) -> Tensor:
    """A grid (1, 81, 3, 3) that is dense beyond `x`."""
    along = torch.linspace(-2, 2, 81)
    return torch.where(along > x, 50.0, -50.0).view(1, 81, 1, 1).expand(1, 81, 3, 3).contiguous()


def identity(features: Tensor) -> Tensor:
    return features


def test_a_ray_ends_at_the_wall() -> None:
    rays = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.5, 0.0]])
    depth = render(wall(1.0), identity, torch.zeros(2, 3), rays, BOX).values
    assert depth.tolist() == pytest.approx([1.02, 1.02 * rays[1].norm().item() / 3], abs=0.04)
    assert rendered_points(depth, torch.zeros(2, 3), rays)[:, 0].tolist() == pytest.approx([1.02, 1.02], abs=0.04)


def test_a_ray_of_no_length_stays_finite() -> None:
    origins = torch.zeros(1, 3)
    grid = wall(1.0).requires_grad_()
    seen = render(grid, identity, origins, torch.zeros(1, 3), BOX)
    (depth_loss(seen.values, torch.zeros(1, 3)) + seen.empty_loss + seen.values.sum()).backward()
    assert grid.grad is not None and bool(grid.grad.isfinite().all())
    assert rendered_points(seen.values, origins, torch.zeros(1, 3)).isfinite().all()


def test_no_rays_have_a_loss_of_nothing() -> None:
    grid = wall(1.0).requires_grad_()
    seen = render(grid, identity, torch.zeros(0, 3), torch.zeros(0, 3), BOX)
    loss = depth_loss(seen.values, torch.zeros(0, 3)) + seen.empty_loss
    loss.backward()
    assert loss.item() == 0 and grid.grad is not None and not grid.grad.any()


def test_chunks_change_neither_depths_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    rays = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))

    def run() -> tuple[Tensor, Tensor]:
        grid = torch.randn(1, 5, 5, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
        seen = render(grid, identity, torch.zeros(40, 3), rays, BOX)
        (seen.values.sum() + seen.empty_loss).backward()
        assert grid.grad is not None
        return seen.values.detach(), grid.grad

    whole = run()
    monkeypatch.setattr(rendering, "SAMPLES_AT_ONCE", 1000)
    parts = run()
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_too_small_a_step_is_refused() -> None:
    with pytest.raises(DwmError, match="steps of 1e-09 m"):
        render(wall(1.0), identity, torch.zeros(1, 3), torch.ones(1, 3), Box(BOX.lower, BOX.upper, 1e-9))
