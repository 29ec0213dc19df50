"""JSON from outside: `parse_json` gives plain values, or one line that says where it is no JSON. Opens no file.

A byte order mark, as Windows' editors write it, is passed by. NaN, infinite and endless numbers, halves of characters and endless
nesting are refused here, so that nothing behind has to reckon with them.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from dwm.errors import DwmError

DEEPEST = 100
"""Lists and objects within one another; no file that we know goes beyond 12."""
LFS = b"version https://git-lfs"
HALF = re.compile("[\ud800-\udfff]")
STRINGS = re.compile(rb'"[^"]*"')
AGAIN = "fetch it again"


def parse_json(data: bytes | str, name: str, fix: str = AGAIN, unique: bool = False, empty_cells: bool = False) -> Any:
    """The values of a whole JSON text. `name` is the file, `fix` what to do; `unique`: a key that stands twice is refused;
    `empty_cells`: NaN, as tables' writers put it where a cell is empty, is null.

    Raises DwmError for anything else than UTF-8 JSON of finite numbers and whole characters, `DEEPEST` deep at most.
    """
    content = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if not content.isascii():
        try:
            content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DwmError(
                f"{name}: is not UTF-8 text, so not JSON ({error.reason} at byte {error.start}); save it as UTF-8"
            ) from None
    if content.startswith(LFS):
        raise DwmError(f"{name}: {lfs_pointer()}")
    if _too_deep(content):
        raise DwmError(f"{name}: not JSON that we read: nested too deep (beyond {DEEPEST} lists or objects); {fix}")
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_unique if unique else None,
            parse_constant=_empty_cell if empty_cells else _no_number,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise DwmError(
            f"{name}:{error.lineno}:{error.colno}: not JSON: is no whole JSON file ({error.msg}); {fix}"
        ) from None
    except RecursionError:
        raise DwmError(f"{name}: not JSON that we read: nested too deep; {fix}") from None
    except ValueError as error:
        raise DwmError(f"{name}: not JSON: {str(error).partition(';')[0]}; {fix}") from None
    if b"\\ud" in content or b"\\uD" in content:
        check_characters(value, name, fix)
    return value


def lfs_pointer() -> str:
    """What is wrong with a file that Git LFS left its pointer for, and the fix."""
    return "is a pointer of Git LFS, not the file itself; run `git lfs pull` in its repository"


def check_pointer(path: Path) -> None:
    """Raises DwmError where the file is Git LFS's pointer to what should be there."""
    with path.open("rb") as file:
        if file.read(len(LFS)) == LFS:
            raise DwmError(f"{path}: {lfs_pointer()}")


def check_characters(value: Any, name: str, fix: str = AGAIN) -> None:
    """Raises DwmError where a text anywhere in the value holds half a character (a lone surrogate)."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, str) and not is_whole(value):
            raise DwmError(f"{name}: {value[:40]!r} is no UTF-8 text (it holds half a character); {fix}")


def is_whole(text: str) -> bool:
    """Whether a text holds whole characters only: it may come from bytes that are no UTF-8, or from JSON's `\\ud800`."""
    return text.isascii() or not HALF.search(text)


def _too_deep(content: bytes) -> bool:
    """Whether brackets stand deeper in one another than `DEEPEST`: peels the innermost away, all at once, until none is left.

    At the speed of copying, where a walk over the values would cost as much as the parsing.
    """
    if content.count(b"[") + content.count(b"{") <= DEEPEST:
        return False
    left = STRINGS.sub(b"", content.replace(b"\\\\", b"").replace(b'\\"', b"")).translate(None, NO_BRACKETS)
    for _ in range(DEEPEST):
        shorter = left.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(left):
            break  # brackets that do not fit: the parser says where
        left = shorter
    return max(left.count(b"["), left.count(b"{")) > DEEPEST or (b"[]" in left or b"{}" in left)


NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key!r} stands twice in one object")
        values[key] = value
    return values


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _empty_cell(name: str) -> None:
    if name != "NaN":
        _no_number(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is beyond the numbers that there are")
    return number
