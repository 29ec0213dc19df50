"""Edits of a run: read from a file, laid under flags, done to a clip, with a line for what cannot be."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from dwm.clip import Clip
from dwm.config.files import read_json, validated
from dwm.data.edit_checks import edit_faults
from dwm.data.edits import Edits
from dwm.errors import DwmError

SHOWN = 5
"""How many faults of an edited clip are told."""


def read_edits(path: Path) -> Edits:
    """The edits of a file. Raises DwmError naming file and field of what is wrong."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise DwmError(f"{path}: expected an object {{…}} of edits, found {type(values).__name__}")
    return validated(Edits, values, str(path))


def all_edits(edits: Edits, file: Path | None = None, **flags: Any) -> Edits:
    """`edits` with what a file says laid over them, and the flags that were given over that."""
    chosen = {} if file is None else read_edits(file).model_dump(exclude_unset=True)
    chosen |= {name: value for name, value in flags.items() if value is not None}
    return validated(Edits, edits.model_dump() | chosen, "command line") if chosen else edits


def edited(clip: Clip, edits: Edits) -> Clip:
    """The clip with the edits. What they put where it cannot be is told, and stays: pictures show what was asked."""
    result = edits.edit(clip)
    faults = edit_faults(clip, result) if edits.scenery else []
    for text in faults[:SHOWN]:
        warnings.warn(f"edits: {clip.scene}: {text}", stacklevel=2)
    if len(faults) > SHOWN:
        warnings.warn(f"edits: {clip.scene}: and {len(faults) - SHOWN} more of this kind", stacklevel=2)
    return result
