"""The Fréchet distance between two sets of features seen as Gaussians, in float64. It knows nothing of where features come from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.errors import DwmError


@dataclass(frozen=True)
class Gaussian:
    """Mean and unbiased covariance of features, float64. `rank` bounds the covariance's: one less than the samples it is of."""

    mean: Float[Tensor, "d"]
    covariance: Float[Tensor, "d d"]
    rank: int | None = None


@dataclass(frozen=True)
class FeatureSums:
    """Count, sum and sum of outer products of features: a set of any size costs d² numbers, and parts of a set add up to the whole.

    The distance never depends on how samples were shared out between processes, beyond the rounding of float64.
    """

    count: int
    total: Float[Tensor, "d"]
    outer: Float[Tensor, "d d"]

    @classmethod
    def empty(cls, width: int) -> FeatureSums:
        zeros = torch.zeros(width, width, dtype=torch.float64)
        return cls(0, zeros[0].clone(), zeros)

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> FeatureSums:
        features = features.detach().to("cpu", torch.float64)
        return cls(len(features), features.sum(dim=0), features.T @ features)

    def with_features(self, features: Float[Tensor, "n d"]) -> FeatureSums:
        return self.merge(FeatureSums.of(features))

    def merge(self, other: FeatureSums) -> FeatureSums:
        """The sums of both sets together."""
        return replace(
            self, count=self.count + other.count, total=self.total + other.total, outer=self.outer + other.outer
        )

    def gaussian(self) -> Gaussian:
        """Raises DwmError where fewer than two features came."""
        if self.count < 2:
            raise DwmError(f"a Fréchet distance needs at least 2 samples on each side, found {self.count}")
        mean = self.total / self.count
        covariance = (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return Gaussian(mean, covariance, min(self.count - 1, len(mean)))


@dataclass(frozen=True)
class Frechet:
    """The distance and its parts: distance = mean + trace_a + trace_b - 2 · root."""

    mean: float
    trace_a: float
    trace_b: float
    root: float

    @property
    def distance(self) -> float:
        """Never below 0; what rounding leaves of two equal sets is no distance."""
        return max(0.0, self.mean + self.trace_a + self.trace_b - 2 * self.root)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|μ₁-μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁½ Σ₂ Σ₁½)½) (Dowson and Landau 1982, as used by Heusel et al. 2017)."""
    return frechet(a, b).distance


def frechet(a: Gaussian, b: Gaussian) -> Frechet:
    """The same by its parts.

    The usual way, eigenvalues of Σ₁Σ₂, is noisy with fewer samples than features: zeros come out as ±1e-14, whose roots
    add up to 1e-4. Here Σ = F Fᵀ with as many columns as its rank can be, and tr √(Σ₁Σ₂) is the sum of the singular values of
    F₁ᵀF₂: real, the same both ways, and the trace itself where the sets are equal.
    """
    root = torch.linalg.svdvals(_factor(a).T @ _factor(b)).sum()
    means = (a.mean - b.mean).square().sum()
    return Frechet(float(means), float(a.covariance.trace()), float(b.covariance.trace()), float(root))


def sample_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """`frechet_distance` of two sets of features, without a covariance where each set is smaller than they are wide.

    Raises DwmError for fewer than two samples a side.
    """
    if max(len(a), len(b)) > a.shape[1] or min(len(a), len(b)) < 2:
        return frechet_distance(FeatureSums.of(a).gaussian(), FeatureSums.of(b).gaussian())
    a, b = (features.detach().to("cpu", torch.float64) for features in (a, b))
    means = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    spread_a, spread_b = ((side - side.mean(dim=0)) / (len(side) - 1) ** 0.5 for side in (a, b))
    root = torch.linalg.svdvals(spread_a @ spread_b.T).sum()
    trace_a, trace_b = (float(spread.square().sum()) for spread in (spread_a, spread_b))
    return Frechet(float(means), trace_a, trace_b, float(root)).distance


def _factor(gaussian: Gaussian) -> Float[Tensor, "d r"]:
    values, vectors = torch.linalg.eigh(gaussian.covariance)
    largest = values.clamp(min=0).amax()
    keep = values > largest * len(values) * torch.finfo(values.dtype).eps
    if gaussian.rank is not None:
        keep[: len(keep) - gaussian.rank] = False
    return vectors[:, keep] * values[keep].sqrt()
