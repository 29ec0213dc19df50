"""`Recipe`: everything that decides a run, composed of the rooms' own options. Touches no device and reads no file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwm.conditions import ConditionOptions
from dwm.evaluation import EvaluationOptions
from dwm.networks import DiTOptions
from dwm.options import Options
from dwm.recipes.data import DataOptions
from dwm.training.loop import LoopOptions


class Recipe(Options):
    """A named, typed run. The resolved JSON of one, saved beside each result, starts it again."""

    name: str = Field("", description="the recipe's name; also the default folder below runs/")
    compatibility: Literal["ours", "reference"] = Field(
        "ours", description="reference: keep OpenDWM's oddities, so that its users get their numbers"
    )
    base_model: str | None = Field(
        None, description="folder of the base model (autoencoder, text encoders, tokenizers)"
    )
    weights: str | None = Field(None, description="weights of the driving network to start from; none: random numbers")
    data: DataOptions = Field(DataOptions(), description="what is read, and in which windows and sizes")
    conditions: ConditionOptions = Field(ConditionOptions(), description="what the network is told")
    network: DiTOptions = Field(DiTOptions(), description="the driving network")
    training: LoopOptions = Field(LoopOptions(), description="how it is trained")
    evaluation: EvaluationOptions = Field(EvaluationOptions(), description="what is measured")
