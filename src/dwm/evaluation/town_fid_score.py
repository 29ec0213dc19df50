"""`town_fid`: have generated pictures the light and colours of the real ones? A distance in a small network's features.

Blur and noise hardly move it, so that it says nothing of quality and is asked for by name only. This is not Inception FID.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dwm.evaluation.feature_sets import GENERATED, REAL
from dwm.evaluation.features import FeatureExtractor, town_features
from dwm.evaluation.frechet_score import FrechetResult, FrechetScore
from dwm.report import Video


@dataclass(frozen=True)
class TownFid(FrechetResult):
    name: ClassVar[str] = "town_fid"

    def meaning(self) -> str:
        return (
            f"How far the light and colours of {self.generated_samples} generated pictures lie from those of {self.real_samples} "
            f"real ones, in a small network's features; 0 is the same set.{self.scale} It hardly sees blur and noise."
        )


class TownFidScore(FrechetScore[TownFid]):
    kind = TownFid


def town_fid(generated: Video, real: Video, features: FeatureExtractor | None = None) -> TownFid:
    """Compares all pictures of two videos, by the features that ship with the package unless others are given."""
    extract = features or town_features()
    return TownFidScore(extract).result(
        [{GENERATED: extract(generated[clip]), REAL: extract(real[clip])} for clip in range(len(generated))]
    )
