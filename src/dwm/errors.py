"""What reaches the user as one clear line. Anything that is not a `DwmError` is a bug and shows its trace."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterable
from pathlib import Path

REASONS = "DWM_REASONS"
"""Names a folder in the environment of processes of one run: why they ended is left there, for their starter to say once."""


class DwmError(Exception):
    """The user's input is at fault: the message names the file, the field, what was found and the fix, on one line."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        # What libraries say, and names in files, may hold line breaks.
        super().__init__(" ".join(message.splitlines()))


class CheckFailed(DwmError):
    """A check that ran to its end and found faults (`doctor`, `parity`, `data check`)."""

    exit_code = 3


def nearest(name: str, names: Iterable[str]) -> str:
    """`"; nearest: X"` for the known name that resembles `name` most, or an empty string."""
    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.4)
    return f"; nearest: {matches[0]}" if matches else ""


def leave_reason(text: str) -> bool:
    """Leaves why this process ends for the one that started it; False where nobody asks for it."""
    folder = os.environ.get(REASONS)
    if not folder or not Path(folder).is_dir():
        return False
    (Path(folder) / f"{time.time_ns():020}-{os.getpid()}").write_text(text, encoding="utf-8")
    return True


def first_reason(folder: Path) -> str | None:
    """What the first process to end left; those that it took down with it say other things."""
    left = sorted(folder.iterdir())
    return left[0].read_text("utf-8") if left else None
