"""Which conditions a clip is of, by the words of its captions: day, dusk, night, rain, fog. It reads nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dwm.clip import Clip

CONDITIONS: Mapping[str, tuple[str, ...]] = {
    "night": ("night",),
    "dusk": ("dusk", "dawn", "sunset", "sunrise", "evening", "twilight"),
    "rain": ("rain", "wet"),
    "fog": ("fog", "mist"),
}
"""A condition, and the beginnings of words that say it."""


def conditions_of(clip: Clip) -> tuple[str, ...]:
    """The conditions of a clip's first caption; `day` where it says neither night nor dusk; none where it has no words."""
    if not clip.captions or not (text := clip.captions[0][0].text().lower()):
        return ()
    conditions = tuple(name for name, words in CONDITIONS.items() if re.search(rf"\b({'|'.join(words)})", text))
    return conditions if {"night", "dusk"} & set(conditions) else ("day", *conditions)
