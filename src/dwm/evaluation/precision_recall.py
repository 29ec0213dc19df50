"""Improved precision and recall of features (Kynkäänniemi et al. 2019). It knows nothing of where features come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dwm.errors import DwmError

NEIGHBOURS = 3
BLOCK = 1024
"""Rows of distances at once."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Share of generated samples among the real ones, share of real ones among the generated, and their harmonic mean."""

    precision: float
    recall: float
    neighbours: int

    @property
    def f_score(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def precision_recall(
    generated: Float[Tensor, "n d"], real: Float[Tensor, "m d"], neighbours: int = NEIGHBOURS
) -> PrecisionRecall:
    """A sample lies in a set if it is no farther from one of its members than that member's `neighbours`-th nearest fellow.

    Raises DwmError where a side has too few samples.
    """
    if (fewest := min(len(generated), len(real))) <= neighbours:
        raise DwmError(
            f"precision and recall need more than {neighbours} samples on each side (the {neighbours} nearest of each), found "
            f"{fewest}"
        )
    generated, real = (side.to("cpu", torch.float64) for side in (generated, real))
    precision = _inside(generated, real, neighbours)
    recall = _inside(real, generated, neighbours)
    return PrecisionRecall(float(precision.double().mean()), float(recall.double().mean()), neighbours)


def _inside(samples: Float[Tensor, "n d"], members: Float[Tensor, "m d"], neighbours: int) -> Bool[Tensor, "n"]:
    radii = torch.cat([_distances(part, members).kthvalue(neighbours + 1).values for part in members.split(BLOCK)])
    return torch.cat([(_distances(part, members) <= radii).any(dim=1) for part in samples.split(BLOCK)])


def _distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    # By differences: the faster way by products loses the digits of near samples.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
