"""`Recipe`: everything that decides a run, composed of the rooms' own options. Touches no device and reads no file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwm.options import Options
from dwm.recipes.data import DataOptions


class Recipe(Options):
    """A named, typed run. The resolved JSON of one, saved beside each result, starts it again."""

    name: str = Field("", description="the recipe's name; also the default folder below runs/")
    compatibility: Literal["ours", "reference"] = Field(
        "ours", description="reference: keep OpenDWM's oddities, so that its users get their numbers"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of data order, noise and every other draw")
    base_model: str | None = Field(
        None, description="folder of the base model (autoencoder, text encoders, tokenizers)"
    )
    weights: str | None = Field(
        None, description="weights of the driving network to start from; none: from random numbers"
    )
    data: DataOptions = Field(DataOptions(), description="what is read, and in which windows and sizes")
