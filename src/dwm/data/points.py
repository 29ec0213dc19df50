"""Points of sweeps on their way to a network: by distance, thinned, from the sensor's frame to the vehicle's."""

from __future__ import annotations

import torch
from torch import Tensor


def within(points: Tensor, nearest: float, farthest: float) -> Tensor:
    """Those of (n, 3 or more) at least `nearest` and less than `farthest` metres away from the origin of their frame.

    What is not finite has no distance and is left out.
    """
    distance = points[:, :3].norm(dim=1)
    return points[(distance >= nearest) & (distance < farthest)]


def thinned(points: Tensor, most: int, generator: torch.Generator | None = None) -> Tensor:
    """At most `most` of the points, drawn at random without return; one permutation where there are more."""
    if len(points) <= most:
        return points
    return points[torch.randperm(len(points), generator=generator)[:most]]


def moved(points: Tensor, target_from_source: Tensor) -> Tensor:
    """Points (n, 3) under a rigid transform (4, 4)."""
    return points @ target_from_source[:3, :3].T + target_from_source[:3, 3]
