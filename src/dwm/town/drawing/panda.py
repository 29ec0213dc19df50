"""Panda3D's core, imported when a picture is drawn: it is an extra, and streets, traffic and captions need none of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dwm.errors import DwmError


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        with _uninterrupted():
            from panda3d import core
    except ImportError as error:
        raise DwmError("the town is drawn by Panda3D, which is not here: pip install 'dwm[town]'") from error
    globals()[name] = value = getattr(core, name)
    return value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits, for the tenth of a second that it is: met by one while it registers its types, Panda3D ends the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread():  # others meet none
        yield
        return
    came: list[int] = []
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])
