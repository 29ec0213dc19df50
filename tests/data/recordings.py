"""What tests against recordings share: a command as a user types it, a recorded array, and how far two drawings agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dwm.cli.main import run as command


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    """Its status, and all that it said."""
    with pytest.raises(SystemExit) as stop:
        command([str(argument) for argument in arguments])
    said = "".join(capsys.readouterr())
    print(said)
    return stop.value.code, said


def value(entry: dict[str, Any]) -> np.ndarray:
    return np.array(entry["value"], entry["dtype"])


def near(mask: np.ndarray, reach: int = 1) -> np.ndarray:
    """The mask, grown by so many pixels to all sides."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * reach + 1))).astype(bool)


def agreement(one: np.ndarray, other: np.ndarray, reach: int = 1) -> float:
    """Share of the first one's drawn pixels that have their colour in the other within `reach` pixels."""
    drawn = one.any(-1)
    met = np.zeros(drawn.shape, bool)
    for color in np.unique(one[drawn], axis=0):
        met |= (one == color).all(-1) & near((other == color).all(-1), reach)
    return float(met[drawn].mean()) if drawn.any() else 1.0


def both_ways(found: np.ndarray, want: np.ndarray, reach: int = 1) -> float:
    """The lesser of both agreements; 0 where nothing was recorded."""
    shares = agreement(found, want, reach), agreement(want, found, reach)
    print(shares)
    return min(shares) if want.any() else 0.0
