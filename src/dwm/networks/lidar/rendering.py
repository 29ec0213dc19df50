"""Depths and features along rays through a grid of features: what the autoencoders of sweeps are trained on.

A ray is cut into steps of one length within a box; each sample's opacity comes from a small network on the grid's features.
Rays are taken in chunks of a bounded number of samples, so that memory beyond the result is bounded without gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dwm.errors import DwmError

STOP = 1e-3
"""Behind the sample after which less light than this is left, nothing counts."""

SAMPLES_AT_ONCE = 2_000_000
"""At 16 channels about 130 MB of features; a chunk is computed again for its gradient rather than kept."""

MOST_STEPS = 100_000
"""No ray has more samples than this."""

SHARE = 0.95
"""Of the errors of depth the smallest, this share, count."""


@dataclass(frozen=True)
class Occupied:
    """Which coarse cells hold anything: `cells` (z, y, x) from the corner `lower`, each of `size` metres (x, y, z)."""

    cells: Tensor
    lower: tuple[float, float, float]
    size: tuple[float, float, float]

    def at(self, points: Tensor) -> Tensor:
        """Whether each of (n, 3) lies in an occupied cell; what is outside of all does not."""
        # The small shift puts a point on a border into the cell below, where the reference has it.
        index = ((points - 1e-4 - points.new_tensor(self.lower)) / points.new_tensor(self.size)).trunc().long()
        count = torch.tensor(self.cells.shape[::-1], device=points.device)
        inside = ((index >= 0) & (index < count)).all(1)
        x, y, z = torch.where(inside[:, None], index, 0).unbind(1)
        return inside & (self.cells[z, y, x] > 0)


@dataclass(frozen=True)
class Box:
    """Where rays are followed: its corners (x, y, z; metres), the step, and the part of each ray in units of its direction."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    step: float
    near: float = 0.0
    far: float = 1e9

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise DwmError(f"rendering: the step is {self.step}; give metres above 0")
        if not all(low < high for low, high in zip(self.lower, self.upper, strict=True)):
            raise DwmError(f"rendering: the box from {self.lower} to {self.upper} is empty")


class Samples(NamedTuple):
    """Points on rays, in order of the rays and of depth: their ray, their number from the entry, their place (n, 3)."""

    ray: Tensor
    step: Tensor
    points: Tensor


@dataclass(frozen=True)
class Rendering:
    """What n rays see: `values` (n) depths from the box's entry or (n, c) features, `left` (n) the light that is left.

    `empty_loss` is the mean over rays of the squared weights in front of the surface.
    """

    values: Tensor
    left: Tensor
    weight: Tensor
    empty_loss: Tensor


def render(
    grid: Tensor,
    opacity: Callable[[Tensor], Tensor],
    origins: Tensor,
    rays: Tensor,
    box: Box,
    occupied: Occupied | None = None,
    features: bool = False,
) -> Rendering:
    """Follows rays (n, 3), which reach from `origins` (n, 3) to their points, through `grid` (c, x, y, z).

    `opacity` takes features (samples, c) to logits (samples, 1). All are metres in one frame.
    """
    if len(rays) == 0:
        none = grid.sum() * 0 + origins.new_zeros(0)
        return Rendering(none[:, None].expand(0, len(grid)) if features else none, none, none, grid.sum() * 0)
    parts = []
    for chunk in _chunks(origins, rays, box):

        def part(grid: Tensor, o: Tensor, d: Tensor) -> tuple[Tensor, ...]:
            return _follow(grid, opacity, o, d, box, occupied, features)

        inputs = grid, origins[chunk], rays[chunk]
        keep = torch.is_grad_enabled() and len(chunk) < len(rays)
        parts.append(checkpoint(part, *inputs, use_reentrant=False) if keep else part(*inputs))
    values, left, weight, empty = (torch.cat(part) for part in zip(*parts, strict=True))
    return Rendering(values, left, weight, empty.sum() / len(rays))


def depth_loss(depth: Tensor, rays: Tensor) -> Tensor:
    """Mean of the smallest 95 % of the absolute errors (n) against the rays' lengths; 0 without rays."""
    error = (depth - rays.norm(dim=1)).abs()
    count = int(SHARE * len(error))
    return error.topk(count, largest=False).values.mean() if count else error.sum() * 0


def rendered_points(depth: Tensor, origins: Tensor, rays: Tensor) -> Tensor:
    """Where rays (n, 3) end at depths (n); a ray without a length ends where it begins."""
    length = rays.norm(dim=1)
    share = depth / torch.where(length > 0, length, torch.ones_like(length))
    return origins + rays * share[:, None]


