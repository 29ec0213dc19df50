"""`precision_recall`: are generated pictures like real ones, and do they cover them (Kynkäänniemi et al. 2019)?"""

from __future__ import annotations

from dataclasses import dataclass

from dwm.evaluation.feature_sets import FeatureSets
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.precision_recall import precision_recall
from dwm.report import ScoreLine


@dataclass(frozen=True)
class PrecisionRecallResult:
    precision: float
    recall: float
    f_score: float
    neighbours: int
    generated_samples: int
    real_samples: int

    def line(self) -> ScoreLine:
        meaning = (
            f"{self.precision:.0%} of {self.generated_samples} generated pictures lie among the real ones, {self.recall:.0%} of "
            f"{self.real_samples} real ones among the generated (Inception v3, {self.neighbours} neighbours)."
        )
        return ScoreLine("precision_recall", f"{self.precision:.2f} / {self.recall:.2f}", meaning)


class PrecisionRecallScore:
    def __init__(self, features: FeatureExtractor, neighbours: int) -> None:
        self._sets, self._neighbours = FeatureSets(features), neighbours
        self.add = self._sets.add

    def result(self) -> PrecisionRecallResult:
        """Raises DwmError where a side has no more pictures than neighbours are asked for."""
        generated, real = self._sets.generated, self._sets.real
        shares = precision_recall(generated, real, self._neighbours)
        return PrecisionRecallResult(
            shares.precision, shares.recall, shares.f_score, self._neighbours, len(generated), len(real)
        )
