"""What lies behind a score's number: each clip's, each view's, each condition's, and an interval over the clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dwm.clip import Clip
from dwm.errors import DwmError
from dwm.evaluation.intervals import Interval, interval_of_mean, interval_of_set
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.score import PerClip, Score, Statistics
from dwm.evaluation.words import conditions_of


@runtime_checkable
class OfSets(Protocol):
    """A score of whole sets that has its headline alone in a quick way."""

    def headline(self, statistics: Sequence[Statistics]) -> float: ...


@dataclass(frozen=True)
class Detail:
    """headline: the number by which results are compared. Scores of whole sets have no numbers of clips, views and conditions."""

    headline: float
    interval: Interval | None = None
    clips: tuple[float, ...] | None = None
    views: Mapping[str, float] | None = None
    conditions: Mapping[str, float] | None = None


def details_of(
    scores: Mapping[str, Score],
    statistics: Mapping[str, Sequence[Statistics]],
    clips: Sequence[Clip],
    options: EvaluationOptions,
) -> dict[str, Detail]:
    """The details of every score over the clips that it looked at."""
    return {name: _detail(score, statistics[name], clips, options) for name, score in scores.items()}


def headline(score: Score, statistics: Sequence[Statistics]) -> float:
    """The score's one number over these clips."""
    return score.headline(statistics) if isinstance(score, OfSets) else score.result(statistics).headline


def _detail(
    score: Score, statistics: Sequence[Statistics], clips: Sequence[Clip], options: EvaluationOptions
) -> Detail:
    if isinstance(score, PerClip):
        values = score.values(statistics)
        finite = np.flatnonzero(np.isfinite(values.clips))
        return Detail(
            mean(values.clips),
            interval_of_mean(values.clips[finite]),
            tuple(values.clips.tolist()),
            None if values.views is None else _by_view(values.views, clips[0].views),
            _by_condition(values.clips, clips),
        )

    features = [dict(clip) for clip in statistics]  # in memory: they are looked at again and again

    def of_clips(numbers: np.ndarray) -> float:
        return headline(score, [features[number] for number in numbers])

    whole = score.result(statistics).headline
    try:
        return Detail(whole, interval_of_set(whole, of_clips, len(statistics), options.draws))
    except DwmError:  # half of the clips have too few samples
        return Detail(whole)


def mean(values: Float[np.ndarray, "*n"]) -> float:
    """The mean of what is a number; not a number where nothing is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _by_view(values: Float[np.ndarray, "n v"], views: Sequence[str]) -> dict[str, float]:
    return {view: mean(column) for view, column in zip(views, values.T, strict=True)}


def _by_condition(values: Float[np.ndarray, "n"], clips: Sequence[Clip]) -> dict[str, float]:
    """The mean over the clips of each condition that occurs."""
    members: dict[str, list[int]] = {}
    for number, clip in enumerate(clips):
        for name in conditions_of(clip):
            members.setdefault(name, []).append(number)
    return {name: mean(values[numbers]) for name, numbers in sorted(members.items())}
