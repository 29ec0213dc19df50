"""The table of scores: to add one, write a file like its sisters, name it here and in `score_names`; elsewhere: an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from dwm.evaluation.box_pixels import BoxPixelsScore
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
from dwm.evaluation.view_agreement import ViewAgreementScore
from dwm.evaluation.warp_error import WarpErrorScore
from dwm.evaluation.weather import WeatherScore

SCORES: Mapping[ScoreName, ScoreKind] = {
    "layout_retrieval": ScoreKind(lambda tools: RetrievalScore(), higher_is_better=True),
    "prompt_response": ScoreKind(
        lambda tools: PromptScore(tools.options.night, tools.options.day), higher_is_better=True
    ),
    "weather_response": ScoreKind(
        lambda tools: WeatherScore(tools.options.clear, tools.options.rain, tools.options.fog), higher_is_better=True
    ),
    "box_pixels": ScoreKind(lambda tools: BoxPixelsScore(tools.segmenter), higher_is_better=True),
    "view_agreement": ScoreKind(lambda tools: ViewAgreementScore(), views=3, higher_is_better=True),
    "warp_error": ScoreKind(lambda tools: WarpErrorScore(), frames=2),
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
