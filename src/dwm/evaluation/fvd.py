"""`fvd`: the Fréchet distance between generated and real videos, one view of a clip being one sample (Unterthiner et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dwm.evaluation.frechet_score import FrechetResult, FrechetScore


@dataclass(frozen=True)
class Fvd(FrechetResult):
    name: ClassVar[str] = "fvd"

    def meaning(self) -> str:
        return (
            f"How far {self.generated_samples} generated videos of one view lie from {self.real_samples} real ones in the class "
            f"outputs of I3D, motion included; 0 is the same set, and few videos make it larger.{self.scale}"
        )


class FvdScore(FrechetScore[Fvd]):
    kind = Fvd
