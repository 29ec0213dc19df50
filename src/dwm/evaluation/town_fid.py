"""`town_fid`: how far generated pictures lie from real ones in a small network's features. This is not Inception FID."""

from __future__ import annotations

from dataclasses import dataclass

from dwm.evaluation.features import FeatureExtractor, town_features
from dwm.evaluation.frechet import FeatureSums, frechet_distance
from dwm.report import Video


@dataclass(frozen=True)
class TownFid:
    """The distance; how many pictures stand on each side; and, to read it by, the distance between two halves of the real clips."""

    distance: float
    generated_pictures: int
    real_pictures: int
    between_real_halves: float | None


class FrechetScore:
    """Gathers generated and real videos clip by clip and compares them at the end; serves any features (FID, FVD)."""

    def __init__(self, features: FeatureExtractor):
        self._features = features
        self._generated = FeatureSums(features.width)
        self._real = FeatureSums(features.width)
        self._halves = (FeatureSums(features.width), FeatureSums(features.width))
        self._clips = 0

    def add_generated(self, video: Video) -> None:
        self._generated.add(self._features(video))

    def add_real(self, video: Video) -> None:
        for clip in range(len(video)):
            features = self._features(video[clip])
            self._real.add(features)
            self._halves[self._clips % 2].add(features)
            self._clips += 1

    def result(self) -> TownFid:
        """Raises DwmError where a side has fewer than two samples."""
        first, second = self._halves
        halves = frechet_distance(first.gaussian(), second.gaussian()) if self._clips > 1 and second.count > 1 else None
        distance = frechet_distance(self._generated.gaussian(), self._real.gaussian())
        return TownFid(distance, self._generated.count, self._real.count, halves)


def town_fid(generated: Video, real: Video, features: FeatureExtractor | None = None) -> TownFid:
    """Compares all pictures of two videos, by the features that ship with the package unless others are given."""
    score = FrechetScore(features or town_features())
    score.add_generated(generated)
    score.add_real(real)
    return score.result()
