"""`dwm town`: builds a few scenes of the embedded world as a nuScenes data set."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.say import finish, hush, written


class Format(str, Enum):
    folder = "folder"
    zips = "zips"


def town(
    output: flags.Output = Path("data/town"),
    scenes: Annotated[int, typer.Option("--scenes", min=1, help="How many scenes of five seconds.")] = 8,
    seed: flags.Seed = 0,
    format: Annotated[Format, typer.Option("--format", help="folder, or the zips of a download.")] = Format.folder,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Build scenes of the embedded world: a data set in nuScenes' own format, with map, LiDAR and captions."""
    hush(quiet or as_json)
    keep(f"{output} is not complete; run the command again")
    from dwm.town import write_nuscenes

    write_nuscenes(output, scenes, seed, format=format.value)
    lines = [
        f"{scenes} scenes, written as nuScenes:",
        *written([output]),
        f"look at it: dwm show clip {output} scene-0001",
    ]
    finish(lines, {"output": output, "scenes": scenes, "seed": seed}, quiet, as_json)
