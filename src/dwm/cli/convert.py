"""`dwm convert`: configs of OpenDWM as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.say import finish, hush

app = typer.Typer(
    help="Turn configs of OpenDWM into ours.",
    epilog=flags.example("dwm convert config ctsd_35_tirda_bm_nusc_a.json -o runs/mine.json"),
    no_args_is_help=True,
)


@app.command(epilog=flags.example("dwm convert config ctsd_35_tirda_bm_nusc_a.json -o runs/mine.json"))
def config(
    file: Annotated[Path, typer.Argument(help="A JSON config of OpenDWM.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Translate a config; every key that has no counterpart here is listed with its reason."""
    hush(quiet or as_json)
    keep(f"nothing was written to {output}")
    from dataclasses import asdict

    from dwm.opendwm.runs import ODDITIES, convert
    from dwm.recipes import Recipe, save

    made = convert(file)
    path = save(made.run, output.parent, output.name)
    told = made.translation
    lines = [f"{item.path}: left out; {item.reason}" for item in told.ignored]
    lines += [f"note: {note}" for note in told.notes]
    if isinstance(made.run, Recipe):
        lines += ["compatibility is reference, which keeps OpenDWM's oddities (set it to ours to leave them):"]
        lines += [f"  {oddity}" for oddity in ODDITIES]
        lines += [f"written: {path}", f"look at it: dwm show config -c {path}"]
    else:
        lines += [f"written: {path}"]
    values = {
        "output": path,
        "kind": told.kind,
        "ignored": [asdict(item) for item in told.ignored],
        "notes": told.notes,
    }
    finish(lines, values, quiet, as_json)
