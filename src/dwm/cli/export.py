"""`dwm export`: many clips generated in one go, in the layouts that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written

if TYPE_CHECKING:
    from dwm.runs.export import ExportRun

Data = Annotated[str, typer.Option("--data", help="Data set whose scenes are made anew.", callback=flags.data_there)]
Split = Annotated[str | None, typer.Option("--split", help="train, val, … or a file of scene names.")]
Scenes = Annotated[list[str] | None, typer.Option("--scene", help="One scene; may repeat.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same pictures.")]
Part = Annotated[str | None, typer.Option("--part", help="I/N: every N-th piece of work, for one job of N.")]
Version = Annotated[str | None, typer.Option("--version", help="Folder of the tables.")]

app = typer.Typer(
    help="Generated scenes in the layouts that other tools read.",
    epilog=flags.example(
        "dwm export nuscenes --data data/town --weather rain -o data/rainy",
        "dwm export worldlens --data data/nuscenes --split val -o output/worldlens",
    ),
    no_args_is_help=True,
)


def export_run(
    edits: Path | None, time: str | None, weather: str | None, remove: tuple[str, ...] | None, **fields: Any
) -> ExportRun:
    """The run of these fields; one that is None was not given."""
    from dwm.config.files import validated
    from dwm.data.edits import Edits
    from dwm.runs.edits import all_edits
    from dwm.runs.export import ExportRun

    fields["edits"] = all_edits(Edits(), edits, time=time, weather=weather, remove=remove)
    return validated(ExportRun, {key: value for key, value in fields.items() if value is not None}, "command line")


def _run(
    edits: Path | None, time: str | None, weather: str | None, remove: list[str] | None, **given: Any
) -> ExportRun:
    """The run of these flags, as the command line gives them."""
    given |= {
        "part": flags.part(given["part"]),
        "views": flags.names(given["views"]),
        "size": flags.size(given["size"]),
    }
    given |= {"scenes": tuple(given["scenes"] or ()), "dtype": given["dtype"] and given["dtype"].value}
    return export_run(edits, time, weather, tuple(remove) if remove else None, **given)


@app.command(
    epilog=flags.example(
        "dwm export nuscenes --data data/nuscenes --split train --edits rain.json -o data/rainy",
        "dwm export nuscenes --data data/town --part $SLURM_ARRAY_TASK_ID/8 -o data/new",
    )
)
def nuscenes(
    output: flags.Output,
    data: Data,
    split: Split = None,
    scene: Scenes = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help="Of each scene; all of it by default.")
    ] = None,
    time: flags.Time = None,
    weather: flags.Weather = None,
    remove: flags.Remove = None,
    edits: flags.Edits = None,
    lidar: Annotated[bool, typer.Option("--lidar", help="Copy the LiDAR's sweeps too.")] = False,
    sensors: flags.Sensors = None,
    lidar_weights: flags.LidarWeights = None,
    fps: Annotated[float | None, typer.Option("--fps", min=0.1, max=1000, help="Key frames alone by default.")] = None,
    views: flags.Views = None,
    size: flags.Size = None,
    fast: flags.Fast = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    seed: Seed = None,
    weights: flags.OptionalWeights = None,
    part: Part = None,
    device: flags.OptionalDevice = None,
    dtype: flags.OptionalDtype = None,
    version: Version = None,
    force: flags.Force = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Generate scenes as a nuScenes set; the same command again goes on where it was stopped."""
    hush(quiet or as_json)
    keep(f"the scenes that are done; the same command goes on (output {output})")
    run = _run(
        edits, time, weather, remove, data=data, split=split, scenes=scene, seconds=seconds, lidar=lidar, fps=fps,
        sensors=flags.names(sensors), lidar_weights=lidar_weights,
        views=views, size=size, fast=fast, steps=steps, guidance=guidance, seed=seed, weights=weights, part=part, device=device,
        dtype=dtype, version=version, force=force,
    )  # fmt: skip
    exported(run, output, quiet, as_json)


