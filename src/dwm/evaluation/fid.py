"""`fid`: the Fréchet Inception distance between all generated and all real pictures (Heusel et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dwm.evaluation.frechet_score import FrechetResult, FrechetScore


@dataclass(frozen=True)
class Fid(FrechetResult):
    name: ClassVar[str] = "fid"

    def meaning(self) -> str:
        return (
            f"How far {self.generated_samples} generated pictures lie from {self.real_samples} real ones in the features of "
            f"Inception v3; 0 is the same set, and few pictures make it larger.{self.scale}"
        )


class FidScore(FrechetScore[Fid]):
    kind = Fid
