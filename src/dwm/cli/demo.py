"""`dwm demo`: everything once, from nothing to a page to look at."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, note, written
from dwm.cli.runs import saved


def demo(
    output: flags.Output = Path("output/demo"),
    weights: flags.OptionalWeights = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same result.")] = None,
    fast: flags.Fast = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    device: flags.OptionalDevice = None,
    dtype: flags.OptionalDtype = None,
    config: flags.Config = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Build a town, generate a six-camera video from one clip's layout, re-prompt it, score both, write a page."""
    hush(quiet or as_json)
    keep(f"what is in {output} is whole, the rest is missing; go on with: dwm demo -o {output}")
    from dwm.runs.demo import DemoRun
    from dwm.runs.demo import demo as run_demo

    options = {
        "weights": weights,
        "seed": seed,
        "device": device,
        "fast": fast,
        "steps": steps,
        "guidance": guidance,
        "dtype": dtype and dtype.value,
    }
    run = saved(DemoRun, config, options)
    result = run_demo(run, output, partial(note, quiet=quiet or as_json))
    lines = [
        f"done in {result.total:.0f} s, {result.memory / 1e9:.1f} GB at the peak; written:",
        *written(result.files),
        *(f"{line.name}: {line.value}" for line in result.scores.lines()),
        f"look at it: open {output / 'report.html'} in a browser",
    ]
    values = {
        "files": result.files,
        "scores": result.scores.values(),
        "seconds": result.total,
        "peak_memory": result.memory,
    }
    finish(lines, values, quiet, as_json)
