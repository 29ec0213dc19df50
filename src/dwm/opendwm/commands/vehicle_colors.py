"""Captions without the colours of vehicles: a network that is told a layout alone must not be told what no layout shows."""

from __future__ import annotations

_COLORS = """
red green blue black yellow brown white purple grey beige maroon orange cream UPS silver tan copper-colored dark-colored dark
"""
_VEHICLES = """
SUV SUVs bus buses car cars truck trucks van vehicle sedan Volkswagen pickup taxi Mercedes-Benz minivan RV limousine trolley
shuttle tram semi-truck motorbike
"""
COLORS, VEHICLES = frozenset(_COLORS.split()), frozenset(_VEHICLES.split())


def without_vehicle_colors(text: str) -> str:
    """Each colour word directly before a vehicle's is left out, as OpenDWM's preview data set does."""
    words: list[str] = []
    for word in text.split(" "):
        if word.rstrip(".,") in VEHICLES and words and words[-1] in COLORS:
            words.pop()
        words.append(word)
    return " ".join(words)
