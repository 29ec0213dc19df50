"""How much of a file may be taken into memory. Sizes that files declare are compared with these before anything is allocated."""

from __future__ import annotations

import os
import re

from dwm.errors import DwmError

VARIABLE = "DWM_MAX_BYTES"
"""Names the environment variable that takes the place of every bound below, for data that is truly that large."""

FILE = 1 << 30
"""Bytes of any file, or member of an archive, that is read whole."""
TEXT = 256 << 20
"""Of JSON that is read whole: as objects it takes up to twenty times as much memory."""
PICTURE = 256 << 20
"""Of a picture or a sweep, as it is stored."""
ROW = 64 << 20
"""Of one row of a table that is read as a stream."""
TABLE = 1 << 34
"""Of a table with all its columns, unpacked."""
WEIGHTS = 1 << 36
"""Of all tensors of one network."""
HEADER = 8 << 20
"""Of what an archive says of one member: its name, times, and where a sparse one has its holes."""
RATIO = 200
"""How many times larger a large member may be than it is packed: tables shrink to a twentieth, zeros to a thousandth."""
RATIO_FROM = 64 << 20
"""Bytes below which a member may shrink as much as it likes."""

SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def bound(usual: int) -> int:
    """The bound in bytes: the usual one, or what `DWM_MAX_BYTES` says (`8G`, `500M`, `4e9`)."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return usual
    match = SIZE.fullmatch(text)
    if match is None:
        raise DwmError(f"{VARIABLE}={text!r}: is no number of bytes; write for example {VARIABLE}=8G")
    return int(float(match[1]) * (1 << UNITS[match[2].lower()]))


def check_size(name: str, size: int, usual: int) -> None:
    """Raises DwmError where `size` bytes of the file `name` are more than may be taken."""
    if size > (most := bound(usual)):
        raise DwmError(
            f"{name}: {words(size)} are more than is read of such a file ({words(most)}); if it is sound, raise the bound "
            f"with {VARIABLE}={words(size, up=True)}"
        )


def words(size: int, up: bool = False) -> str:
    """A number of bytes for people; `up`: as `DWM_MAX_BYTES` takes it, rounded up."""
    for unit, shift in (("G", 30), ("M", 20), ("k", 10)):
        if size >= 1 << shift:
            return f"{-(-size >> shift)}{unit}" if up else f"{size / (1 << shift):.1f} {unit}iB"
    return str(size) if up else f"{size} bytes"
