"""The Fréchet distance as a score: gathers sums of features on both sides, and on two halves of the real clips to read it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from dwm.evaluation.feature_sets import GENERATED, REAL, FeatureScore, features_of
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.frechet import FeatureSums, frechet_distance, sample_distance
from dwm.evaluation.score import Statistics
from dwm.report import ScoreLine


@dataclass(frozen=True)
class FrechetResult:
    """The distance; samples of each side; and, to read it by, the distance between two halves of the real clips."""

    distance: float
    generated_samples: int
    real_samples: int
    between_real_halves: float | None

    name: ClassVar[str] = "frechet"

    @property
    def headline(self) -> float:
        return self.distance

    def line(self) -> ScoreLine:
        return ScoreLine(self.name, f"{self.distance:.2f}", self.meaning())

    def meaning(self) -> str:
        raise NotImplementedError

    @property
    def scale(self) -> str:
        """What the number is read by."""
        if self.between_real_halves is None:
            return ""
        return f" Two halves of the real clips are {self.between_real_halves:.2f} apart."


Kind = TypeVar("Kind", bound=FrechetResult)


class FrechetScore(FeatureScore, Generic[Kind]):
    """Serves any features (pictures for FID, clips' views for FVD). Sums are d² numbers, however many clips there are."""

    kind: type[Kind]

    def __init__(self, features: FeatureExtractor):
        super().__init__(features)
        self._width = features.width

    def result(self, statistics: Sequence[Statistics]) -> Kind:
        """Raises DwmError where a side has fewer than two samples."""
        empty = FeatureSums.empty(self._width)
        generated, halves = empty, [empty, empty]
        for number, clip in enumerate(statistics):
            generated = generated.with_features(clip[GENERATED])
            halves[number % 2] = halves[number % 2].with_features(clip[REAL])
        first, second = halves
        real = first.merge(second)
        apart = None
        if min(first.count, second.count) > 1:
            apart = frechet_distance(first.gaussian(), second.gaussian())
        distance = frechet_distance(generated.gaussian(), real.gaussian())
        return self.kind(distance, generated.count, real.count, apart)

    def headline(self, statistics: Sequence[Statistics]) -> float:
        """The distance alone, quickly where there are fewer samples than features."""
        return sample_distance(features_of(statistics, GENERATED), features_of(statistics, REAL))
