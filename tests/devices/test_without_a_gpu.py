"""What a GPU would be used for, run on fake CUDA tensors at the published sizes: no tensors meet that lie on two devices, and
nothing waits for the device inside a step. An operation on two devices raises; see `pretended`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pretended import compiler

RUNS = Path(__file__).parent / "pretended" / "runs.py"
COPIES = 18
"""Copies of a micro-batch: twelve fields of the batch and its words, what was drawn (one for each kind of number)."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler; set CXX"),
    pytest.mark.skipif(sys.platform != "linux", reason="the guard is built for Linux"),
]


def noted(name: str) -> dict:
    """In a process of its own: the guard must be there before PyTorch is imported."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, RUNS, name], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["train_action", "train_explicit_views", "train_forcing", "train_sd21"])
def test_a_training_step_waits_for_nothing(name: str) -> None:
    found = noted(name)
    assert found["waits"] == []
    assert found["copies"] <= COPIES


@pytest.mark.parametrize(
    "name",
    [
        "generate_windows",
        "generate_explicit_views",
        "generate_by_forcing",
        "generate_a_stream",
        "generate_by_ddim",
        "generate_by_multistep",
    ],
)
def test_a_generation_waits_for_nothing(name: str) -> None:
    assert noted(name)["waits"] == []


def test_a_step_computes_no_more_than_the_log_says_that_it_needs() -> None:
    found = noted("count_operations")
    assert found["executed"] / found["needed"] == pytest.approx(1, abs=1e-6)
