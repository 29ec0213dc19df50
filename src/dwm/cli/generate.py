"""`dwm generate`: words, a clip's layout or its first frames → driving video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written
from dwm.cli.runs import saved, verb_of


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
    frames: flags.Frames = None,
    fps: flags.Fps = None,
    views: flags.Views = None,
    size: flags.Size = None,
    fast: flags.Fast = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same video.")] = None,
    weights: flags.OptionalWeights = None,
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
        "frames": frames,
        "fps": fps,
        "views": flags.names(views),
        "size": flags.size(size),
        "fast": fast,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "weights": weights,
        "device": device,
        "dtype": dtype and dtype.value,
        "offload": offload,
        "compile": compile or None,
        "key_frames_only": key_frames or None,
        "force": force or None,
    }
    changes = {"time": time, "weather": weather, "remove": tuple(remove) if remove else None, "ego_left": ego_left}
    if config is not None and verb_of(config) != "generate":
        files = training_run(config, options | changes | {"edits": edits}, output, root)
        finish([f"{len(files)} files written:", *written(files)], {"files": files}, quiet, as_json)
        return
    flags.no_root(root)
    run = saved(GenerationRun, config, options)
    run = run.with_(edits=all_edits(run.edits, edits, **changes))
    result = run_generation(run, output)
    lines = [
        f"{result.video.length} frames of {len(result.video.views)} views in {result.seconds:.1f} s; written:",
        *written(result.files),
        f"look at it: open {output / 'report.html'} in a browser",
    ]
    finish(
        lines,
        {"files": result.files, "seconds": result.seconds, "run": result.run.model_dump(mode="json")},
        quiet,
        as_json,
    )


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
