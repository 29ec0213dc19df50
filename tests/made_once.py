"""What takes long to make and several test processes want: the first makes it, and each has a copy of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def copy_of(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory) -> Path:
    """A folder with what `make` writes into an empty one; a process of pytest-xdist finds what another has made in this run."""
    run = factory.getbasetemp()
    run = run.parent if "PYTEST_XDIST_WORKER" in os.environ else run
    original = run / f"{name}-original"
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not original.exists():
            beside = run / f"{name}-beside"
            shutil.rmtree(beside, ignore_errors=True)  # of a process that failed
            beside.mkdir()
            make(beside)
            beside.rename(original)
    return Path(shutil.copytree(original, factory.mktemp(name) / name, symlinks=True))
