"""`dwm town`: builds a few scenes of the embedded world as a nuScenes data set."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written


class Format(str, Enum):
    folder = "folder"
    zips = "zips"


def town(
    output: flags.Output = Path("data/town"),
    scenes: Annotated[int, typer.Option("--scenes", min=1, help="How many scenes; 200 at most.", max=200)] = 8,
    seed: flags.Seed = 0,
    format: Annotated[Format, typer.Option("--format", help="folder, or the zips of a download.")] = Format.folder,
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=19.5, help="Length of a scene.")] = 5.0,
    size: flags.Size = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Build scenes of the embedded world: a data set in nuScenes' own format, with map, LiDAR and captions."""
    hush(quiet or as_json)
    keep(f"{output} is not complete; run the command again")
    from dwm.data.nuscenes.write.names import scene_name
    from dwm.town import NuScenesOptions, write_nuscenes

    options = NuScenesOptions(seconds=seconds)
    if (pixels := flags.size(size)) is not None:
        options = options.with_(size=pixels)
    write_nuscenes(output, scenes, seed, format=format.value, options=options)
    lines = [
        f"{scenes} scenes, written as nuScenes:",
        *written([output]),
        f"look at it: dwm data show {scene_name(0)} --data {output} --at 2 -o {output}.png",
    ]
    finish(lines, {"output": output, "scenes": scenes, "seed": seed}, quiet, as_json)
