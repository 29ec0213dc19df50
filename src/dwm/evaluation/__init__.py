"""Scores over real and generated clips. It never trains."""

from dwm.evaluation.evaluate import SCORES, EvaluationOptions, Scores, evaluate
from dwm.evaluation.features import FeatureExtractor, FeatureNetwork, FeatureOptions, PictureFeatures, town_features
from dwm.evaluation.frechet import FeatureSums, Gaussian, frechet_distance
from dwm.evaluation.prompts import PromptResponse, brightness, prompt_response, told
from dwm.evaluation.retrieval import Retrieval, layout_retrieval, thumbnails
from dwm.evaluation.town_fid import FrechetScore, TownFid, town_fid

__all__ = [
    "SCORES",
    "EvaluationOptions",
    "FeatureExtractor",
    "FeatureNetwork",
    "FeatureOptions",
    "FeatureSums",
    "FrechetScore",
    "Gaussian",
    "PictureFeatures",
    "PromptResponse",
    "Retrieval",
    "Scores",
    "TownFid",
    "brightness",
    "evaluate",
    "frechet_distance",
    "layout_retrieval",
    "prompt_response",
    "thumbnails",
    "told",
    "town_features",
    "town_fid",
]
