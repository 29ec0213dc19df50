"""What is measured and by which protocol. Every field that changes a number stands in the record beside it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dwm.errors import nearest
from dwm.evaluation.score_names import score_names
from dwm.options import Options

DEFAULT_SCORES = ("layout_retrieval", "prompt_response", "box_pixels")
"""What needs no file from anywhere else."""
DEFAULT_OPTIONAL = ("view_agreement", "warp_error")
"""What needs no file either, but several views or frames; computed beside the default scores where it can be."""

Library = Literal["reference", "torchmetrics_1_8", "pytorch_fid", "clean_fid"]


class EvaluationOptions(Options):
    """What is measured."""

    scores: tuple[str, ...] = Field(DEFAULT_SCORES, description="which scores are computed")
    optional: tuple[str, ...] = Field(
        DEFAULT_OPTIONAL,
        description="computed where they can be, and told where they cannot (no file, too few frames); none beside `scores`",
    )
    seed: int = Field(0, ge=0, description="noise of the first clip; each further clip takes the next number")
    night: str = Field("night", description="prompt_response: the caption's time of the version that must be darker")
    day: str = Field("day", description="prompt_response: the caption's time of the version that must be brighter")
    clear: str = Field("clear", description="weather_response: the caption's weather of the version to compare with")
    rain: str = Field("rain", description="weather_response: … of the version that must be greyer")
    fog: str = Field("fog", description="weather_response: … of the version that must be flatter")
    features: str | None = Field(
        None, description="folder of feature files (`dwm fetch`); null: ./features and where other tools keep them"
    )
    i3d_file: str | None = Field(
        None, description="fvd: I3D's file itself, where it lies elsewhere or has another name"
    )
    size: tuple[int, int] | None = Field(
        None, description="width and height to which both sides are resized first; null: as generated, all of one size"
    )
    fid_as: Library = Field(
        "reference",
        description="fid, kid, precision_recall: pictures resized as the reference (torchmetrics 1.6) or another library does",
    )
    fvd_frames: int | None = Field(16, ge=10, description="fvd: frames from a clip's beginning; null: all of them")
    kid_subsets: int = Field(100, ge=1, description="kid: how many random subsets")
    kid_subset_size: int = Field(
        1000, ge=2, description="kid: samples of each; where there are fewer, all are one subset"
    )
    draws: int = Field(
        100, ge=0, le=100_000, description="random halves and exchanges for intervals and tests of whole sets; 0: none"
    )
    neighbours: int = Field(3, ge=1, description="precision_recall: how many neighbours bound a sample's surroundings")

    @model_validator(mode="before")
    @classmethod
    def _named_alone(cls, values: Any) -> Any:
        """Whoever names scores wants no others."""
        if isinstance(values, dict) and "scores" in values and "optional" not in values:
            return {**values, "optional": ()}
        return values

    @field_validator("scores", "optional")
    @classmethod
    def _check_names(cls, names: tuple[str, ...], _: Any) -> tuple[str, ...]:
        for name in names:
            if name not in (*DEFAULT_SCORES, *DEFAULT_OPTIONAL) and name not in (choices := score_names()):
                raise ValueError(f"score {name} is not known{nearest(name, choices)}; known: {', '.join(choices)}")
        return tuple(dict.fromkeys(names))
