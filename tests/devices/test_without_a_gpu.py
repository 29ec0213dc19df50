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
COPIES = 30
"""Copies of a first step: twelve fields of its batch and of the next one, which is on its way; what was drawn (one for each kind of
number)."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler; set CXX"),
    pytest.mark.skipif(sys.platform != "linux", reason="the guard is built for Linux"),
]


TRAINED = ["train_action", "train_explicit_views", "train_forcing", "train_sd21"]
GENERATED = [
    "generate_windows",
    "generate_explicit_views",
    "generate_by_forcing",
    "generate_a_stream",
    "generate_by_ddim",
    "generate_by_multistep",
]
COUNTED = "count_operations"
LOADED = "load_and_generate"


@pytest.fixture(scope="module")
def notes() -> dict[str, dict]:
    """What was noted of each run. In another process: the guard must be there before PyTorch is imported."""
    names = [*TRAINED, *GENERATED, COUNTED, LOADED]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, RUNS, *names], env=environment, capture_output=True, text=True, check=False)
    notes = {note.pop("name"): note for note in map(json.loads, ran.stdout.splitlines())}
    assert list(notes) == names, ran.stderr[-3000:]
    return notes


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_step_waits_for_nothing(notes: dict[str, dict], name: str) -> None:
    assert notes[name]["waits"] == []
    assert notes[name]["copies"] <= COPIES


@pytest.mark.parametrize("name", GENERATED)
def test_a_generation_waits_for_nothing(notes: dict[str, dict], name: str) -> None:
    assert notes[name]["waits"] == []


def test_a_step_computes_no_more_than_the_log_says_that_it_needs(notes: dict[str, dict]) -> None:
    assert notes[COUNTED]["executed"] / notes[COUNTED]["needed"] == pytest.approx(1, abs=1e-6)


def test_words_are_encoded_before_the_network_is_there_and_the_estimate_holds(notes: dict[str, dict]) -> None:
    note = notes[LOADED]
    assert note["t5"] < note["text"] < 1.1 * note["t5"]  # each encoder by itself
    assert note["words"] < 0.05 * note["t5"]  # gone when the network is read
    assert 0.75 * note["estimate"] < note["peak"] <= note["estimate"]
