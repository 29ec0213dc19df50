"""How far generated sweeps lie from true ones: nearest points, histograms from above, overlap of cells, depths.

Points are metres in the vehicle's frame. The nearest neighbours are found by a KD-tree: memory in proportion to the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dwm.errors import DwmError

HEIGHTS = (-3.0, 5.0)
REACH, BINS, SIGMA = 80.0, 100, 0.5

Points = NDArray[np.floating]


@dataclass(frozen=True)
class RayErrors:
    """Errors of depth along the true rays: metres, and shares of the true depth."""

    l1_mean: float
    l1_median: float
    absrel_mean: float
    absrel_median: float


def chamfer(one: Points, other: Points, reach: float | None = None) -> float:
    """Half the sum of the two mean squared distances to the nearest point, in square metres.

    With `reach` only points with |x| and |y| up to it and z in `HEIGHTS` count, and a pair with an empty side is 0;
    without it such a pair is not a number.
    """
    one, other = (_finite(cloud) for cloud in (one, other))
    if reach is not None:
        one, other = (_crop(cloud, reach) for cloud in (one, other))
    if len(one) == 0 or len(other) == 0:
        return float("nan") if reach is None else 0.0
    return float((_squared(one, other).mean() + _squared(other, one).mean()) / 2)


def histogram(points: Points) -> NDArray[np.float64]:
    """How many points lie in each of 100 x 100 cells (x, y) of ±80 m; the upper edge belongs to the last."""
    points = _finite(points)
    edge = (-REACH, REACH)
    return np.histogram2d(points[:, 0], points[:, 1], bins=BINS, range=(edge, edge))[0]


def share(points: Points) -> NDArray[np.float64]:
    """The histogram as shares of all points in it; not numbers where it is empty."""
    counts = histogram(points)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum()


def mean_discrepancy(truth: Sequence[Points], generated: Sequence[Points]) -> float:
    """Squared maximum mean discrepancy of two sets of sweeps; not a number where a sweep is empty."""
    one, other = ([share(cloud) for cloud in clouds] for clouds in (truth, generated))
    if not all(np.isfinite(each).all() for each in (*one, *other)):
        return float("nan")
    return float(_mean_kernel(one, one) + _mean_kernel(other, other) - 2 * _mean_kernel(one, other))


def kernel(one: Points, other: Points) -> float:
    """exp(-n² / 2σ²), where n is the largest singular value of the difference of two shares."""
    return float(np.exp(-(np.linalg.norm(one - other, 2) ** 2) / (2 * SIGMA**2)))


def divergence(one: Points, other: Points) -> float:
    """Jensen-Shannon distance (root, natural logarithm) of two histograms; not a number where a sweep is empty."""
    shares = share(one).ravel(), share(other).ravel()
    if not all(np.isfinite(each).all() for each in shares):
        return float("nan")
    distance, _ = _scipy()
    return float(distance.jensenshannon(*shares))


def overlap(truth: NDArray[np.bool_], generated: NDArray[np.bool_]) -> float:
    """Cells occupied in both of those occupied in any; not a number where both are empty."""
    union = np.count_nonzero(truth | generated)
    return np.count_nonzero(truth & generated) / union if union else float("nan")


def differing(truth: NDArray[np.bool_], generated: NDArray[np.bool_]) -> int:
    """How many cells are occupied in one of the two only."""
    return int(np.count_nonzero(truth != generated))


def finite_mean(values: Sequence[float]) -> float:
    """The mean of those that are numbers; not a number where none is."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def ray_errors(truth: Points, generated: Points, origin: Points, lower: Points, upper: Points) -> RayErrors:
    """Errors of the generated depths along the true rays, ray by ray; both end at the walls of the box.

    Of an even number of rays the median is the lower of the two in the middle.
    """
    rays = truth - origin
    depth = np.linalg.norm(rays, axis=1)
    direction = rays / depth[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = np.where(direction > 0, (upper - origin) / direction, (lower - origin) / direction)
    wall = np.where(direction == 0, np.inf, walls).min(axis=1)
    expected = np.minimum(depth, wall)
    got = np.minimum(np.linalg.norm(generated - origin, axis=1), wall)
    error = np.abs(expected - got)
    relative = error / expected
    return RayErrors(*(float(f(x)) for x in (error, relative) for f in (np.mean, _lower_median)))


def rays_matched(truth: Points, generated: Points, origin: Points) -> tuple[Points, Points] | None:
    """The true points, and for each the generated depth along its own ray: that of the generated ray with the nearest direction.

    None where either has no point away from the origin.
    """
    true_rays, true_depth = _rays(_finite(truth), origin)
    rays, depth = _rays(_finite(generated), origin)
    if len(true_rays) == 0 or len(rays) == 0:
        return None
    _, spatial = _scipy()
    nearest = spatial.KDTree(rays).query(true_rays)[1]
    return origin + true_rays * true_depth[:, None], origin + true_rays * depth[nearest, None]


def _rays(points: Points, origin: Points) -> tuple[Points, Points]:
    """Directions of length 1 and depths of the points that do not lie on the origin."""
    apart = points - origin
    depth = np.linalg.norm(apart, axis=1)
    apart, depth = apart[depth > 0], depth[depth > 0]
    return apart / depth[:, None], depth


def _mean_kernel(ones: Sequence[Points], others: Sequence[Points]) -> np.float32:
    """In float32, sweep by sweep, as OpenDWM adds them up: the published figures carry its rounding."""
    ones, others = ([cloud.astype(np.float32) for cloud in clouds] for clouds in (ones, others))
    rows = np.array([[kernel(one, other) for other in others] for one in ones], dtype=np.float32)
    return rows.mean(axis=1).mean()


def _squared(points: Points, others: Points) -> Tensor:
    """Of each point the squared distance to the nearest of the others, in the precision of the points.

    PyTorch sums up, in the order that the published figures were summed in.
    """
    _, spatial = _scipy()
    nearest = spatial.KDTree(others).query(points)[1]
    return torch.from_numpy(points - others[nearest]).square().sum(dim=1)


def _lower_median(values: Points) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2])


def _scipy() -> tuple[Any, Any]:
    try:
        import scipy.spatial
        import scipy.spatial.distance
    except ModuleNotFoundError:
        raise DwmError("scores of sweeps need SciPy: pip install 'dwm[lidar]'") from None
    return scipy.spatial.distance, scipy.spatial


def _finite(points: Points) -> Points:
    points = points[:, :3]
    return points[np.isfinite(points).all(axis=1)]


def _crop(points: Points, reach: float) -> Points:
    low, high = HEIGHTS
    flat = (np.abs(points[:, :2]) <= reach).all(axis=1)
    return points[flat & (points[:, 2] >= low) & (points[:, 2] <= high)]
