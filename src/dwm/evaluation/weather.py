"""`weather_response`: do words change the weather? A clip with rain must come out greyer, one with fog flatter, than by clear sky.

Greyer: less colour for its brightness, so that a darker picture alone is no rain. Flatter: less difference between neighbouring
pixels for its brightness, as fog swallows edges. In the town's own pictures both hold for every scene and time of day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dwm.clip import Clip
from dwm.evaluation.prompts import luma
from dwm.evaluation.score import Pair, Statistics, Values
from dwm.report import ScoreLine, Video

DARKEST = 0.05
"""Brightness below which colour is mostly noise."""


@dataclass(frozen=True)
class WeatherResponse:
    """How many clips come out greyer in rain and flatter in fog than by clear sky, and by how much: the mean ratios to clear."""

    greyer: int
    flatter: int
    clips: int
    colour_ratio: float
    edge_ratio: float

    @property
    def headline(self) -> float:
        """The share of the two answers that are right."""
        return (self.greyer + self.flatter) / (2 * self.clips)

    def line(self) -> ScoreLine:
        meaning = (
            f"{self.greyer} of {self.clips} clips come out greyer with rain than by clear sky (colour ×{self.colour_ratio:.2f}), "
            f"{self.flatter} flatter with fog (edges ×{self.edge_ratio:.2f}); half of each by chance."
        )
        return ScoreLine("weather_response", f"{self.greyer} and {self.flatter} of {self.clips}", meaning)


class WeatherScore:
    """Looks at three versions of every clip; the words are their captions' weathers."""

    def __init__(self, clear: str, rain: str, fog: str) -> None:
        self._weathers = (clear, rain, fog)

    def versions(self, clip: Clip) -> tuple[Clip, ...]:
        return tuple(clip.with_words(weather=weather) for weather in self._weathers)

    def keep(self, pair: Pair) -> Statistics:
        clear, rain, fog = pair.versions
        return {"colour": colour(rain) / colour(clear), "edges": edges(fog) / edges(clear)}

    def result(self, statistics: Sequence[Statistics]) -> WeatherResponse:
        ratios = {name: torch.cat([clip[name] for clip in statistics]) for name in ("colour", "edges")}
        greyer, flatter = (int((values < 1).sum()) for values in ratios.values())
        means = (float(values.mean()) for values in ratios.values())
        return WeatherResponse(greyer, flatter, len(statistics), *means)

    def values(self, statistics: Sequence[Statistics]) -> Values:
        """The share of right answers of each clip: 0, a half or 1."""
        return Values(np.array([float(clip["colour"] < 1) / 2 + float(clip["edges"] < 1) / 2 for clip in statistics]))


def colour(video: Video) -> Float[Tensor, "b"]:
    """The mean difference between a pixel's strongest and weakest channel, as a share of the strongest."""
    strongest, weakest = video.frames.amax(dim=3), video.frames.amin(dim=3)
    return ((strongest - weakest) / (strongest + DARKEST)).double().mean(dim=(1, 2, 3, 4))


def edges(video: Video) -> Float[Tensor, "b"]:
    """The mean absolute difference of neighbouring pixels, across plus down, as a share of the mean brightness."""
    bright = luma(video)
    steps = sum(bright.diff(dim=dim).abs().mean(dim=(1, 2, 3, 4)) for dim in (-1, -2))
    return steps / (bright.mean(dim=(1, 2, 3, 4)) + DARKEST)
