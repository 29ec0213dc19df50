"""Files that are nearly right: seeded changes of small valid ones, and what using each of them comes to.

`fuzz` tries some hundred a format, the same ones in every run; DWM_FUZZ=50 tries fifty times as many, DWM_FUZZ_SEED others.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from dwm.errors import DwmError

TIMES = int(os.environ.get("DWM_FUZZ", "1"))
SEED = int(os.environ.get("DWM_FUZZ_SEED", "0"))
SHOWN = 6
SLOW = 20.0
"""Seconds within which one input must be done with, on a crowded machine too."""
NAN, INFINITE = float("nan"), float("inf")

HEADS = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"7" * 64 + b"\nsize 4938724128\n",
    *(
        b"",
        b"\0" * 100,
        b"<!DOCTYPE html><title>Sign in</title>",
        b"PK\5\6" + b"\0" * 18,
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
    ),
)
ODD = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e300, -1e300, NAN, INFINITE, -INFINITE, 1e-300, 0.5),
    *("", " ", "x", "\ud800", "\x1b[31m\r\nred", "../../x", "/etc/passwd", "a\0b", "x" * 3000, "été", "null", "1e999"),
    *([], [[]], {}, {"a": 1}, [None], [1, 2], [1, 2, 3], [[1]], ["x"], [0, 0, 0, 0]),
)
"""What may stand in a file in the place of any value."""


def odd(choose: random.Random) -> Any:
    if choose.random() < 0.03:
        return nested(choose.choice((50, 150, 3000)))
    return copy.deepcopy(choose.choice(ODD))


def nested(depth: int) -> Any:
    """Lists within one another, not deeper than Python itself can write them."""
    value: Any = []
    for _ in range(min(depth, 400)):
        value = [value]
    return value


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths to all values below."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        found += places(below, (*path, key))
    return found


def changed(value: Any, choose: random.Random) -> tuple[Any, str]:
    """A copy with one to three places changed, and what was done."""
    value, done = copy.deepcopy(value), []
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        paths = places(value)
        if not paths or choose.random() < 0.02:
            return odd(choose), "the whole value"
        path = choose.choice(paths)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        holder_change = choose.random()
        key = path[-1]
        if holder_change < 0.15:
            del holder[key]
            done.append(f"{path} left out")
        elif holder_change < 0.25 and isinstance(holder, dict):
            holder[choose.choice(("extra", "", "\ud800", "a\0b"))] = odd(choose)
            done.append(f"beside {path} another key")
        elif holder_change < 0.3 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
            done.append(f"{path} twice")
        elif holder_change < 0.4:
            other = value
            for step in choose.choice(paths):
                other = other[step] if step in (other if isinstance(other, dict) else range(len(other))) else None
                if not isinstance(other, dict | list):
                    break
            holder[key] = copy.deepcopy(other)
            done.append(f"{path} as another place")
        else:
            holder[key] = odd(choose)
            done.append(f"{path} = {str(holder[key])[:40]!r}")
    return value, "; ".join(done)


def json_file(value: Any, choose: random.Random) -> tuple[bytes, str]:
    """A JSON file with something wrong in its values or in its bytes."""
    if choose.random() < 0.25:
        return damaged(json.dumps(value).encode(), choose)
    value, done = changed(value, choose)
    return json.dumps(value).encode(), done


def damaged(data: bytes, choose: random.Random) -> tuple[bytes, str]:
    """Bytes that are cut, flipped, doubled, or another file's."""
    at = choose.randrange(max(1, len(data)))
    stop = min(len(data), at + choose.choice((1, 4, 64, 1000)))
    kind = choose.randrange(9)
    if kind == 0:
        return data[:at], f"cut at {at}"
    if kind == 1:
        return data[:at] + data[stop:], f"{at} to {stop} left out"
    if kind == 2:
        return data[:stop] + data[at:], f"{at} to {stop} twice"
    if kind == 3:
        return data[:at] + bytes(stop - at) + data[stop:], f"{at} to {stop} zero"
    if kind == 4:
        return data[:at] + choose.randbytes(stop - at) + data[stop:], f"{at} to {stop} others"
    if kind == 5:
        return choose.choice(HEADS), "another file"
    if kind == 6:
        return b"\xef\xbb\xbf" + data, "a byte order mark"
    whole = bytearray(data)
    for _ in range(choose.choice((1, 2, 8))):
        if whole:
            whole[choose.randrange(len(whole))] ^= 1 << choose.randrange(8)
    return bytes(whole), "bits flipped"


def fuzz(
    count: int, make: Callable[[random.Random], tuple[Any, str]], use: Callable[[Any], object], seed: int = 1
) -> None:
    """Uses `count` inputs (times DWM_FUZZ): each must give a result, or a DwmError of one line, within bounded time."""
    wrong: list[str] = []
    for number in range(count * TIMES):
        choose = random.Random(f"{SEED} {seed} {number}")
        given, done = make(choose)
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                use(given)
        except DwmError as error:
            if "\n" in str(error) or not str(error):
                wrong.append(f"{number}: {done}: several lines: {error!r:.300}")
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)
            ours = [f"{one.filename.rpartition('/dwm/')[2]}:{one.lineno}" for one in last if "/dwm/" in one.filename][
                -2:
            ]
            wrong.append(
                f"{number}: {done:.160}: {type(error).__name__}: {str(error)[:160]} at {' < '.join(reversed(ours))}"
            )
        if time.monotonic() - started > SLOW:
            wrong.append(f"{number}: {done}: took {time.monotonic() - started:.0f} s")
    assert not wrong, f"{len(wrong)} of {count * TIMES}:\n" + "\n".join(wrong[: SHOWN * TIMES])
