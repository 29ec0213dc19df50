"""Where the command `dwm` begins: hears Ctrl-C before the rest is imported, which takes a moment. Imports nothing itself."""

from __future__ import annotations

import os
from _signal import (
    SIGINT,
    SIGTERM,
    signal,
)  # what `signal` wraps: that module takes longer to import than Python to start

STATUS = 130


def run() -> None:
    """The console command; see `dwm.cli.main.run`."""
    signal(SIGINT, _leave)
    signal(SIGTERM, _leave)
    wait_briefly()
    from dwm.cli.main import run as run_verb

    run_verb()


def wait_briefly() -> None:
    """Threads of PyTorch that have nothing to do turn in place for some 30 µs before they sleep, not for many milliseconds: where
    other processes compute on the same cores, those waited for nothing but each other. Read when PyTorch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "500")
        os.environ.setdefault("KMP_BLOCKTIME", "1")


def _leave(number: int, frame: object) -> None:
    """At once: nothing has begun, so there is nothing to tidy up. Written to the file itself, whatever is half imported."""
    os.write(2, b"dwm: interrupted; nothing was written\n")
    os._exit(STATUS)


if __name__ == "__main__":
    run()
