"""What scenes of the town may be like."""

from __future__ import annotations

from pydantic import Field, model_validator

from dwm.options import Options
from dwm.town.world.style import GROUNDS, HEIGHTS, TIMES, TRAFFIC, TREES, WALLS, WEATHERS


class TownOptions(Options):
    """What scenes of the town may be like."""

    duration: float = Field(20.0, ge=2.0, le=60.0, description="seconds that a scene lasts")
    times: tuple[str, ...] = Field(TIMES, min_length=1, description="times of day to draw from")
    weathers: tuple[str, ...] = Field(WEATHERS, min_length=1, description="weathers to draw from")
    walls: tuple[str, ...] = Field(WALLS, min_length=1, description="wall materials to draw from")
    heights: tuple[str, ...] = Field(HEIGHTS, min_length=1, description="heights of houses to draw from")
    trees: tuple[str, ...] = Field(TREES, min_length=1, description="amounts of trees to draw from")
    grounds: tuple[str, ...] = Field(GROUNDS, min_length=1, description="kinds of open ground to draw from")
    traffic: tuple[str, ...] = Field(TRAFFIC, min_length=1, description="amounts of traffic to draw from")
    junction_share: float = Field(0.67, ge=0, le=1, description="share of scenes with a junction")
    max_lanes: int = Field(4, ge=2, le=4, description="most lanes of a main street, both directions together")
    synonyms: bool = Field(True, description="captions say a word in one of several ways, drawn by scene")

    @model_validator(mode="after")
    def _known_words(self) -> TownOptions:
        allowed = {"times": TIMES, "weathers": WEATHERS, "walls": WALLS, "heights": HEIGHTS, "trees": TREES}
        allowed |= {"grounds": GROUNDS, "traffic": TRAFFIC}
        for name, words in allowed.items():
            for word in getattr(self, name):
                if word not in words:
                    raise ValueError(f"{name}: {word!r} is not one of {', '.join(words)}")
        return self
