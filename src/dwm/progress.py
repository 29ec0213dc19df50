"""One live line for long work (what, done/total, rate, time left); plain lines every 30 s where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dwm.screen import plain, say

Item = TypeVar("Item")
PLAIN_INTERVAL = 30.0
QUIET: bool = False
"""Set once by the command line's --quiet."""


def track(items: Iterable[Item], what: str, total: int | None = None, unit: str = "") -> Generator[Item]:
    """Yields `items` and shows how far the work is. `total` defaults to len(items) where that is known."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if QUIET:
        yield from items
    elif sys.stderr.isatty():
        yield from _live(items, what, total, unit)
    else:
        yield from _plain(items, what, total, unit)


def note(text: str) -> None:
    """One line beside the progress, unless --quiet."""
    if not QUIET:
        say(text)


def _live(items: Iterable[Item], what: str, total: int | None, unit: str) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(plain(what)), total=total, rate="")
        started = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            bar.update(task, completed=count, rate=_rate(count, time.monotonic() - started, unit))


def _plain(items: Iterable[Item], what: str, total: int | None, unit: str) -> Iterator[Item]:
    started = reported_at = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - reported_at >= PLAIN_INTERVAL:
            reported_at = now
            left = "" if total is None else f", {(total - count) * (now - started) / count:.0f} s left"
            say(f"{what}: {count}/{total or '?'}, {_rate(count, now - started, unit)}{left}")


def _rate(count: int, seconds: float, unit: str) -> str:
    return f"{count / max(seconds, 1e-9):.3g} {unit}/s".replace("  ", " ")
