"""`dwm generate`: words, a clip's layout or its first frames → driving video."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written
from dwm.cli.runs import choose_lidar, saved, verb_of

if TYPE_CHECKING:
    from dwm.runs.export import ExportRun

KEY_FRAMES = 2.0
"""Frames a second of a data set's key frames, where no other rate is asked for."""


class As(str, Enum):
    """What a generation is written as, where that is not a video."""

    nuscenes = "nuscenes"


def generate(
    output: flags.Output = Path("output/generate"),
    data: flags.Data = None,
    scene: Annotated[str | None, typer.Option("--scene", help="Scene of the data set; the first by default.")] = None,
    start: Annotated[float | None, typer.Option("--start", min=0, help="Seconds into the scene.")] = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="Words; once, or once for each view.")] = None,
    negative: Annotated[str | None, typer.Option("--negative", help="What it should not be.")] = None,
    time: flags.Time = None,
    weather: flags.Weather = None,
    remove: flags.Remove = None,
    ego_left: Annotated[float | None, typer.Option("--ego-left", help="Metres to move the car.")] = None,
    edits: flags.Edits = None,
    references: Annotated[
        int | None, typer.Option("--references", min=0, max=3, help="Its first frames that are given.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", help="Your first frame; once, or once for each view.")
    ] = None,
    layout: Annotated[As | None, typer.Option("--as", help="nuscenes: as `dwm export` writes a scene.")] = None,
    frames: flags.Frames = None,
    fps: flags.Fps = None,
    views: flags.Views = None,
    sensors: flags.Sensors = None,
    lidar_weights: flags.LidarWeights = None,
    size: flags.Size = None,
    fast: flags.Fast = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    interval: flags.GuidanceInterval = None,
    cache: flags.Cache = None,
    verify: Annotated[bool, typer.Option("--verify", help="Make it exactly too, and compare.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same video.")] = None,
    weights: flags.OptionalWeights = None,
    base_model: flags.BaseModel = None,
    device: flags.OptionalDevice = None,
    dtype: flags.OptionalDtype = None,
    offload: flags.Offload = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile first: a minute, then faster steps.")] = False,
    key_frames: flags.KeyFrames = False,
    config: flags.Config = None,
    root: flags.Root = None,
    force: flags.Force = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Generate driving video from words, a clip's layout, or its first frames."""
    first = os.environ.get("RANK", "0") == "0"  # of several processes the first one speaks
    quiet, as_json = quiet or not first, as_json and first
    hush(quiet or as_json)
    keep(f"nothing of this video; start it again with the same command (output {output})")
    from dwm.runs.edits import all_edits
    from dwm.runs.generate import GenerationRun
    from dwm.runs.generate import generate as run_generation

    options = {
        "data": data,
        "scene": scene,
        "start": start,
        "prompt": tuple(prompt) if prompt else None,
        "negative": negative,
        "references": references,
        "image": tuple(image) if image else None,
        "frames": frames,
        "fps": fps,
        "views": flags.names(views),
        "sensors": flags.names(sensors),
        "lidar_weights": lidar_weights,
        "size": flags.size(size),
        "fast": fast,
        "steps": steps,
        "guidance": guidance,
        "verify": verify or None,
        "seed": seed,
        "weights": weights,
        "base_model": None if base_model is None else str(base_model),
        "device": device,
        "dtype": dtype and dtype.value,
        "offload": offload,
        "compile": compile or None,
        "key_frames_only": key_frames or None,
        "force": force or None,
    }
    shortcuts = {"guidance_interval": flags.interval(interval), "cache": cache}
    changes = {"time": time, "weather": weather, "remove": tuple(remove) if remove else None, "ego_left": ego_left}
    if layout is not None:
        flags.no_root(root)
        export(options | shortcuts, {**changes, "edits": edits}, config, output, quiet, as_json)
        return
    if config is not None and (sweeps := choose_lidar(None, config, None, root)) is not None:
        from dwm.cli.lidar import with_flags
        from dwm.opendwm.runs import check_ready
        from dwm.runs.lidar.generate import generate_lidar

        sweeps = check_ready(
            with_flags(sweeps, flags.by_flag(options | shortcuts | changes | {"edits": edits}), str(config)), config
        )
        files = generate_lidar(sweeps, output)
        count = sum(path.suffix == ".bin" for path in files)
        finish([f"{count} sweeps written:", *written(files)], {"files": files}, quiet, as_json)
        return
    if config is not None and verb_of(config) != "generate":
        files = training_run(config, flags.by_flag(options | shortcuts | changes | {"edits": edits}), output, root)
        finish([f"{len(files)} files written:", *written(files)], {"files": files}, quiet, as_json)
        return
    flags.no_root(root)
    run = saved(GenerationRun, config, options)
    shortcuts = {name: value for name, value in shortcuts.items() if value is not None}
    run = run.with_(edits=all_edits(run.edits, edits, **changes), shortcuts=run.shortcuts.with_(**shortcuts))
    result = run_generation(run, output)
    lines = [
        f"{result.video.length} frames of {len(result.video.views)} views in {result.seconds:.1f} s; written:",
        *written(result.files),
        *([] if result.worth is None else [result.worth.line()]),
        f"look at it: open {output / 'report.html'} in a browser",
    ]
    finish(
        lines,
        {
            "files": result.files,
            "seconds": result.seconds,
            "run": result.run.model_dump(mode="json"),
            "worth": result.worth and asdict(result.worth),
        },
        quiet,
        as_json,
    )


