"""`dwm train`: trains a recipe, or goes on with a run that was stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written
from dwm.cli.runs import choose_lidar, choose_training, on_data

if TYPE_CHECKING:
    from dwm.config.lidar import LidarRecipe


def train(
    name: Annotated[str | None, typer.Argument(help="A recipe (`dwm show recipes`).", show_default=False)] = None,
    overrides: flags.Overrides = None,
    output: flags.OptionalOutput = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    data: flags.Data = None,
    config: flags.Config = None,
    root: flags.Root = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Train a recipe, or whichever stage of a campaign is due. Its folder, runs/NAME by default, holds settings, saves, curves,
    previews and the weights."""
    first = os.environ.get("RANK", "0") == "0"  # of several processes the first one speaks
    hush(quiet or as_json or not first)
    if (sweeps := choose_lidar(name, config, overrides, root)) is not None:
        _train_lidar(sweeps, name, config, data, output, resume, quiet or not first, as_json and first)
        return
    run = choose_training(name, config, overrides, root)
    if data is not None:
        run = on_data(run, data, quiet or as_json or not first)
    output = output or Path("runs") / (run.name or "run")
    keep(lambda: _kept_saves(name, config, output))
    from dwm.config import Campaign, Recipe
    from dwm.runs.campaign import train_campaign
    from dwm.runs.train import train_run

    if config is not None and isinstance(run, Recipe):
        from dwm.opendwm.runs import check_ready

        check_ready(run, config, train=True)
    weights = train_campaign(run, output) if isinstance(run, Campaign) else train_run(run, output, resume)
    lines = [
        f"trained {run.name}; weights:",
        *written([weights]),
        f"try them: dwm generate --weights {weights} --data …",
    ]
    finish(lines, {"weights": weights, "output": output}, quiet or not first, as_json and first)


def _train_lidar(
    run: LidarRecipe,
    name: str | None,
    config: Path | None,
    data: str | None,
    output: Path | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """The same of a run of sweeps."""
    output = output or Path("runs") / (run.name or "run")
    keep(lambda: _kept_saves(name, config, output))
    from dwm.config.own_data import lidar_with_data
    from dwm.runs.lidar.train import train_lidar

    if data is not None:
        run = lidar_with_data(run, data)
    if config is not None:
        from dwm.opendwm.runs import check_ready

        check_ready(run, config, train=True)
    weights = train_lidar(run, output, resume)
    lines = [
        f"trained {run.name}; weights:",
        *written([weights]),
        f"try them: dwm generate -c {output / 'config.json'} --weights {weights}",
    ]
    finish(lines, {"weights": weights, "output": output}, quiet, as_json)


def _kept_saves(name: str | None, config: Path | None, output: Path) -> str:
    saves = sorted(output.glob("**/checkpoints/[0-9]*")) + sorted(output.glob("*/[0-9]*/state.json"))
    again = f"dwm train {name or f'-c {config}'} --resume -o {output}"
    return f"{len(saves)} saves are kept in {output}; go on with: {again}"
