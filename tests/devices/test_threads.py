"""Threads are as many as cores are free, unless the user says how many."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dwm.devices import threads, usable_cores, use_free_cores

TICK = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int, cores: int) -> None:
    """A machine whose first `busy` cores do not idle, as its kernel counts."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    started = time.monotonic()

    class Counted(type(tmp_path)):
        def read_text(self, *_: object, **__: object) -> str:
            waited = round((time.monotonic() - started) * TICK)
            rows = [f"cpu{n} 0 0 0 {5000 + (0 if n < busy else waited)} 0 0" for n in range(cores + 2)]
            return "\n".join(["cpu 0 0 0 0 0", *rows, "intr 7"])

    monkeypatch.setattr(threads, "STAT", Counted(tmp_path))


@pytest.mark.parametrize(("busy", "free"), [(0, 8), (3, 5), (8, 1)])
def test_threads_are_as_many_as_idle_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int, free: int
) -> None:
    stat(tmp_path, monkeypatch, busy, 8)
    assert abs(threads.free_cores(8) - free) <= 1  # ticks are counted in whole ones


@pytest.mark.usefixtures("threads_as_before")
def test_a_number_that_the_user_gives_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat(tmp_path, monkeypatch, 8, 8)
    torch.set_num_threads(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert use_free_cores() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert use_free_cores() == 1


def test_without_the_kernels_counters_all_cores_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "STAT", tmp_path / "missing")
    assert threads.free_cores(usable_cores()) == usable_cores()


@pytest.mark.parametrize("said", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_threads_of_the_command_wait_a_moment_only_unless_told(said: dict[str, str]) -> None:
    """PyTorch's own default is to turn in place for milliseconds."""
    code = "from dwm.cli.start import wait_briefly; wait_briefly(); import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **said}, capture_output=True, text=True, check=True
    )
    expected = {"{}": "500", "7": "7"}.get(said.get("GOMP_SPINCOUNT", "{}" if not said else ""), "None")
    assert ran.stdout.strip() == expected
