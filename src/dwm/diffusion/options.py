"""Choices of the noise processes. Computes nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwm.options import Options

Weighting = Literal["logit_normal", "mode", "uniform"]


class TokenSampling(Options):
    """How hidden tokens are drawn."""

    steps: int = Field(30, gt=0, le=100_000, description="steps until no token is hidden")
    guidance: float | None = Field(None, description="how far to follow the layout; null: without guidance")
    noise: bool = Field(True, description="confidences carry noise that fades with the steps")
    blank: tuple[int, ...] = Field((), description="codes of empty space, which the first steps shut out")
    blank_steps: int = Field(10, ge=0, description="steps that shut them out")
