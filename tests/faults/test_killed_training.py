"""Kills a real training process and starts it again; the losses must be those of a run that was never killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SCRIPT = TESTS / "training" / "tiny_run.py"
STEPS = 12


@pytest.fixture
def start():
    """Starts a training run in a process of its own; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen] = []

    def begin(output: Path, pause: float) -> subprocess.Popen:
        started.append(_start(output, pause))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def _start(output: Path, pause: float) -> subprocess.Popen:
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    command = [sys.executable, str(SCRIPT), str(output), str(STEPS), str(pause)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def losses(output: Path) -> dict[str, dict[int, float]]:
    """By stage and step; a step that was done twice must have given the same loss twice."""
    found: dict[str, dict[int, float]] = {}
    for stage in ("autoencoder", "decoder", "pictures", "driving"):
        path = output / stage / "log.jsonl"
        steps = found.setdefault(stage, {})
        for line in path.read_text().splitlines() if path.exists() else []:
            entry = json.loads(line)
            assert steps.setdefault(entry["step"], entry["loss"]) == entry["loss"]
    return found


def wait_for(output: Path, stage: str, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = output / stage / "log.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    raise AssertionError(f"{stage} never reached step {step}")


@pytest.mark.slow
def test_a_killed_run_gives_the_losses_of_one_that_was_never_killed(tmp_path, start):
    whole = start(tmp_path / "whole", 0)
    assert whole.wait(timeout=200) == 0, whole.stderr.read()
    # In the middle of each kind of stage, and once right where a save is written.
    for stage, step in (("autoencoder", 3), ("decoder", 9), ("pictures", 6), ("driving", 8)):
        process = start(tmp_path / "killed", 0.2)
        wait_for(tmp_path / "killed", stage, step, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start(tmp_path / "killed", 0)
    assert last.wait(timeout=200) == 0, last.stderr.read()
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    same = [
        tmp_path / run / "weights" / "transformer" / "diffusion_pytorch_model.safetensors"
        for run in ("whole", "killed")
    ]
    assert same[0].read_bytes() == same[1].read_bytes()


@pytest.mark.slow
def test_ctrl_c_saves_and_the_run_goes_on_from_there(tmp_path, start):
    process = start(tmp_path, 0.3)
    wait_for(tmp_path, "autoencoder", 6, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=100) != 0
    assert "saved in" in process.stderr.read()
    saved = sorted(path.name for path in (tmp_path / "autoencoder" / "checkpoints").iterdir())
    assert (int(saved[-1]) >= 6 and int(saved[-1]) % 4 != 0) or int(saved[-1]) == 8


@pytest.mark.slow
def test_one_of_two_processes_is_killed_and_torchrun_goes_on():
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    wanted = ["--processes", "2", "--elastic", "--kills", "1", "--steps", "24", "--within", "0.5", "--seed", "3"]
    told = subprocess.run([sys.executable, str(script), *wanted], capture_output=True, text=True, timeout=280)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "losses that differ: 0" in told.stdout and "the same, byte for byte" in told.stdout
