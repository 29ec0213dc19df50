"""Verbs compute in what is fastest, or as asked, by one rule, and write it down; training goes on in what it began in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dwm.devices import default_dtype
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.runs.claim import PRECISION_NAME
from dwm.runs.demo import DemoRun
from dwm.runs.evaluate import EvaluationRun
from dwm.runs.generate import GenerationRun, generate, loaded
from dwm.runs.precision import note_training_dtype, training_dtype
from dwm.runs.precision_check import differences

CPU = torch.device("cpu")


@pytest.fixture
def folder(pipe: DrivingPipeline, tmp_path: Path) -> Path:
    pipe.save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("kind", [GenerationRun, EvaluationRun, DemoRun])
def test_every_verb_loads_in_what_is_fastest_or_as_asked(kind: type, folder: Path) -> None:
    assert loaded(kind(weights=str(folder))).dtype == default_dtype(CPU)
    for name in ("float32", "bfloat16", "float16"):
        assert loaded(kind(weights=str(folder), dtype=name)).computes_in == name


def test_what_was_computed_in_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = GenerationRun(prompt=("day",), frames=1, steps=2, force=True)
    generate(run, tmp_path / "auto")
    name = str(default_dtype(CPU)).removeprefix("torch.")
    assert f"computing in {name}" in capsys.readouterr().err
    assert json.loads((tmp_path / "auto/config.json").read_text())["dtype"] == name
    generate(run.with_(dtype="bfloat16"), tmp_path / "half")
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "bfloat16"


def test_the_difference_to_float32_is_measured_on_the_runs_own_clip() -> None:
    run = GenerationRun(prompt=("day",), frames=1, steps=2, force=True)
    (found,) = differences(run)
    assert found.dtype == "bfloat16" and 10 < found.psnr < 100 and 0 < found.largest <= 1
    assert "PSNR" in found.line()


def test_training_goes_on_in_what_it_began_in(tmp_path: Path) -> None:
    assert training_dtype("float16", CPU, tmp_path) == torch.float16
    assert training_dtype(None, CPU, tmp_path) == default_dtype(CPU)
    other = torch.float32 if default_dtype(CPU) == torch.bfloat16 else torch.bfloat16
    note_training_dtype(other, CPU, tmp_path)
    assert training_dtype(None, CPU, tmp_path) == other
    (tmp_path / PRECISION_NAME).write_text('{"device": "cpu", "dtype": "os.system"}')
    with pytest.raises(DwmError, match="names no dtype"):
        training_dtype(None, CPU, tmp_path)
