"""Features of both sides as they come, for scores that compare samples with one another."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.evaluation.features import FeatureExtractor
from dwm.report import Video


class FeatureSets:
    """All features, in float32: 8 kB a picture of Inception's."""

    def __init__(self, features: FeatureExtractor) -> None:
        self._features = features
        self._generated: list[Tensor] = []
        self._real: list[Tensor] = []

    def add(self, generated: Video, real: Video) -> None:
        self._generated.append(self._features(generated))
        self._real.append(self._features(real))

    @property
    def generated(self) -> Float[Tensor, "n d"]:
        return torch.cat(self._generated)

    @property
    def real(self) -> Float[Tensor, "m d"]:
        return torch.cat(self._real)
