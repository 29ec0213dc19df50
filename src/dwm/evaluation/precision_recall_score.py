"""`precision_recall`: are generated pictures like real ones, and do they cover them (Kynkäänniemi et al. 2019)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dwm.evaluation.feature_sets import GENERATED, REAL, FeatureScore, features_of
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.precision_recall import precision_recall
from dwm.evaluation.score import Statistics
from dwm.report import ScoreLine


@dataclass(frozen=True)
class PrecisionRecallResult:
    precision: float
    recall: float
    f_score: float
    neighbours: int
    generated_samples: int
    real_samples: int

    @property
    def headline(self) -> float:
        return self.f_score

    def line(self) -> ScoreLine:
        meaning = (
            f"{self.precision:.0%} of {self.generated_samples} generated pictures lie among the real ones, {self.recall:.0%} of "
            f"{self.real_samples} real ones among the generated (Inception v3, {self.neighbours} neighbours)."
        )
        return ScoreLine("precision_recall", f"{self.precision:.2f} / {self.recall:.2f}", meaning)


class PrecisionRecallScore(FeatureScore):
    def __init__(self, features: FeatureExtractor, neighbours: int) -> None:
        super().__init__(features)
        self._neighbours = neighbours

    def result(self, statistics: Sequence[Statistics]) -> PrecisionRecallResult:
        """Raises DwmError where a side has no more pictures than neighbours are asked for."""
        generated, real = (features_of(statistics, side) for side in (GENERATED, REAL))
        shares = precision_recall(generated, real, self._neighbours)
        return PrecisionRecallResult(
            shares.precision, shares.recall, shares.f_score, self._neighbours, len(generated), len(real)
        )
