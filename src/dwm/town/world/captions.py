"""The words of the town: short captions from a scene's style, with synonyms, and the vocabulary that they use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dwm.clip import Caption
from dwm.errors import DwmError, nearest
from dwm.town.world.style import Style

SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "time": {
        "day": ("day", "daytime", "by day"),
        "dusk": ("dusk", "evening", "at sunset"),
        "night": ("night", "nighttime", "at night"),
    },
    "weather": {
        "clear": ("clear", "clear sky", "fine weather"),
        "overcast": ("overcast", "cloudy", "grey sky"),
        "rain": ("rain", "rainy", "wet road"),
        "fog": ("fog", "foggy", "misty"),
    },
    "wall": {
        "brick": ("brick", "red brick"),
        "concrete": ("concrete", "grey concrete"),
        "yellow": ("yellow", "yellow plaster"),
        "white": ("white", "white plaster"),
    },
    "height": {"low": ("low", "small"), "tall": ("tall", "high")},
    "trees": {"few": ("few trees",), "many": ("many trees",)},
    "ground": {"grass": ("grass", "lawn"), "paving": ("paving", "stone"), "sand": ("sand", "sandy")},
    "traffic": {
        "quiet": ("few cars", "quiet"),
        "normal": ("some cars", "traffic"),
        "busy": ("many cars", "busy"),
    },
}
"""By field and word of a `Style`: the ways in which captions say it, the plain one first."""

PLACES = ("street", "junction")


def caption(style: Style, description: str, rng: np.random.Generator | None = None) -> Caption:
    """The caption of a scene; with a generator, each word is said in one of its ways, else plainly."""

    def say(field: str) -> str:
        ways = SYNONYMS[field][getattr(style, field)]
        return ways[int(rng.integers(len(ways)))] if rng is not None else ways[0]

    return Caption(
        time=say("time"),
        weather=say("weather"),
        environment=f"{say('height')} {say('wall')} houses {say('trees')} {say('ground')}",
        objects=say("traffic"),
        image_description=description,
    )


def recaption(old: Caption, *, time: str | None = None, weather: str | None = None) -> Caption:
    """The same caption for another time of day or weather, each given as one of the words of `SYNONYMS`."""
    changes = {}
    for name, word in (("time", time), ("weather", weather)):
        if word is None:
            continue
        if word not in SYNONYMS[name]:
            synonyms = SYNONYMS[name]
            raise DwmError(
                f"{name} {word!r} is not a word of the town{nearest(word, synonyms)} (known: {', '.join(synonyms)})"
            )
        changes[name] = SYNONYMS[name][word][0]
    return replace(old, **changes)


def caption_words() -> tuple[str, ...]:
    """Every word that a caption of the town may hold, sorted."""
    ways = [way for field in SYNONYMS.values() for synonyms in field.values() for way in synonyms]
    return tuple(sorted({word for way in [*ways, "houses", *PLACES] for word in way.split()}))
