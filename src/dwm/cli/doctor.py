"""`dwm doctor`: is everything here that is needed; do our numbers agree with recorded ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush
from dwm.screen import say

if TYPE_CHECKING:
    from rich.table import Table

    from dwm.doctor import Check
    from dwm.opendwm.parity.run import CaseResult

app = typer.Typer(
    help="Check this machine: versions, devices, memory, codec, weights, base model, data; a fix for each fault.",
    epilog=flags.example("dwm doctor", "dwm doctor parity vectors/models --dtype bfloat16"),
    invoke_without_command=True,
)


class Dtype(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@app.callback()
def doctor(
    context: typer.Context,
    data: Annotated[Path, typer.Option("--data", help="Where the data set should be.")] = Path("data/nuscenes"),
    base_model: Annotated[Path, typer.Option("--base-model", help="Where the base model should be.")] = Path(
        "base_model/stable-diffusion-3.5-medium"
    ),
    weights: flags.Weights = "town",
    as_json: flags.Json = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from dwm.doctor import State, check_environment
    from dwm.errors import CheckFailed

    checks = check_environment(data, base_model, weights)
    lines = [line for check in checks for line in _lines(check)]
    finish(lines, {check.name: asdict(check) for check in checks}, False, as_json)
    faults = [check.name for check in checks if check.state is State.fault]
    if faults:
        raise CheckFailed(f"doctor: {len(faults)} faults ({', '.join(faults)}); the fixes stand beside them")


def _lines(check: Check) -> list[str]:
    lines = [f"{check.state.value:7} {check.name:12} {check.found}"]
    return [*lines, f"{'':21}→ {check.fix}"] if check.fix else lines


@app.command(epilog=flags.example("dwm doctor parity vectors/models --device cuda --dtype bfloat16"))
def parity(
    folder: Annotated[Path, typer.Argument(help="A recorded case, or a folder of such.")],
    device: flags.Device = "auto",
    dtype: Annotated[Dtype, typer.Option(help="What is computed in.")] = Dtype.float32,
    base_models: Annotated[Path | None, typer.Option("--base-models", help="Folder of the cases' base models.")] = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Compute recorded cases again and tell the largest error of each; beyond its bound, the exit status is 3."""
    hush(quiet or as_json)
    keep("nothing is written by this check")
    import torch

    from dwm.devices import pick_device, reproducible
    from dwm.errors import CheckFailed
    from dwm.opendwm.parity.run import parity_table, run_parity

    settings = reproducible(device)
    if settings and not (quiet or as_json):
        say("set: " + " ".join(f"{key}={value}" for key, value in settings.items()), to_result=True)
    results = run_parity(folder, pick_device(device), getattr(torch, dtype.value), base_models)
    named = _named(results)
    failed = [name for name, result in named.items() if not result.passed]
    values = {name: {"passed": one.passed, "error": one.error, "note": one.note} for name, one in named.items()}
    lines = [f"{name}: {result.note}" for name, result in named.items() if result.note]
    silent = sum(bool(result.note) for result in results)
    lines.append(
        f"{len(results) - len(failed)} of {len(results)} cases agree"
        + (f"; {silent} could not be computed" if silent else "")
    )
    if not (quiet or as_json):
        _show(parity_table(results))
    finish(lines, values, quiet, as_json)
    if failed:
        raise CheckFailed(f"parity: {len(failed)} of {len(results)} cases failed: {', '.join(failed[:10])}")


@app.command(epilog=flags.example("dwm doctor precision", "dwm doctor precision -c output/generate/config.json"))
def precision(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A saved run of `dwm generate`.")] = None,
    data: flags.Data = None,
    weights: flags.OptionalWeights = None,
    frames: flags.Frames = None,
    steps: flags.Steps = None,
    device: flags.OptionalDevice = None,
    dtype: flags.OptionalDtype = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Generate a run's clip in float32 and in half precision, and tell how far the pictures are apart."""
    hush(quiet or as_json)
    keep("nothing is written by this check")
    from dwm.cli.runs import saved
    from dwm.devices import pick_device
    from dwm.runs.generate import GenerationRun
    from dwm.runs.precision import precision_line
    from dwm.runs.precision_check import differences

    values = {"data": data, "weights": weights, "frames": frames, "steps": steps, "device": device}
    run = saved(GenerationRun, config, {**values, "dtype": "auto" if dtype is None else dtype.value})
    if run.data is None and not run.prompt:
        run = run.with_(prompt=("daytime. clear.",), force=True)
    precisions = differences(run)
    lines = [precision_line("auto", pick_device(run.device)), *(one.line() for one in precisions)]
    finish(lines, {one.dtype: {"psnr": one.psnr, "largest": one.largest} for one in precisions}, quiet, as_json)


def _named(results: list[CaseResult]) -> dict[str, CaseResult]:
    """The results by name, or by folder where several cases have one name."""
    count = Counter(result.name for result in results)
    return {result.name if count[result.name] == 1 else str(result.folder): result for result in results}


def _show(table: Table) -> None:
    import sys

    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)
