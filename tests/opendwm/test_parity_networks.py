"""The networks give the recorded numbers; and parity says so when they do not."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from dwm.errors import DwmError
from dwm.opendwm.parity.run import parity_table, run_parity

VECTORS = Path(__file__).parents[1] / "vectors"
SMALL = "mixer"


def failures(path: Path, **options: object) -> list[str]:
    return [f"{r.name}: {r.worst or r.note}" for r in run_parity(path, **options) if not r.passed]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VECTORS / "models" / SMALL, tmp_path / SMALL))


@pytest.mark.parametrize("group", ["models", "unet"])
def test_recorded_numbers(group: str) -> None:
    assert failures(VECTORS / group) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_recorded_numbers_in_half_precision(dtype: torch.dtype) -> None:
    assert failures(VECTORS / "models", dtype=dtype) == []


@pytest.mark.parametrize(("group", "count"), [("models", 35), ("unet", 19)])
def test_all_recorded_networks(shared: Path, group: str, count: int) -> None:
    results = run_parity(shared / "vectors" / group)
    assert len(results) >= count
    assert [r.name for r in results if not r.passed] == []


def test_a_changed_record_fails(copied: Path) -> None:
    outputs = load_file(copied / "outputs.safetensors")
    outputs["mix"][0, 0, 0, 0] += 1e-4
    save_file(outputs, copied / "outputs.safetensors")
    (result,) = run_parity(copied)
    assert not result.passed
    assert result.worst.tensor == "mix"
    assert result.error == pytest.approx(1e-4, rel=0.1)


def test_not_a_number_fails(copied: Path) -> None:
    outputs = load_file(copied / "outputs.safetensors")
    outputs["mix"][0, 0, 0, 0] = float("nan")
    save_file(outputs, copied / "outputs.safetensors")
    assert failures(copied)
    assert failures(copied, dtype=torch.bfloat16)


def test_a_surplus_weight_fails(copied: Path) -> None:
    weights = load_file(copied / "weights.safetensors")
    save_file(weights | {"surplus": torch.zeros(1)}, copied / "weights.safetensors")
    assert "surplus" in failures(copied)[0]


def test_an_output_that_nobody_computes_fails(copied: Path) -> None:
    outputs = load_file(copied / "outputs.safetensors")
    save_file(outputs | {"another": torch.zeros(1)}, copied / "outputs.safetensors")
    assert "another" in failures(copied)[0]


def test_an_unknown_kind_fails_alone(copied: Path) -> None:
    broken = Path(shutil.copytree(copied, copied.parent / "broken"))
    case = json.loads((broken / "case.json").read_text())
    (broken / "case.json").write_text(json.dumps(case | {"kind": "dream", "name": "broken"}))
    results = {result.name: result for result in run_parity(copied.parent)}
    assert results[SMALL].passed
    assert not results["broken"].passed
    assert "dream" in results["broken"].note


def test_an_unknown_argument_names_the_nearest(copied: Path) -> None:
    case = json.loads((VECTORS / "models" / "dit_crossview_fuse" / "case.json").read_text())
    case["config"]["num_layer"] = case["config"].pop("num_layers")
    (copied / "case.json").write_text(json.dumps(case))
    assert "num_layer" in failures(copied)[0]
    assert "nearest: num_layers" in failures(copied)[0]


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DwmError, match=r"no case\.json"):
        run_parity(tmp_path)
    with pytest.raises(DwmError, match="no such folder"):
        run_parity(tmp_path / "absent")


def test_the_table_names_every_case() -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(parity_table(run_parity(VECTORS / "models" / SMALL)))
    assert SMALL in (text := console.file.getvalue())
    assert "pass" in text
