"""`view_agreement`: do neighbouring cameras show the same things where they overlap?

Each textured patch of an overlap looks for its like in the neighbour's picture, where calibration puts it for depths from 4 m on,
and at the same places of pictures that do not overlap. No depth is known or needed; guessing finds it half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dwm.clip import Clip
from dwm.evaluation.details import mean
from dwm.evaluation.prompts import luma
from dwm.evaluation.score import Pair, Statistics, Values
from dwm.evaluation.sweep import Sweep, camera, correlation, patch_variance, shrunk, sweep
from dwm.report import ScoreLine, Video
from dwm.report.video import spread_frames

FRAMES = 2
"""Instants of a clip that are looked at, spread over it."""
LEAST = 0.02
"""Share of a picture that must lie in the other one at half of the depths for the two to be neighbours."""
TEXTURE = 4e-4
"""Variance of luma above which a patch counts: two grey levels of a hundred."""
MARGIN = 4
OTHERS = 2
"""Cameras elsewhere that a patch is compared with."""
COARSE = 4
"""By how much pictures are shrunk to find out which cameras overlap."""


@dataclass(frozen=True)
class ViewAgreement:
    """Mean share of patches that are more like the neighbouring picture than like another; the same of the real clips."""

    agreement: float
    real: float
    clips: int

    @property
    def headline(self) -> float:
        return self.agreement

    def line(self) -> ScoreLine:
        if not np.isfinite(self.agreement):
            return ScoreLine("view_agreement", "–", "The cameras of these clips do not overlap.")
        meaning = (
            f"{self.agreement:.0%} of the textured patches where two cameras overlap look more like the neighbour's picture than "
            f"like another camera's ({self.clips} clips); {self.real:.0%} of the real ones do, half by chance."
        )
        return ScoreLine("view_agreement", f"{self.agreement:.0%}", meaning)


class ViewAgreementScore:
    """Counts patches and hits by view; a pair of neighbours counts in both."""

    def keep(self, pair: Pair) -> Statistics:
        sides = {"generated": shrunk(pair.generated), "real": shrunk(pair.real)}
        views = len(pair.real.views)
        statistics = {f"{side}_{what}": torch.zeros(views) for side in sides for what in ("hits", "patches")}
        bright = {side: luma(video)[0].float() for side, video in sides.items()}
        size = sides["real"].size
        for frame in spread_frames(pair.real.length, FRAMES):
            for one in range(views):
                for overlap in overlaps(pair.clip, frame, one, size):
                    for side, pictures in bright.items():
                        hits, patches = overlap.hits(pictures[frame])
                        statistics[f"{side}_hits"][[one, overlap.other]] += hits
                        statistics[f"{side}_patches"][[one, overlap.other]] += patches
        return statistics

    def result(self, statistics: Sequence[Statistics]) -> ViewAgreement:
        return ViewAgreement(
            mean(self.values(statistics).clips), mean(_shares(statistics, "real").clips), len(statistics)
        )

    def values(self, statistics: Sequence[Statistics]) -> Values:
        return _shares(statistics, "generated")


@dataclass(frozen=True)
class Overlap:
    """A strip of one view's picture that lies in another one's too; `others` lie elsewhere."""

    one: int
    other: int
    others: tuple[int, ...]
    columns: slice
    sweep: Sweep
    shared: Bool[Tensor, "h w"]

    def hits(self, pictures: Float[Tensor, "v h w"]) -> tuple[float, int]:
        """How many textured patches of the strip find their like in the other view, not in `others`, and how many there are."""
        own = pictures[self.one][:, self.columns]
        textured = self.shared & (patch_variance(own) > TEXTURE)
        if not textured.any():
            return 0.0, 0
        candidates = self.sweep.warp(pictures[[self.other, *self.others], None])[:, :, 0]
        alike = correlation(own, candidates)
        best = torch.where(self.sweep.inside, alike, -1.0).amax(dim=1)
        share = (best[:1] > best[1:]).float().mean(dim=0)
        return float(share[textured].sum()), int(textured.sum())


def overlaps(clip: Clip, frame: int, one: int, size: tuple[int, int]) -> list[Overlap]:
    """The strips of a view that later cameras see too, where there are also cameras that see nothing of it."""
    coarse = (size[0] // COARSE, size[1] // COARSE)
    views = [view for view in range(len(clip.views)) if view != one]
    masks = {view: shared(sweep_of(clip, frame, one, view, coarse)) for view in views}
    apart = tuple(view for view, mask in masks.items() if not mask.any())
    apart = apart[:: max(1, len(apart) // OTHERS)][:OTHERS]
    strips = []
    for view in views:
        if view < one or masks[view].float().mean() < LEAST or not apart:
            continue
        whole = sweep_of(clip, frame, one, view, size)
        mask = shared(whole)
        inside = mask.any(dim=0).nonzero().flatten()
        columns = slice(max(0, int(inside[0]) - MARGIN), int(inside[-1]) + MARGIN + 1)
        part = Sweep(whole.grid[:, :, columns], whole.inside[:, :, columns])
        strips.append(Overlap(one, view, apart, columns, part, mask[:, columns]))
    return strips


def sweep_of(clip: Clip, frame: int, one: int, other: int, size: tuple[int, int]) -> Sweep:
    return sweep(camera(clip, frame, one, size), camera(clip, frame, other, size), size)


def shared(sweep: Sweep) -> Bool[Tensor, "h w"]:
    """What lies in the other picture at half of the depths."""
    return sweep.inside.float().mean(dim=0) >= 0.5


def view_agreement(clip: Clip, video: Video) -> float:
    """The share of one video of a clip; not a number where its cameras do not overlap."""
    return float(_shares([ViewAgreementScore().keep(Pair(clip, video, video))], "generated").clips[0])


def _shares(statistics: Sequence[Statistics], side: str) -> Values:
    hits, patches = (
        torch.stack([clip[f"{side}_{what}"] for clip in statistics]).double() for what in ("hits", "patches")
    )
    return Values((hits.sum(dim=1) / patches.sum(dim=1)).numpy(), (hits / patches).numpy())
