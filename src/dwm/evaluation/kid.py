"""`kid`: the kernel Inception distance between all generated and all real pictures (Bińkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dwm.evaluation.feature_sets import GENERATED, REAL, FeatureScore, features_of
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.kernel_distance import kernel_distance, whole_distance
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.score import Statistics
from dwm.report import ScoreLine


@dataclass(frozen=True)
class Kid:
    """Mean and deviation over subsets; subset_size 0: all pictures at once."""

    distance: float
    deviation: float
    subsets: int
    subset_size: int
    generated_samples: int
    real_samples: int

    @property
    def headline(self) -> float:
        return self.distance

    def line(self) -> ScoreLine:
        over = f"{self.subsets} subsets of {self.subset_size}" if self.subset_size else "all pictures at once"
        meaning = (
            f"How far {self.generated_samples} generated pictures lie from {self.real_samples} real ones in the features of "
            f"Inception v3, over {over}; around 0, also below, for sets that are alike, and not biased by their number."
        )
        return ScoreLine("kid", f"{self.distance:.4f} ± {self.deviation:.4f}", meaning)


class KidScore(FeatureScore):
    def __init__(self, features: FeatureExtractor, options: EvaluationOptions) -> None:
        super().__init__(features)
        self._options = options

    def result(self, statistics: Sequence[Statistics]) -> Kid:
        """Raises DwmError where a side has fewer than two pictures."""
        generated, real = (features_of(statistics, side) for side in (GENERATED, REAL))
        kernel = kernel_distance(generated, real, self._options.kid_subsets, self._options.kid_subset_size)
        return Kid(kernel.mean, kernel.deviation, kernel.subsets, kernel.subset_size, len(generated), len(real))

    def headline(self, statistics: Sequence[Statistics]) -> float:
        """The distance over all pictures at once."""
        return whole_distance(features_of(statistics, GENERATED), features_of(statistics, REAL))