def sample(origins: Tensor, rays: Tensor, box: Box, occupied: Occupied | None = None) -> Samples:
    """The points strictly inside the box, and in an occupied cell where those are given."""
    entry, count = _extent(origins, rays, box)
    length = rays.norm(dim=1, keepdim=True)
    ray = torch.repeat_interleave(torch.arange(len(rays), device=rays.device), count)
    step = torch.arange(len(ray), device=rays.device) - (count.cumsum(0) - count)[ray]
    start = origins + rays * entry[:, None]
    direction = rays / torch.where(length > 0, length, torch.ones_like(length))
    points = start[ray] + direction[ray] * (step * box.step)[:, None]
    inside = ((points > points.new_tensor(box.lower)) & (points < points.new_tensor(box.upper))).all(1)
    if occupied is not None:
        inside &= occupied.at(points)
    return Samples(ray[inside], step[inside], points[inside])


def interpolate(grid: Tensor, points: Tensor, box: Box) -> Tensor:
    """Features (n, c) of `grid` (c, x, y, z) at points (n, 3): linear between cells, the corners at the box's corners."""
    lower, upper = points.new_tensor(box.lower), points.new_tensor(box.upper)
    position = ((points - lower) / (upper - lower)).flip(-1) * 2 - 1
    values = F.grid_sample(grid[None], position.view(1, 1, 1, -1, 3).to(grid), mode="bilinear", align_corners=True)
    return values.view(len(grid), -1).T


def weights(opacity: Tensor, ray: Tensor, rays: int) -> tuple[Tensor, Tensor]:
    """Share of the light that each sample sends back (n), and what is left behind each ray.

    Samples stand in order of rays and depth. Behind the sample at which less than `STOP` is left all weights are zero.
    """
    count = torch.bincount(ray, minlength=rays)
    column = torch.arange(len(ray), device=ray.device) - (count.cumsum(0) - count)[ray]
    table = opacity.new_zeros(rays, int(count.max()) if len(ray) else 0)
    table = table.index_put((ray, column), opacity)
    through = torch.cat([table.new_ones(rays, 1), (1 - table).cumprod(dim=1)], dim=1)
    counted = through[:, :-1] >= STOP
    weight = through[:, :-1] * table * counted
    last = counted.sum(dim=1, keepdim=True)
    return weight[ray, column], through.gather(1, last)[:, 0]


def _follow(
    grid: Tensor,
    opacity: Callable[[Tensor], Tensor],
    origins: Tensor,
    rays: Tensor,
    box: Box,
    occupied: Occupied | None,
    features: bool,
) -> tuple[Tensor, ...]:
    """Values, light left, summed weights and squared weights in front of the surface, a row for each ray."""
    n = len(rays)
    ray, step, points = sample(origins, rays, box, occupied)
    features_there = interpolate(grid, points, box)
    alpha = torch.sigmoid(opacity(features_there)).view(-1)
    weight, left = weights(alpha, ray, n)
    contribution = weight[:, None] * features_there if features else weight * (step * box.step)
    values = contribution.new_zeros(n, *contribution.shape[1:]).index_add(0, ray, contribution)
    free = (points - origins[ray]).norm(dim=1) < rays.norm(dim=1)[ray] - box.near
    empty = weight.new_zeros(n).index_add(0, ray, weight.square() * free)
    return values, left, weight.new_zeros(n).index_add(0, ray, weight), empty


def _extent(origins: Tensor, rays: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """Where each ray enters the box, in units of its direction, and its number of samples."""
    direction = torch.where(rays == 0, torch.full_like(rays, 1e-6), rays)
    a = (rays.new_tensor(box.upper) - origins) / direction
    b = (rays.new_tensor(box.lower) - origins) / direction
    entry = torch.minimum(a, b).amax(dim=1).clamp(box.near, box.far)
    leave = torch.maximum(a, b).amin(dim=1).clamp(box.near, box.far)
    count = ((leave - entry) * rays.norm(dim=1) / box.step).ceil().clamp_min(1)
    if bool((count > MOST_STEPS).any()) or not bool(count.isfinite().all()):
        raise DwmError(
            f"rendering: a ray has over {MOST_STEPS} steps of {box.step} m; give a greater step or finite points"
        )
    return entry, count.long()


def _chunks(origins: Tensor, rays: Tensor, box: Box) -> Iterator[Tensor]:
    """Indices of rays, in order; all of one chunk, as long as the longest ray, have at most `SAMPLES_AT_ONCE` samples."""
    longest = int(_extent(origins, rays, box)[1].max())
    yield from torch.arange(len(rays), device=rays.device).split(max(SAMPLES_AT_ONCE // longest, 1))
