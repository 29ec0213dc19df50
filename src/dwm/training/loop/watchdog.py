"""Ends a run that hangs, and leaves where it hung: the stacks of all threads in the run's folder."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dwm.screen import say

STATUS = 1


class Watchdog:
    """Within its block, `beat` must be called at least every `limit` seconds (0: any), else the process ends."""

    def __init__(self, limit: float, path: Path, says: Callable[[], str]):
        self.limit, self.path, self.says = limit, path, says
        self._stop = threading.Event()
        self.beat()

    def beat(self) -> None:
        self._last = time.monotonic()

    def __enter__(self) -> Watchdog:
        if self.limit:
            threading.Thread(target=self._watch, name="stall", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(min(5.0, self.limit / 10)):
            if time.monotonic() - self._last > self.limit:
                self._end()

    def _end(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file, all_threads=True)
        say(f"dwm: no step for {self.limit:g} s; {self.says()}; where each thread stood: {self.path}")
        os._exit(STATUS)
