"""`dwm drive`: steer through a world that the network draws, in a browser or by a script."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written
from dwm.errors import CheckFailed


def drive(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", "--record", help="Folder for films and the record.", callback=flags.local_path),
    ] = None,
    data: flags.Data = None,
    scene: Annotated[str | None, typer.Option("--scene", help="Scene of the data set, or the town's number.")] = None,
    start: Annotated[float | None, typer.Option("--start", min=0, help="Seconds into a data set's scene.")] = None,
    town: Annotated[int | None, typer.Option("--town", min=0, help="Seed of the town's streets.")] = None,
    carla: Annotated[str | None, typer.Option("--carla", help="HOST:PORT of a CARLA server to drive in.")] = None,
    script: Annotated[Path | None, typer.Option("--script", help="Drive what a file says, without a page.")] = None,
    replay: Annotated[Path | None, typer.Option("--replay", help="Drive a record again: the same pictures.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="Length of a drive without a page.")
    ] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="The same in frames.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Send pictures to rtsp://… or the like.")] = None,
    serve_alpasim: Annotated[
        bool, typer.Option("--serve-alpasim", help="Be the video-model renderer of AlpaSim, on --host and --port.")
    ] = False,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Words for all views.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Time of day.")] = None,
    weather: Annotated[str | None, typer.Option("--weather", help="Weather.")] = None,
    views: flags.Views = None,
    size: flags.Size = None,
    fps: flags.Fps = None,
    fast: flags.Fast = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    overlap: Annotated[int | None, typer.Option("--overlap", min=1, help="Frames that windows take over.")] = None,
    host: Annotated[str, typer.Option("--host", help="Where its page listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Its port; 0: any.")] = 8470,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Same seed and steering, same film.")] = None,
    weights: flags.OptionalWeights = None,
    device: flags.OptionalDevice = None,
    dtype: flags.OptionalDtype = None,
    force: flags.Force = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Steer through a world that the network draws, in a browser or by a script."""
    hush(quiet or as_json)
    if script is not None and replay is not None:
        raise typer.BadParameter("--script is a new drive, --replay an old one; give one of them")
    if seconds is not None and frames is not None:
        raise typer.BadParameter("--seconds and --frames say the same; give one of them")
    keep(
        f"the record so far is whole in {output}; dwm drive --replay FILE -o FOLDER makes its films"
        if output
        else "nothing was written"
    )
    given: dict[str, Any] = {
        "data": data,
        "scene": scene,
        "start": start,
        "town": town,
        "carla": carla,
        "prompt": prompt,
        "time": time,
        "weather": weather,
        "views": flags.names(views),
        "size": flags.size(size),
        "fps": fps,
        "fast": fast,
        "steps": steps,
        "guidance": guidance,
        "overlap": overlap,
        "seed": seed,
        "weights": weights,
        "device": device,
        "dtype": dtype and dtype.value,
        "force": force or None,
    }
    if serve_alpasim:
        others = {"output": output, "to": to, "script": script, "replay": replay, "seconds": seconds, "frames": frames}
        if (named := next((name for name, value in others.items() if value is not None), None)) is not None:
            raise typer.BadParameter(f"--serve-alpasim draws what AlpaSim asks for; leave out --{named}")
        _for_alpasim(given, host, port, quiet)
        return
    if script is None and replay is None and seconds is None and frames is None:
        _with_page(given, host, port, output, to, quiet, as_json)
        return
    _without_page(given, script, replay, seconds, frames, output, to, quiet, as_json)


def _with_page(
    given: dict[str, Any], host: str, port: int, output: Path | None, to: str | None, quiet: bool, as_json: bool
) -> None:
    from dwm.cli.output import note
    from dwm.cli.runs import saved
    from dwm.runs.drive import DriveRun
    from dwm.runs.drive_page import serve

    files = serve(saved(DriveRun, None, given), host, port, output, lambda text: note(text, quiet), to)
    finish(["written:", *written(files)] if files else ["nothing was recorded"], {"files": files}, quiet, as_json)


def _for_alpasim(given: dict[str, Any], host: str, port: int, quiet: bool) -> None:
    from dwm.cli.output import note
    from dwm.cli.runs import saved
    from dwm.runs.drive import DriveRun
    from dwm.runs.drive_alpasim import serve_alpasim

    serve_alpasim(saved(DriveRun, None, given), host, port, lambda text: note(text, quiet))


def _without_page(
    given: dict[str, Any],
    script: Path | None,
    replay: Path | None,
    seconds: float | None,
    frames: int | None,
    output: Path | None,
    to: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from dwm.cli.runs import saved
    from dwm.drive.script import AUTOPILOT, read_script
    from dwm.runs.drive import DriveRun, run_of
    from dwm.runs.drive import drive as run_drive

    if replay is not None:
        named = [f"--{name}" for name, value in given.items() if value is not None and name != "device"]
        if named:
            raise typer.BadParameter(
                f"{named[0]}: a record says everything about its drive; leave it out, or drive by --script"
            )
        controls = read_script(replay)
        run = run_of(controls, replay)
        run = run.with_(device=given["device"]) if given["device"] else run
    else:
        controls = AUTOPILOT if script is None else read_script(script)
        run = saved(DriveRun, None, given)
    ticks = frames or (None if seconds is None else max(1, round(seconds * _fps(run))))
    driven = run_drive(run, controls, output, ticks, to)
    rate = driven.pictures * len(driven.run.views or ()) / max(driven.seconds, 1e-9)
    same = replay is not None and driven.ticks == controls.ticks and driven.digest == controls.digest
    lines = [
        f"{driven.ticks} frames in {driven.seconds:.1f} s: {driven.last.travelled:.0f} m driven, {rate:.3g} pictures/s",
        *(f"  {second:6.2f} s  {note}" for second, note in driven.notes),
        *(["written:", *written(driven.files)] if driven.files else []),
        *(["the same pictures as recorded, bit for bit"] if same else []),
    ]
    finish(
        lines,
        {
            "frames": driven.ticks,
            "pictures": driven.pictures,
            "seconds": driven.seconds,
            "travelled": driven.last.travelled,
            "digest": driven.digest,
            "notes": driven.notes,
            "files": driven.files,
            "run": driven.run.model_dump(mode="json"),
        },
        quiet,
        as_json,
    )
    if replay is not None and controls.digest and driven.ticks == controls.ticks and not same:
        raise CheckFailed(
            f"{replay}: its pictures came out otherwise: another machine, device or version of PyTorch, or other weights"
        )


def _fps(run: Any) -> float:
    """Ticks a second of a run: its own, or its weights'."""
    from dwm.checkpoints.folder import read_card
    from dwm.checkpoints.locations import resolve

    return run.fps or read_card(resolve(run.weights)).fps
