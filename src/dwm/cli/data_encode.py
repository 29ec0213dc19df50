"""`dwm data encode`: makes the latents and text embeddings of a run once, so that training needs no base model in memory."""

from __future__ import annotations

from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush
from dwm.cli.runs import choose_run, on_data

EXAMPLE = "dwm data encode sd35-layout-nuscenes --data data/nuscenes -o data/store --workers 8"


def encode(
    name: Annotated[str | None, typer.Argument(help="A recipe (`dwm show recipes`).", show_default=False)] = None,
    overrides: flags.Overrides = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The store: a folder, or a URL such as s3://bucket/store.")
    ] = None,
    data: flags.Data = None,
    config: flags.Config = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that read pictures.")] = 2,
    part: Annotated[str, typer.Option("--part", help="k/n: only part k of n, to share the work out.")] = "1/1",
    device: flags.Device = "auto",
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Store the latents and text embeddings that training a recipe asks for; goes on where it was stopped."""
    hush(quiet or as_json)
    overrides = [*(overrides or ()), f"data.workers={workers}", f"device={device}"]
    if output is not None:
        overrides.append(f"data.store={output}")
    run = choose_run(name, config, overrides)
    if data is not None:
        run = on_data(run, data, quiet or as_json)
    keep(f"what was written to {run.data.store} is kept; run the command again to go on")
    from dataclasses import asdict

    from dwm.runs.encode import encode_run

    number, count = flags.part(part) or (1, 1)
    result = encode_run(run, (number - 1, count))
    which = name if name and "=" not in name else f"-c {config}"
    lines = [
        f"{result.latents} latents and {result.texts} texts were encoded, "
        f"{result.latents_before} and {result.texts_before} were there:",
        f"  {run.data.store}",
        f"train from it: dwm train {which} data.store={run.data.store}",
    ]
    finish(lines, {**asdict(result), "store": run.data.store}, quiet, as_json)
