"""The verbs in the order in which a newcomer meets them, each with a line for the overview and a worked example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from dwm.cli.show import app as show
from dwm.cli.town import town


@dataclass(frozen=True)
class Verb:
    """does is a function with typed parameters, or a group of such."""

    name: str
    short: str
    does: Callable[..., Any] | typer.Typer
    example: str = ""


VERBS = (
    Verb(
        "town",
        "build scenes of the embedded world as a nuScenes data set",
        town,
        "dwm town -o data/town --scenes 24 --seed 7",
    ),
    Verb("show", "recipes, the settings of a run, its memory, what a clip holds", show),
)
