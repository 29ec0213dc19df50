"""Features of both sides of each clip, for scores of whole sets of pictures or views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.score import Pair, Statistics

GENERATED, REAL = "generated", "real"


class FeatureScore:
    """Keeps a clip's features in float32: 8 kB a picture of Inception's."""

    def __init__(self, features: FeatureExtractor) -> None:
        self._features = features

    def keep(self, pair: Pair) -> Statistics:
        return {GENERATED: self._features(pair.generated), REAL: self._features(pair.real)}


def features_of(statistics: Sequence[Statistics], side: str) -> Float[Tensor, "n d"]:
    """One side's features of all clips, one after another."""
    return torch.cat([clip[side] for clip in statistics])
