"""Facade pictures, painted in numpy: two bays by two storeys of windows, one of two of them lit after dark."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from dwm.town.world.style import WALL_COLOURS, Look, Style

SIZE = 64
LIT = np.array([1.0, 0.82, 0.45])
SILL = np.array([0.95, 0.93, 0.9])


def facade(style: Style, look: Look) -> UInt8[np.ndarray, "64 64 3"]:
    """Upper storeys; the picture's light is already the scene's. Rows run from the top."""
    wall, tint = np.asarray(WALL_COLOURS[style.wall]), np.asarray(look.tint)
    picture = np.tile(wall * tint, (SIZE, SIZE, 1))
    half = SIZE // 2
    for row in range(2):
        top = row * half
        picture[top : top + 2] = wall * 0.8 * tint
        for column in range(2):
            left = column * half
            lit = look.lit and (row + column) % 2 == 0
            picture[top + 7 : top + 26, left + 6 : left + 26] = SILL * tint
            picture[top + 9 : top + 24, left + 8 : left + 24] = _glass(look, lit)
            picture[top + 9 : top + 24, left + 15 : left + 17] = SILL * tint * (0.6 if lit else 1.0)
    return _bytes(picture)


def shops(style: Style, look: Look) -> UInt8[np.ndarray, "64 64 3"]:
    """The ground floor: a wide shop window and a door, below an awning."""
    wall, tint = np.asarray(WALL_COLOURS[style.wall]), np.asarray(look.tint)
    picture = np.tile(wall * 0.7 * tint, (SIZE, SIZE, 1))
    picture[:9] = SILL * 0.85 * tint
    picture[16:52, 5:37] = _glass(look, look.lit)
    picture[16:60, 44:58] = np.array([0.32, 0.2, 0.12]) * tint
    picture[60:] = wall * 0.5 * tint
    return _bytes(picture)


def _glass(look: Look, lit: bool) -> np.ndarray:
    if lit:
        return LIT
    return 0.45 * np.asarray(look.sky[1]) * np.array([0.75, 0.85, 1.0]) + 0.02


def _bytes(picture: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
