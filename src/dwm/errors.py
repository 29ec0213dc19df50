"""What reaches the user as one clear line. Anything that is not a `DwmError` is a bug and shows its trace."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DwmError(Exception):
    """The user's input is at fault: the message names the file, the field, what was found and the fix, on one line."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        # What libraries say, and names in files, may hold line breaks.
        super().__init__(" ".join(message.splitlines()))


class CheckFailed(DwmError):
    """A check that ran to its end and found faults (`doctor`, `parity`, `data check`)."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; nearest: X"` for the known name that resembles `name` most, or an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; nearest: {found[0]}" if found else ""
