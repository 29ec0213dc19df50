"""`layout_retrieval`: does a generated video look most like its own real one? Measured on tiny pictures; it loads no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dwm.errors import DwmError
from dwm.evaluation.score import Pair, Statistics, Values
from dwm.report import ScoreLine, Video

THUMBNAIL = (28, 16)
"""(width, height) of the pictures that are compared: enough for road, sky, houses and near vehicles, not for texture."""

ROUNDING = 1e-6
"""Distances (pictures in 0 … 1) that differ by less are the same."""

Thumbnails = Float[Tensor, "b t v 3 h w"]
Candidates = Float[Tensor, "m #t #v 3 #h #w"]
"""Tiny pictures of more clips than are ranked."""


@dataclass(frozen=True)
class Retrieval:
    """How many generated clips are nearest to their own real one. rank 1 is best; a tie counts against the clip."""

    hits: int
    clips: int
    candidates: int
    ranks: tuple[int, ...]
    hits_without_colour: int
    ranks_without_colour: tuple[int, ...]

    @property
    def headline(self) -> float:
        """The share of clips that hit without their colour: time of day alone finds nothing."""
        return self.hits_without_colour / self.clips

    def line(self) -> ScoreLine:
        meaning = (
            f"For {self.hits} of {self.clips} clips the generated video is nearer to its own real video than to each of the other "
            f"{self.candidates - 1}, compared as pictures of 28×16 pixels; {self.hits_without_colour} when each clip's mean colour "
            f"is taken away first. Guessing finds {self.clips / self.candidates:.2g}."
        )
        return ScoreLine("layout_retrieval", f"{self.hits} of {self.clips}", meaning)


class RetrievalScore:
    """Keeps tiny pictures of every clip."""

    def __init__(self) -> None:
        self._candidates: list[Tensor] = []

    def keep(self, pair: Pair) -> Statistics:
        return {"generated": thumbnails(pair.generated), "real": thumbnails(pair.real)}

    def add_candidate(self, real: Video) -> None:
        self._candidates.append(thumbnails(real))

    def result(self, statistics: Sequence[Statistics]) -> Retrieval:
        generated, real = (torch.cat([clip[side] for clip in statistics]) for side in ("generated", "real"))
        return layout_retrieval(generated, torch.cat([real, *self._candidates]))

    def values(self, statistics: Sequence[Statistics]) -> Values:
        """1 for a hit, else 0, by the ranks without colour."""
        return Values(np.array([float(rank == 1) for rank in self.result(statistics).ranks_without_colour]))


def thumbnails(video: Video, size: tuple[int, int] = THUMBNAIL) -> Thumbnails:
    """All pictures of a video, averaged down to `size` (width, height)."""
    small = F.interpolate(video.frames.flatten(0, 2), size[::-1], mode="bilinear", antialias=True, align_corners=False)
    return small.unflatten(0, video.frames.shape[:3])


def layout_retrieval(
    generated: Video | Thumbnails, real: Video | Candidates, own: Sequence[int] | None = None
) -> Retrieval:
    """Ranks each generated clip's own real clip (index `own[i]`, by default i) among all real clips by pixel distance.

    The distance is the root mean square over all frames, views and pixels of the tiny pictures; `…_without_colour` takes each
    clip's mean colour away first, so that the time of day alone finds nothing. There may be more real clips than generated ones.
    """
    thumbnails, candidates = _thumbnails(generated), _thumbnails(real)
    if thumbnails.shape[1:] != candidates.shape[1:]:
        raise DwmError(
            f"layout_retrieval: generated clips are (t, v, 3, h, w) {tuple(thumbnails.shape[1:])}, real ones "
            f"{tuple(candidates.shape[1:])}; compare the same frames and views"
        )
    own = range(len(thumbnails)) if own is None else own
    ranks = _ranks(pixel_distances(thumbnails, candidates), own)
    plain = _ranks(pixel_distances(_without_colour(thumbnails), _without_colour(candidates)), own)
    return Retrieval(ranks.count(1), len(thumbnails), len(candidates), ranks, plain.count(1), plain)


def pixel_distances(a: Thumbnails, b: Candidates) -> Float[Tensor, "b m"]:
    """The root mean square difference of every clip of `a` to every clip of `b`."""
    return torch.stack([(clip[None] - b).double().square().flatten(1).mean(dim=1).sqrt() for clip in a])


def _thumbnails(video: Video | Thumbnails) -> Thumbnails:
    return thumbnails(video) if isinstance(video, Video) else video


def _without_colour(clips: Thumbnails) -> Thumbnails:
    return clips - clips.mean(dim=(1, 2, 4, 5), keepdim=True)


def _ranks(distances: Float[Tensor, "n m"], own: Sequence[int]) -> tuple[int, ...]:
    return tuple(int((row <= row[index] + ROUNDING).sum()) for row, index in zip(distances, own, strict=True))
