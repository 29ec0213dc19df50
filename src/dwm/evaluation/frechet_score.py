"""The Fréchet distance as a score: gathers sums of features on both sides, and on two halves of the real clips to read it by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.frechet import FeatureSums, frechet_distance
from dwm.report import ScoreLine, Video


@dataclass(frozen=True)
class FrechetResult:
    """The distance; samples of each side; and, to read it by, the distance between two halves of the real clips."""

    distance: float
    generated_samples: int
    real_samples: int
    between_real_halves: float | None

    name: ClassVar[str] = "frechet"

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


class FrechetScore(Generic[Kind]):
    """Serves any features (pictures for FID, clips' views for FVD). Only d² numbers are kept, however many clips come."""

    kind: type[Kind]

    def __init__(self, features: FeatureExtractor):
        self._features = features
        self.generated = FeatureSums.empty(features.width)
        self.halves = (FeatureSums.empty(features.width), FeatureSums.empty(features.width))
        self._clips = 0

    def add(self, generated: Video, real: Video) -> None:
        self.add_generated(generated)
        self.add_real(real)

    def add_generated(self, video: Video) -> None:
        self.generated = self.generated.with_features(self._features(video))

    def add_real(self, video: Video) -> None:
        features = self._features(video)
        for clip in features.split(len(features) // len(video)):
            half = self._clips % 2
            halves = list(self.halves)
            halves[half] = halves[half].with_features(clip)
            self.halves = (halves[0], halves[1])
            self._clips += 1

    def result(self) -> Kind:
        """Raises DwmError where a side has fewer than two samples."""
        first, second = self.halves
        real = first.merge(second)
        apart = None
        if min(first.count, second.count) > 1:
            apart = frechet_distance(first.gaussian(), second.gaussian())
        distance = frechet_distance(self.generated.gaussian(), real.gaussian())
        return self.kind(distance, self.generated.count, real.count, apart)
