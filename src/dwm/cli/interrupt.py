"""Ctrl-C ends a run within two seconds, says what is kept and how to go on, and leaves no worker behind.

A verb says with `keep` what it would leave. The main thread unwinds as usual (so half-written files are removed); where it is
held up in one long call, a watcher ends the process in its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from dwm.screen import say

PATIENCE = 1.5
"""Seconds that a run has to unwind by itself."""
STATUS = 130

_remains: Callable[[], str] = lambda: "nothing was written"  # noqa: E731
_said = threading.Lock()
_ending: list[int] = []
"""The process that was asked to end, once it was."""


def keep(says: str | Callable[[], str]) -> None:
    """What to tell the user if the run is stopped now: what is kept and the command that goes on from there."""
    global _remains
    _remains = says if callable(says) else lambda: says


def watch() -> None:
    """Starts to watch for Ctrl-C; also SIGTERM, which asks for the same."""
    if threading.current_thread() is not threading.main_thread():
        return
    # Leaving at once leaves multiprocessing's semaphores to its tracker, which then warns of what it was made for.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    owner = os.getpid()

    def ask(number: int, frame: object) -> None:
        if os.getpid() == owner and _ending:
            leave()  # asked twice: there is no time to unwind
        _ending[:] = [os.getpid()]
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    sys.unraisablehook = _unless_interrupted(sys.unraisablehook)
    threading.Thread(target=_end, args=(receive,), name="ctrl-c", daemon=True).start()


def interrupted() -> bool:
    """Whether this process was asked to end: whatever error it unwinds with then (libraries that are being imported turn Ctrl-C
    into errors of their own) is no fault."""
    return _ending == [os.getpid()]


def _unless_interrupted(tell: Callable[..., object]) -> Callable[..., None]:
    """What Python says of errors that it cannot raise, but not of a Ctrl-C that met it in the middle of tidying up."""

    def tell_others(error: object) -> None:
        if not interrupted():
            tell(error)

    return tell_others


def _end(receive: int) -> None:
    while True:
        received = os.read(receive, 1)
        if received and received[0] in (signal.SIGINT, signal.SIGTERM):
            break
    time.sleep(PATIENCE)
    leave()


def leave() -> None:
    """Says what is kept and ends the process at once, without waiting for threads or workers."""
    if not _said.acquire(blocking=False):
        return
    with contextlib.suppress(Exception):
        if os.environ.get("RANK", "0") == "0":  # of several processes the first one speaks
            say(f"dwm: interrupted; {_remains()}")
    _end_workers()
    os._exit(STATUS)


def _end_workers() -> None:
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.kill()
