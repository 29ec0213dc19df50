"""`imagenet_fid`: Fréchet and kernel distance of pictures in real ImageNet features that an extra of this package brings.

It moves with resolution and time of day as much as with quality: sides that differ in one of them are refused, not scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from dwm.errors import DwmError
from dwm.evaluation.feature_sets import GENERATED, REAL, FeatureScore, features_of
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.frechet import sample_distance
from dwm.evaluation.kernel_distance import kernel_distance
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.score import Pair, Statistics
from dwm.report import ScoreLine


@dataclass(frozen=True)
class SetFacts:
    """Of one side: pictures' width and height, and how many clips are at which time of day where that is known."""

    size: tuple[int, int]
    times: Mapping[str, int] = field(default_factory=dict)

    def differences(self, other: SetFacts) -> list[str]:
        """The fields that differ, in words; times count by their shares."""
        fields = []
        if self.size != other.size:
            fields.append("size {}×{} and {}×{}".format(*self.size, *other.size))
        if self.times and other.times and _shares(self.times) != _shares(other.times):
            fields.append(f"time of day {_words(self.times)} and {_words(other.times)}")
        return fields


@dataclass(frozen=True)
class ImagenetFid:
    distance: float
    kid: float
    kid_deviation: float
    generated_samples: int
    real_samples: int
    size: tuple[int, int]

    @property
    def headline(self) -> float:
        return self.distance

    def line(self) -> ScoreLine:
        width, height = self.size
        meaning = (
            f"How far {self.generated_samples} generated pictures of {width}×{height} lie from {self.real_samples} real ones in "
            f"the features of EfficientNet-Lite0; 0 is the same set. KID {self.kid:.4f} does not depend on their number. Only "
            "comparable at the same size and times of day; not Inception FID."
        )
        return ScoreLine("imagenet_fid", f"{self.distance:.2f}", meaning)


class ImagenetFidScore(FeatureScore):
    def __init__(self, features: FeatureExtractor, options: EvaluationOptions) -> None:
        super().__init__(features)
        self._options = options

    def keep(self, pair: Pair) -> Statistics:
        """Raises DwmError where the sides' sizes differ."""
        refuse_unlike(SetFacts(pair.generated.size), SetFacts(pair.real.size))
        return {**super().keep(pair), "size": torch.tensor(pair.generated.size)}

    def result(self, statistics: Sequence[Statistics]) -> ImagenetFid:
        """Raises DwmError where clips differ in size or a side has fewer than two pictures."""
        first, *others = [tuple(clip["size"].tolist()) for clip in statistics]
        for size in others:
            refuse_unlike(SetFacts(size), SetFacts(first))
        generated, real = (features_of(statistics, side) for side in (GENERATED, REAL))
        kernel = kernel_distance(generated, real, self._options.kid_subsets, self._options.kid_subset_size)
        distance = sample_distance(generated, real)
        return ImagenetFid(distance, kernel.mean, kernel.deviation, len(generated), len(real), first)

    def headline(self, statistics: Sequence[Statistics]) -> float:
        """The Fréchet distance alone."""
        return sample_distance(features_of(statistics, GENERATED), features_of(statistics, REAL))


def refuse_unlike(generated: SetFacts, real: SetFacts) -> None:
    """Raises DwmError with the fields that differ."""
    if fields := generated.differences(real):
        raise DwmError(
            f"imagenet_fid: the two sides differ in {'; '.join(fields)}; it would measure that, not quality: make them alike (size "
            "with scores.size)"
        )


def _shares(times: Mapping[str, int]) -> dict[str, float]:
    whole = sum(times.values())
    return {name: round(count / whole, 6) for name, count in times.items() if count}


def _words(times: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(times.items()))
