"""`dwm finetune`: gives weights the look of another data set in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written
from dwm.cli.runs import choose_run
from dwm.errors import DwmError


def finetune(
    weights: Annotated[str, typer.Argument(help="`town`, or a folder of weights with their base model.")] = "town",
    overrides: flags.Overrides = None,
    data: flags.Data = None,
    output: flags.OptionalOutput = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Give small weights the look of a data set of yours: some ten minutes of two cores, and a page with the same clip before and
    after. One scene is held out where there are several."""
    if "=" in weights:
        weights, overrides = "town", [weights, *(overrides or ())]
    if data is None:
        raise DwmError("--data: whose look? name a data set: a folder, an archive or a URL")
    flags.weights_there(weights)
    hush(quiet or as_json)
    output = output or Path("runs") / "finetune"
    keep(f"what was trained is kept; go on with: dwm finetune {weights} --data {data} -o {output} --resume")
    from dwm.config import resolve
    from dwm.runs.finetune import finetune as run_finetune
    from dwm.runs.finetune import finetuning

    run = resolve(
        values=finetuning(choose_run("town-finetune", None, None), weights, data), overrides=list(overrides or ())
    )
    result = run_finetune(run, output, resume)
    lines = [
        f"finetuned {weights} in {result.seconds:.0f} s; weights and pages:",
        *written([result.weights, *result.files]),
        "the clip shown was held out"
        if result.held_out
        else "the clip shown was trained on: the set has one scene only",
        f"look at it: open {output / 'report.html'} in a browser",
    ]
    finish(lines, {"weights": result.weights, "files": result.files, "held_out": result.held_out}, quiet, as_json)
