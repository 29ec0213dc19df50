"""The verbs in the order in which a newcomer meets them, each with a line for the overview and a worked example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from dwm.cli.convert import app as convert
from dwm.cli.data import app as data
from dwm.cli.demo import demo
from dwm.cli.doctor import app as doctor
from dwm.cli.drive import drive
from dwm.cli.evaluate import evaluate
from dwm.cli.export import app as export
from dwm.cli.fetch import fetch
from dwm.cli.finetune import finetune
from dwm.cli.generate import generate
from dwm.cli.show import app as show
from dwm.cli.town import town
from dwm.cli.train import train


@dataclass(frozen=True)
class Verb:
    """does is a function with typed parameters, or a group of such."""

    name: str
    short: str
    does: Callable[..., Any] | typer.Typer
    example: str = ""


VERBS = (
    Verb("demo", "from nothing to a generated six-camera video and a page to look at", demo, "dwm demo -o output/demo"),
    Verb(
        "town",
        "build scenes of the embedded world as a nuScenes data set",
        town,
        "dwm town -o data/town --scenes 24 --seed 7",
    ),
    Verb("data", "look at a data set, check it, index it; zips of tars, 12 Hz tables, captions", data),
    Verb(
        "train", "train a recipe, or go on with a run", train, "dwm train town training.optimizer.lr=1e-4 -o runs/town"
    ),
    Verb(
        "finetune",
        "give the embedded weights the look of your own data in ten minutes",
        finetune,
        "dwm finetune town --data data/mine -o runs/mine",
    ),
    Verb(
        "generate",
        "words, a clip's layout or its first frames to video",
        generate,
        'dwm generate --data data/town --scene scene-0061 --prompt "night, rain" --seed 3 -o out',
    ),
    Verb(
        "drive",
        "steer a car through a world that the network draws, in a browser",
        drive,
        "dwm drive --seconds 20 --weather rain -o output/drive",
    ),
    Verb(
        "evaluate",
        "score weights on clips they never saw",
        evaluate,
        "dwm evaluate --data data/town --scores fid,kid,fvd --frames 16 --features features",
    ),
    Verb("export", "generated scenes as a nuScenes data set that detectors train on", export),
    Verb("fetch", "download a file that scores need: inception, i3d", fetch, "dwm fetch inception"),
    Verb("show", "recipes, the settings of a run, its memory, what a clip holds", show),
    Verb("convert", "turn configs and weights of OpenDWM into ours", convert),
    Verb("doctor", "check this machine, and our numbers against recorded ones", doctor),
)
