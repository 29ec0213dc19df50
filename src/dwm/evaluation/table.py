"""The table of scores: to add one, write a file like its sisters, name it here and in `score_names`; elsewhere: an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from dwm.evaluation.fid import FidScore
from dwm.evaluation.fvd import FvdScore
from dwm.evaluation.imagenet_fid import ImagenetFidScore
from dwm.evaluation.kid import KidScore
from dwm.evaluation.networks.i3d import LEAST_FRAMES
from dwm.evaluation.precision_recall_score import PrecisionRecallScore
from dwm.evaluation.prompts import PromptScore
from dwm.evaluation.retrieval import RetrievalScore
from dwm.evaluation.score import ScoreKind
from dwm.evaluation.score_names import ScoreName, installed_scores
from dwm.evaluation.town_fid_score import TownFidScore

SCORES: Mapping[ScoreName, ScoreKind] = {
    "layout_retrieval": ScoreKind(lambda tools: RetrievalScore(), higher_is_better=True),
    "prompt_response": ScoreKind(
        lambda tools: PromptScore(tools.options.night, tools.options.day), higher_is_better=True
    ),
    "town_fid": ScoreKind(lambda tools: TownFidScore(tools.town_features), "picture", 2),
    "imagenet_fid": ScoreKind(lambda tools: ImagenetFidScore(tools.imagenet, tools.options), "picture", 2),
    "fid": ScoreKind(lambda tools: FidScore(tools.inception), "picture", 2),
    "kid": ScoreKind(lambda tools: KidScore(tools.inception, tools.options), "picture", 2),
    "precision_recall": ScoreKind(
        lambda tools: PrecisionRecallScore(tools.inception, tools.options.neighbours),
        "picture",
        5,
        higher_is_better=True,
    ),
    "fvd": ScoreKind(lambda tools: FvdScore(tools.i3d), "view", 2, LEAST_FRAMES),
}


@cache
def known_scores() -> Mapping[str, ScoreKind]:
    """The scores of this package and of installed ones."""
    return {**SCORES, **{point.name: point.load() for point in installed_scores()}}