def exported(run: ExportRun, output: Path, quiet: bool, as_json: bool) -> None:
    """Does an export as a nuScenes set and says what was made."""
    from dwm.runs.export import export_nuscenes

    done = export_nuscenes(run, output)
    rest = "the tables follow when all are" if done.boxes is None else f"{done.boxes} boxes; the set is whole"
    lines = [f"{len(done.made)} of {done.scenes} scenes made in {done.seconds:.1f} s; {rest}:", *written([output])]
    values = {"made": done.made, "scenes": done.scenes, "boxes": done.boxes, "folder": output, "seconds": done.seconds}
    finish(lines, values, quiet, as_json)


@app.command(epilog=flags.example("dwm export worldlens --data data/nuscenes --split val -o output/worldlens"))
def worldlens(
    output: flags.Output,
    data: Data,
    split: Split = None,
    scene: Scenes = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Of a film; 16 by default.")] = None,
    generations: Annotated[
        int | None, typer.Option("--generations", min=1, help="Films of each; 4 by default.")
    ] = None,
    time: flags.Time = None,
    weather: flags.Weather = None,
    remove: flags.Remove = None,
    edits: flags.Edits = None,
    views: flags.Views = None,
    size: flags.Size = None,
    fast: flags.Fast = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    seed: Seed = None,
    weights: flags.OptionalWeights = None,
    part: Part = None,
    device: flags.OptionalDevice = None,
    dtype: flags.OptionalDtype = None,
    version: Version = None,
    force: flags.Force = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Generate scenes' first frames as WorldLens scores them: video_submission/TOKEN_genK/TOKEN_CAM.mp4 at 12 Hz."""
    hush(quiet or as_json)
    keep(f"the films that are done; the same command goes on (output {output})")
    run = _run(
        edits, time, weather, remove, layout="worldlens", data=data, split=split, scenes=scene, frames=frames,
        generations=generations, views=views, size=size, fast=fast, steps=steps, guidance=guidance, seed=seed, weights=weights,
        part=part, device=device, dtype=dtype, version=version, force=force,
    )  # fmt: skip
    from dwm.runs.export_worldlens import export_worldlens

    done = export_worldlens(run, output)
    lines = [f"{len(done.made)} of {done.scenes} generations made in {done.seconds:.1f} s:", *written([output])]
    values = {"made": done.made, "generations": done.scenes, "folder": output, "seconds": done.seconds}
    finish(lines, values, quiet, as_json)


@app.command(
    epilog=flags.example(
        "dwm export detections real.json generated.json --data data/nuscenes --split val --devkit .venv-devkit/bin/python"
    )
)
def detections(
    files: Annotated[
        list[Path], typer.Argument(metavar="RESULT.json …", help="A detector's results, the real ones first.")
    ],
    data: Annotated[Path, typer.Option("--data", help="nuScenes set whose boxes are the truth.")],
    split: Annotated[str, typer.Option("--split", help="val, mini_val, …, as the devkit knows it.")] = "val",
    version: Version = None,
    devkit: Annotated[Path, typer.Option("--devkit", help="Python that has nuscenes-devkit.")] = Path(
        ".venv-devkit/bin/python"
    ),
    output: flags.Output = Path("output/detections"),
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """The nuScenes devkit's mAP and NDS of detectors' results, real against generated."""
    hush(quiet or as_json)
    keep(f"nothing of these results; start it again with the same command (output {output})")
    from dwm.runs.detections import FILE, judged, table

    results = judged(files, data, split, version, devkit, output)
    rows = table(results, [str(file) for file in files])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    values = {"files": {one.file: {"mAP": one.mean_ap, "NDS": one.nds} for one in results}, "written": output / FILE}
    finish([*lines, *written([output / FILE])], values, quiet, as_json)
