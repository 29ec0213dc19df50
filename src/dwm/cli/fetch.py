"""`dwm fetch`: a file that scores need, by name, checked. Nothing else downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written


def fetch(
    name: Annotated[str, typer.Argument(help="inception (fid, kid, precision_recall), i3d (fvd) or efficientnet.")],
    output: flags.Output = Path("features"),
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Download a file that scores need, going on where an earlier try stopped, and check it."""
    hush(quiet or as_json)
    keep(f"what has come stays in {output}; the same command goes on from there")
    from dwm.runs.feature_files import fetch_features

    path = fetch_features(name, output)
    lines = ["checked:", *written([path]), f"`dwm evaluate --features {output}` finds it"]
    finish(lines, {"name": name, "path": path}, quiet, as_json)
