"""The names of all scores, without what computes them: ours, and those of installed packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Literal, get_args

ScoreName = Literal[
    "layout_retrieval",
    "prompt_response",
    "weather_response",
    "box_pixels",
    "view_agreement",
    "warp_error",
    "town_fid",
    "imagenet_fid",
    "fid",
    "kid",
    "precision_recall",
    "fvd",
]
OURS: tuple[ScoreName, ...] = get_args(ScoreName)


def installed_scores() -> tuple[EntryPoint, ...]:
    """The scores of other packages; a name of ours is not replaced."""
    return tuple(point for point in entry_points(group="dwm.scores") if point.name not in OURS)


def score_names() -> tuple[str, ...]:
    return (*OURS, *(point.name for point in installed_scores()))
