"""What is measured. Measures nothing."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from dwm.options import Options

ScoreName = Literal["layout_retrieval", "prompt_response", "town_fid"]


SCORES: tuple[ScoreName, ...] = get_args(ScoreName)


class EvaluationOptions(Options):
    """What is measured."""

    scores: tuple[ScoreName, ...] = Field(SCORES, description="which scores are computed")
    seed: int = Field(0, ge=0, description="noise of the first clip; each further clip takes the next number")
    night: str = Field("night", description="prompt_response: the caption's time of the version that must be darker")
    day: str = Field("day", description="prompt_response: the caption's time of the version that must be brighter")
