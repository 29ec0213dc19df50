"""Scores over real and generated clips. It never trains."""

from dwm.evaluation.evaluate import Scores, evaluate
from dwm.evaluation.features import FeatureExtractor, FeatureNetwork, FeatureOptions, PictureFeatures, town_features
from dwm.evaluation.frechet import FeatureSums, Gaussian, frechet_distance
from dwm.evaluation.options import DEFAULT_SCORES, EvaluationOptions
from dwm.evaluation.prompts import PromptResponse, brightness, prompt_response, told
from dwm.evaluation.retrieval import Retrieval, layout_retrieval, thumbnails
from dwm.evaluation.score import Plan, Score, ScoreKind, Tools
from dwm.evaluation.table import SCORES, known_scores
from dwm.evaluation.town_fid import TownFid, town_fid

__all__ = [
    "DEFAULT_SCORES",
    "SCORES",
    "EvaluationOptions",
    "FeatureExtractor",
    "FeatureNetwork",
    "FeatureOptions",
    "FeatureSums",
    "Gaussian",
    "PictureFeatures",
    "Plan",
    "PromptResponse",
    "Retrieval",
    "Score",
    "ScoreKind",
    "Scores",
    "Tools",
    "TownFid",
    "brightness",
    "evaluate",
    "frechet_distance",
    "known_scores",
    "layout_retrieval",
    "prompt_response",
    "thumbnails",
    "told",
    "town_features",
    "town_fid",
]
