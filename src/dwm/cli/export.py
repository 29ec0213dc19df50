"""`dwm export`: many clips generated in one go, in the layouts that other tools read."""

from __future__ import annotations

from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written

app = typer.Typer(
    help="Generated scenes in the layouts that other tools read.",
    epilog=flags.example("dwm export nuscenes --data data/town --weather rain -o data/rainy"),
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Generated scenes in the layouts that other tools read."""


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise typer.BadParameter(f"--part {text}: expected I/N, for example 2/8")
    return int(number), int(count)


@app.command(
    epilog=flags.example(
        "dwm export nuscenes --data data/nuscenes --split train --edits rain.json -o data/rainy",
        "dwm export nuscenes --data data/town --part $SLURM_ARRAY_TASK_ID/8 -o data/new",
    )
)
def nuscenes(
    output: flags.Output,
    data: Annotated[
        str, typer.Option("--data", help="The data set whose scenes are made anew.", callback=flags.data_there)
    ],
    split: Annotated[str | None, typer.Option("--split", help="train, val, … or a file of scene names.")] = None,
    scene: Annotated[list[str] | None, typer.Option("--scene", help="One scene; may repeat.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help="Of each scene; all of it by default.")
    ] = None,
    time: Annotated[str | None, typer.Option("--time", help="Its captions' time of day.")] = None,
    weather: Annotated[str | None, typer.Option("--weather", help="Its captions' weather.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Boxes to leave out; may repeat.")] = None,
    edits: flags.Edits = None,
    lidar: Annotated[bool, typer.Option("--lidar", help="Copy the LiDAR's sweeps too.")] = False,
    fps: Annotated[float | None, typer.Option("--fps", min=0.1, max=1000, help="Key frames alone by default.")] = None,
    views: flags.Views = None,
    size: flags.Size = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same pictures.")] = None,
    weights: flags.OptionalWeights = None,
    part: Annotated[str | None, typer.Option("--part", help="I/N: every N-th scene, for one job of N.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or npu.")] = None,
    dtype: flags.OptionalDtype = None,
    version: Annotated[str | None, typer.Option("--version", help="Folder of the tables.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Try what the weights never saw.")] = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Generate scenes as a nuScenes set; the same command again goes on where it was stopped."""
    hush(quiet or as_json)
    keep(f"the scenes that are done; the same command goes on (output {output})")
    from dwm.config.files import validated
    from dwm.data.edits import Edits
    from dwm.runs.edits import all_edits
    from dwm.runs.export import ExportRun, export_nuscenes

    changes = {"time": time, "weather": weather, "remove": tuple(remove) if remove else None}
    given = {
        "data": data,
        "split": split,
        "scenes": tuple(scene) if scene else None,
        "seconds": seconds,
        "fps": fps,
        "views": flags.names(views),
        "size": flags.size(size),
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "weights": weights,
        "part": _part(part),
        "device": device,
        "dtype": dtype and dtype.value,
        "version": version,
        "edits": all_edits(Edits(), edits, **changes),
        "lidar": lidar,
        "force": force,
    }
    run = validated(ExportRun, {key: value for key, value in given.items() if value is not None}, "command line")
    done = export_nuscenes(run, output)
    rest = "the tables follow when all are" if done.boxes is None else f"{done.boxes} boxes; the set is whole"
    lines = [f"{len(done.made)} of {done.scenes} scenes made in {done.seconds:.1f} s; {rest}:", *written([output])]
    values = {"made": done.made, "scenes": done.scenes, "boxes": done.boxes, "folder": output, "seconds": done.seconds}
    finish(lines, values, quiet, as_json)
