"""`town_fid`: how far generated pictures lie from real ones in a small network's features. This is not Inception FID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dwm.evaluation.features import FeatureExtractor, town_features
from dwm.evaluation.frechet_score import FrechetResult, FrechetScore
from dwm.report import Video


@dataclass(frozen=True)
class TownFid(FrechetResult):
    name: ClassVar[str] = "town_fid"

    def meaning(self) -> str:
        return (
            f"How far {self.generated_samples} generated pictures lie from {self.real_samples} real ones in the features of a "
            f"small network learned on the town; 0 is the same set.{self.scale} Not Inception FID, and not comparable to it."
        )


class TownFidScore(FrechetScore[TownFid]):
    kind = TownFid


def town_fid(generated: Video, real: Video, features: FeatureExtractor | None = None) -> TownFid:
    """Compares all pictures of two videos, by the features that ship with the package unless others are given."""
    score = TownFidScore(features or town_features())
    score.add(generated, real)
    return score.result()
