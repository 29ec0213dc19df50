"""Scores as tables of a page, and which clips came out best and worst. It only arranges numbers that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from dwm.evaluation import Scores, known_scores
from dwm.evaluation.details import Detail
from dwm.evaluation.intervals import Interval
from dwm.report import Table


def number(value: float | None) -> str:
    """With four digits; a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.4g}"


def span(interval: Interval | None) -> str:
    return "–" if interval is None else f"{number(interval.low)} … {number(interval.high)}"


def direction(name: str) -> str:
    return "higher is better" if known_scores()[name].higher_is_better else "lower is better"


def detail_tables(scores: Scores) -> list[Table]:
    """Intervals, and the same numbers by view and condition where scores have them."""
    rows = [
        (name, number(detail.headline), span(detail.interval), direction(name))
        for name, detail in scores.details.items()
    ]
    text = "Each score's one number, with an interval of 95 % over the clips."
    tables = [Table("Intervals", ("score", "number", "95 %", ""), rows, text)]
    return [*tables, *part_tables([scores.details], [""])]


def part_tables(details: Sequence[Mapping[str, Detail]], names: Sequence[str]) -> list[Table]:
    """By view and by condition, a row for each score of each of `details`, which `names` tell apart."""
    tables = []
    for title, part in (("By view", "views"), ("By condition", "conditions")):
        parts = [
            (f"{score} {name}".strip(), getattr(detail, part))
            for score in details[0]
            for name, one in zip(names, details, strict=True)
            if (detail := one.get(score)) is not None and getattr(detail, part)
        ]
        columns = list(dict.fromkeys(key for _, values in parts for key in values))
        if columns:
            rows = [(name, *(number(values.get(key)) for key in columns)) for name, values in parts]
            tables.append(Table(title, ("score", *columns), rows))
    return tables


def extremes(scores: Scores, each: int) -> list[tuple[str, int]]:
    """Up to `each` best and as many worst clips, as words and numbers; in their order where no score has numbers of clips."""
    return picked(scores.scored, goodness(scores.details), each)


def picked(clips: Sequence[int], good: Float[np.ndarray, "n"] | None, each: int) -> list[tuple[str, int]]:
    """The clips with the largest numbers, and with the smallest."""
    if good is None or len(clips) < 2:
        return [("Shown", clip) for clip in clips[: 2 * each]]
    order = np.argsort(-good, kind="stable").tolist()
    best = order[: min(each, len(order) // 2)]
    worst = order[len(best) :][-each:]
    return [("Best", clips[index]) for index in best] + [("Worst", clips[index]) for index in worst]


def goodness(details: Mapping[str, Detail]) -> Float[np.ndarray, "n"] | None:
    """How good each clip is: the mean over scores of its distance from all clips' mean, in deviations. None without such scores."""
    return standing({name: np.array(detail.clips) for name, detail in details.items() if detail.clips is not None})


def standing(values: Mapping[str, Float[np.ndarray, "n"]]) -> Float[np.ndarray, "n"] | None:
    """The same from the clips' numbers by score."""
    parts = []
    for name, numbers in values.items():
        known = np.where(np.isfinite(numbers), numbers, np.nan)
        spread = np.nanstd(known) if np.isfinite(known).any() else 0.0
        if spread > 0:
            sign = 1 if known_scores()[name].higher_is_better else -1
            parts.append(np.nan_to_num(sign * (known - np.nanmean(known)) / spread))
    return np.mean(parts, axis=0) if parts else None