def export(
    options: dict[str, Any], changes: dict[str, Any], config: Path | None, output: Path, quiet: bool, as_json: bool
) -> None:
    """The same scene as a data set: `dwm export nuscenes` of it alone."""
    from dwm.cli.export import export_run, exported
    from dwm.errors import DwmError

    if config is not None:
        raise DwmError("--as nuscenes: takes flags alone, no -c")
    refused = ("prompt", "negative", "references", "image", "start", "key_frames_only", "compile", "offload")
    for name in (*refused, "guidance_interval", "cache", "verify"):
        if options.pop(name):
            raise DwmError(
                f"--{flags.flag_name(name)}: a data set is of a whole scene by its own captions (--as nuscenes); leave it out"
            )
    if options["data"] is None:
        raise DwmError("--as nuscenes: of which scene? give --data (and --scene)")
    if changes.pop("ego_left") is not None:
        raise DwmError("--ego-left: give it in a file of --edits for --as nuscenes")
    frames, scene = options.pop("frames"), options.pop("scene")
    rate = options["fps"] or KEY_FRAMES
    options["seconds"] = None if frames is None else (frames - 1) / rate
    run = export_run(**changes, **options, scenes=(scene,) if scene else None)
    if not scene:
        run = first_scene(run)
    exported(run, output, quiet, as_json)


def first_scene(run: ExportRun) -> ExportRun:
    """The run with the first scene of its data set, as `dwm generate` takes it."""
    from dwm.runs.export import opened_set

    return run.with_(scenes=(opened_set(run).scenes[0].name,))


def training_run(config: Path, flags: dict[str, Any], output: Path, root: Path | None = None) -> list[Path]:
    """What a training run or an example, OpenDWM's or ours, generates: an example's inputs, or the first held-out clip."""
    from dwm.opendwm.commands.example_runs import ExampleRun
    from dwm.opendwm.commands.examples import read_example, run_example
    from dwm.opendwm.commands.previews import Preview, changed_run, replaced_by, run_previews
    from dwm.opendwm.runs import check_ready, load_recipe, read_run

    if isinstance(read_run(config), ExampleRun):
        run = read_example(config, root)
        check_ready(run.run, config)
        run_example(run, output, source=str(config), say=lambda line: None)
        return sorted(path for path in output.iterdir() if path.is_file())
    changed = check_ready(changed_run(load_recipe(config, root), flags, str(config)), config)
    preview = Preview(replaced_by(flags["prompt"] or ()), count=1)
    return run_previews(changed, output, preview, str(config), say=lambda line: None)
