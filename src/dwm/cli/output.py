"""How a verb ends: what it made, where, and how to look at it; or one JSON object for scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dwm import progress, screen


def hush(quiet: bool) -> None:
    """Called first by every verb: --quiet and --json keep progress off the screen."""
    progress.QUIET = quiet


def finish(lines: Sequence[str], values: Mapping[str, Any], quiet: bool, as_json: bool) -> None:
    """The last lines of a verb."""
    if as_json:
        print(screen.without_keys(json.dumps(dict(values), default=str)))
    elif not quiet:
        screen.say(*lines, to_result=True)


def note(text: str, quiet: bool) -> None:
    """A line about what is happening now; on stderr, so that stdout stays the result."""
    if not quiet:
        screen.say(text)


def measure(path: Path) -> str:
    """`12.3 MB` of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    size = float(sum(item.stat().st_size for item in files))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def written(paths: Sequence[Path]) -> list[str]:
    """One line for each thing that was made: path and size."""
    return [f"  {path}  {measure(path)}" for path in paths]
