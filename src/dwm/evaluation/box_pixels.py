"""`box_pixels`: does what stands in a box look like what the box is of? By a small segmenter that learned the town's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dwm.evaluation.box_cells import box_cells
from dwm.evaluation.details import mean
from dwm.evaluation.networks.segmenter import NOTHING, Segmenter
from dwm.evaluation.score import Pair, Statistics, Values
from dwm.report import ScoreLine
from dwm.report.video import spread_frames

FRAMES = 4
"""Instants of a clip that are looked at, spread over it."""


@dataclass(frozen=True)
class BoxPixels:
    """Shares of what lies in boxes and looks like their class, and of what lies in none and looks like traffic (`stray`)."""

    share: float
    real: float
    stray: float
    real_stray: float
    clips: int

    @property
    def headline(self) -> float:
        return self.share

    def line(self) -> ScoreLine:
        if not np.isfinite(self.share):
            return ScoreLine("box_pixels", "–", "These clips have no boxes near enough to be seen.")
        meaning = (
            f"In {self.clips} clips {self.share:.0%} of what lies in the boxes of vehicles, people and cycles looks like their "
            f"class, {self.real:.0%} in the real pictures; outside all boxes {self.stray:.1%} looks like traffic, "
            f"{self.real_stray:.1%} in the real ones."
        )
        return ScoreLine("box_pixels", f"{self.share:.0%}", meaning)


class BoxPixelsScore:
    """Counts cells by view."""

    def __init__(self, network: Segmenter) -> None:
        self._network = network

    def keep(self, pair: Pair) -> Statistics:
        frames = spread_frames(pair.real.length, FRAMES)
        views = len(pair.real.views)
        cells = np.stack([[box_cells(pair.clip, frame, view) for view in range(views)] for frame in frames])
        boxes = torch.from_numpy(cells)
        inside = boxes != NOTHING
        statistics = {"boxes": _by_view(inside), "empty": _by_view(~inside)}
        device = next(self._network.parameters()).device
        for side, video in (("generated", pair.generated), ("real", pair.real)):
            classes = self._network.classes(video.frames[0, frames].flatten(0, 1).to(device)).cpu().view_as(boxes)
            statistics[side] = _by_view(inside & (classes == boxes))
            statistics[f"{side}_stray"] = _by_view(~inside & (classes != NOTHING))
        return statistics

    def result(self, statistics: Sequence[Statistics]) -> BoxPixels:
        def share(part: str, whole: str) -> float:
            return mean(_shares(statistics, part, whole).clips)

        return BoxPixels(
            share("generated", "boxes"),
            share("real", "boxes"),
            share("generated_stray", "empty"),
            share("real_stray", "empty"),
            len(statistics),
        )

    def values(self, statistics: Sequence[Statistics]) -> Values:
        return _shares(statistics, "generated", "boxes")


def _by_view(cells: torch.Tensor) -> torch.Tensor:
    return cells.sum(dim=(0, 2, 3)).float()


def _shares(statistics: Sequence[Statistics], part: str, whole: str) -> Values:
    """Not a number where a clip or view has no such cells."""
    parts, wholes = (torch.stack([clip[name] for clip in statistics]).double() for name in (part, whole))
    return Values((parts.sum(dim=1) / wholes.sum(dim=1)).numpy(), (parts / wholes).numpy())
