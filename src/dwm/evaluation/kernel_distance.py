"""The kernel distance KID between two sets of features (Bińkowski et al. 2018). It knows nothing of where features come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dwm.errors import DwmError

SUBSETS, SUBSET_SIZE, SEED = 100, 1000, 2020
"""torch-fidelity's defaults."""


@dataclass(frozen=True)
class KernelDistance:
    """Mean and population deviation over `subsets` of `subset_size` samples a side; size 0 means all samples of both sets."""

    mean: float
    deviation: float
    subsets: int
    subset_size: int


def kernel_distance(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> KernelDistance:
    """Over random subsets as torch-fidelity draws them; over the whole sets where one is smaller than a subset.

    The estimate has no bias, so that it is below 0 about as often as above where two sets are alike.
    """
    if min(len(a), len(b)) < subset_size:
        return KernelDistance(whole_distance(a, b), 0.0, 1, 0)
    draws = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        first = draws.choice(len(a), subset_size, replace=False)
        second = draws.choice(len(b), subset_size, replace=False)
        values.append(whole_distance(a[first], b[second]))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), subsets, subset_size)


def whole_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """The unbiased squared distance with the kernel (x·y / d + 1)³, in float64. Raises DwmError below two samples a side."""
    if min(len(a), len(b)) < 2:
        raise DwmError(f"KID needs at least 2 samples on each side, found {len(a)} and {len(b)}")
    a, b = a.to("cpu", torch.float64), b.to("cpu", torch.float64)
    inside = sum(_off_diagonal_mean(_kernel(x, x)) for x in (a, b))
    return inside - 2 * float(_kernel(a, b).mean())


def _kernel(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _off_diagonal_mean(kernel: Float[Tensor, "n n"]) -> float:
    n = len(kernel)
    return float((kernel.sum() - kernel.trace()) / (n * (n - 1)))
