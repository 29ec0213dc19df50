"""How many threads compute: as many as there are cores that nobody else uses. Two processes' threads on one core wait for each
other at every layer, which costs many times what the second core gains."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from dwm.devices.machine import usable_cores

STAT = Path("/proc/stat")
SAID = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Who sets one of these has decided."""
LOOK = 0.1
"""Seconds of looking; the counters go by hundredths."""


def use_free_cores() -> int:
    """Lets PyTorch compute on the cores that are free now, at least one, and returns how many. For what ends soon: a run of
    days should not keep what its first tenth of a second saw."""
    cores = usable_cores()
    if cores > 1 and not any(name in os.environ for name in SAID):
        torch.set_num_threads(min(torch.get_num_threads(), free_cores(cores)))
    return torch.get_num_threads()


def free_cores(cores: int) -> int:
    """How many of the `cores` that this process may use are idle, rounded, at least one; all where nothing tells it."""
    before, started = _idle(), time.monotonic()
    if before is None:
        return cores
    time.sleep(LOOK)
    after = _idle() or before
    ticks = (time.monotonic() - started) * os.sysconf("SC_CLK_TCK")
    return max(1, min(cores, round((after - before) / ticks)))


def _idle() -> int | None:
    """Ticks that the cores of this process have been idle for since the machine's start."""
    try:
        lines = [line.split() for line in STAT.read_text(encoding="utf-8").splitlines()]
        mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        return sum(int(words[4]) + int(words[5]) for words in lines if words and words[0] in mine)
    except (OSError, AttributeError, ValueError, IndexError):
        return None
