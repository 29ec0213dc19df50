"""Names from outside as paths. Every name of a file, map, scene or camera that data bring goes through `inside` or `plain_name`.

What leads out of its folder, or means something else on another system, is refused, in reading as in writing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dwm.errors import DwmError

LONGEST, LONGEST_PART = 1024, 200
"""Bytes of a name, and of a part of it: file systems end at 255, and what is written beside needs some of them."""
OWN = ".dwm"
"""Name of the folder, beside the data, in which tables are kept; no data lie there."""
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
"""Names that Windows gives to devices, whatever follows the dot."""
DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ODD = (
    r"^$|^/|//|/$|\\|^[A-Za-z]:|[\x00-\x1f\x7f]|(?:^|/)\.{1,2}(?:/|$)|(?:^|/)\.dwm(?:/|$)"
    r"|[^\x00-\x7f]|[^/]{200,}|^.{1000,}$|(?i:(?:^|/)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|/|$))"
)
"""Finds, in a column at once, all names that `fault` may refuse, and a few others."""


def inside(name: str, where: str) -> str:
    """The same name, as a path below some folder. Raises DwmError, naming `where` it stands, for one that is none."""
    if (wrong := fault(name)) is not None:
        raise DwmError(f"{where}: the name {printable(name)} {wrong}; correct it where it comes from")
    return name


def plain_name(name: str, where: str) -> str:
    """The same for a name that shall be one file or folder, without separators."""
    inside(name, where)
    if "/" in name:
        raise DwmError(f"{where}: the name {printable(name)} holds a separator; rename it where it comes from")
    return name


def fault(name: str) -> str | None:
    """What keeps a name from being a path below a folder; None where nothing does."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is no UTF-8 text"
    parts = name.split("/")
    if name.startswith("/") or DRIVE.match(name):
        return "is absolute, and so leads outside"
    if ".." in parts:
        return "leads outside (..)"
    if CONTROL.search(name):
        return "holds a control character"
    if "\\" in name:
        return "holds a backslash, which separates folders on some systems only; write /"
    if not all(parts) or "." in parts:
        return "is no name of a file" if name else "is empty"
    if size > LONGEST or any(len(one.encode()) > LONGEST_PART for one in parts):
        return f"is too long ({size} bytes; {LONGEST} at most, {LONGEST_PART} between two /)"
    if OWN in parts:
        return f"lies in {OWN}, where only what dwm computed lies"
    reserved = next((one for one in parts if RESERVED.fullmatch(one)), None)
    return None if reserved is None else f"is reserved ({reserved} is a device on some systems)"


def check_column(table: str, rows: pa.Table, column: str, key: str = "token", single: bool = False) -> None:
    """Raises DwmError, naming table and row, for the first name of a column that is no path below the data set.

    `single`: names are of one file or folder each. Empty names are passed by where they stand for nothing at all (`single`).
    """
    names = rows[column]
    odd = pc.match_substring_regex(names, rf"{ODD}|/" if single else ODD)
    for row in pc.indices_nonzero(pc.fill_null(odd, False)).to_pylist():
        name = names[row].as_py()
        if not (single and not name):
            (plain_name if single else inside)(name, f"{table}: row {rows[key][row]}: {column}")


def check_inside(folder: Path, paths: Iterable[Path]) -> None:
    """Raises DwmError where one of the paths, its links followed, lies outside of the folder."""
    root = Path(os.path.realpath(folder))  # unlike `resolve`, no fault of its own where links go in a circle
    for path in paths:
        if not Path(os.path.realpath(path)).is_relative_to(root):
            raise DwmError(f"{path}: leads out of {folder}; nothing is written there")


def printable(name: str) -> str:
    """A name for a message: quoted, escaped, its middle left out where it is long."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:50]}…{text[-20:]}"
