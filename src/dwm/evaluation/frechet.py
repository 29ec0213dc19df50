"""The Fréchet distance between two sets of features seen as Gaussians, in float64. It knows nothing of where features come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.errors import DwmError


@dataclass(frozen=True)
class Gaussian:
    """Mean and unbiased covariance of features, float64."""

    mean: Float[Tensor, "d"]
    covariance: Float[Tensor, "d d"]


class FeatureSums:
    """Sums and outer products of features as they come, so that a set of any size costs d² numbers."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.outer = torch.zeros(width, width, dtype=torch.float64)

    def add(self, features: Float[Tensor, "n d"]) -> None:
        features = features.detach().to("cpu", torch.float64)
        self.count += len(features)
        self.total += features.sum(dim=0)
        self.outer += features.T @ features

    def gaussian(self) -> Gaussian:
        """Raises DwmError where fewer than two features came."""
        if self.count < 2:
            raise DwmError(f"a Fréchet distance needs at least 2 samples on each side, found {self.count}")
        mean = self.total / self.count
        return Gaussian(mean, (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|μ₁-μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁½ Σ₂ Σ₁½)½), never below 0 (Dowson and Landau 1982, as used by Heusel et al. 2017).

    The root is taken of a symmetric matrix by its eigenvalues: exact for singular covariances too, and the same both ways.
    """
    root = _root(a.covariance)
    between = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    squared = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * between
    return max(0.0, float(squared))


def _root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
