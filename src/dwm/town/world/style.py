"""What a scene looks like: its words (time, weather, walls, …) and the colours that follow from them and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dwm.town.drawing.mesh import Colour

TIMES = ("day", "dusk", "night")
WEATHERS = ("clear", "overcast", "rain", "fog")
WALLS = ("brick", "concrete", "yellow", "white")
HEIGHTS = ("low", "tall")
TREES = ("few", "many")
GROUNDS = ("grass", "paving", "sand")
TRAFFIC = ("quiet", "normal", "busy")


@dataclass(frozen=True)
class Style:
    """The words that decide a scene's look; each field holds a word of the tuple of its name above."""

    time: str
    weather: str
    wall: str
    height: str
    trees: str
    ground: str
    traffic: str


@dataclass(frozen=True)
class Look:
    """Colours of a time of day in a weather. sky goes from the horizon up; tint is the light that falls on all things.

    haze is the share of light lost per metre of distance, horizon the colour that replaces it.
    """

    tint: Colour
    sky: tuple[Colour, ...]
    horizon: Colour
    haze: float
    lit: bool
    wet: bool


SKIES: dict[tuple[str, str], tuple[Colour, Colour, Colour]] = {
    ("day", "clear"): ((0.78, 0.88, 0.97), (0.45, 0.68, 0.95), (0.2, 0.45, 0.85)),
    ("day", "overcast"): ((0.83, 0.84, 0.86), (0.74, 0.76, 0.79), (0.66, 0.68, 0.72)),
    ("day", "rain"): ((0.6, 0.64, 0.68), (0.5, 0.54, 0.6), (0.4, 0.44, 0.5)),
    ("day", "fog"): ((0.82, 0.84, 0.85), (0.8, 0.82, 0.84), (0.76, 0.79, 0.82)),
    ("dusk", "clear"): ((1.0, 0.62, 0.3), (0.85, 0.42, 0.42), (0.32, 0.25, 0.5)),
    ("dusk", "overcast"): ((0.72, 0.52, 0.46), (0.52, 0.42, 0.46), (0.38, 0.33, 0.42)),
    ("dusk", "rain"): ((0.5, 0.4, 0.42), (0.38, 0.32, 0.4), (0.28, 0.25, 0.34)),
    ("dusk", "fog"): ((0.66, 0.54, 0.5), (0.6, 0.5, 0.5), (0.52, 0.45, 0.48)),
    ("night", "clear"): ((0.1, 0.12, 0.25), (0.05, 0.06, 0.16), (0.02, 0.03, 0.09)),
    ("night", "overcast"): ((0.14, 0.13, 0.15), (0.1, 0.1, 0.12), (0.07, 0.07, 0.09)),
    ("night", "rain"): ((0.09, 0.11, 0.14), (0.06, 0.08, 0.11), (0.04, 0.05, 0.08)),
    ("night", "fog"): ((0.2, 0.21, 0.23), (0.17, 0.18, 0.2), (0.13, 0.14, 0.16)),
}

TINTS: dict[str, Colour] = {"day": (1.0, 0.98, 0.94), "dusk": (0.8, 0.62, 0.56), "night": (0.34, 0.36, 0.46)}
WEATHER_LIGHT: dict[str, Colour] = {
    "clear": (1.0, 1.0, 1.0),
    "overcast": (0.84, 0.86, 0.9),
    "rain": (0.74, 0.77, 0.82),
    "fog": (0.86, 0.87, 0.88),
}
HAZE = {"clear": 0.0012, "overcast": 0.002, "rain": 0.007, "fog": 0.03}

WALL_COLOURS: dict[str, Colour] = {
    "brick": (0.68, 0.3, 0.22),
    "concrete": (0.55, 0.57, 0.6),
    "yellow": (0.92, 0.74, 0.36),
    "white": (0.93, 0.92, 0.88),
}
ROOF_COLOURS: dict[str, Colour] = {
    "brick": (0.36, 0.2, 0.18),
    "concrete": (0.3, 0.32, 0.36),
    "yellow": (0.62, 0.28, 0.18),
    "white": (0.3, 0.34, 0.42),
}
GROUND_COLOURS: dict[str, Colour] = {
    "grass": (0.36, 0.56, 0.22),
    "paving": (0.62, 0.56, 0.52),
    "sand": (0.86, 0.74, 0.5),
}
ROAD, ROAD_WET = (0.3, 0.31, 0.33), (0.2, 0.21, 0.24)
SIDEWALK, KERB = (0.66, 0.66, 0.66), (0.82, 0.82, 0.8)
LINE_WHITE, LINE_YELLOW = (0.95, 0.95, 0.95), (0.98, 0.76, 0.1)


def look(style: Style) -> Look:
    """The colours that a style's time and weather mean."""
    sky = SKIES[style.time, style.weather]
    tint = np.asarray(TINTS[style.time]) * np.asarray(WEATHER_LIGHT[style.weather])
    return Look(
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        sky=sky,
        horizon=sky[0],
        haze=HAZE[style.weather],
        lit=style.time != "day",
        wet=style.weather == "rain",
    )


def draw_style(rng: np.random.Generator, allowed: dict[str, tuple[str, ...]]) -> Style:
    """A style with every word drawn evenly from those allowed for its field."""
    return Style(**{name: words[int(rng.integers(len(words)))] for name, words in allowed.items()})
