"""What a processor computes fastest in is measured, kept and believed only where it makes sense."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dwm.devices import default_dtype, precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    precision.processor_rates.cache_clear()
    yield tmp_path / "cache"
    precision.processor_rates.cache_clear()


def test_both_rates_are_measured_and_kept(own_cache: Path) -> None:
    rates = precision.processor_rates()
    assert set(rates) == {"float32", "bfloat16"} and all(rate > 1e6 for rate in rates.values())
    (file,) = own_cache.iterdir()
    assert json.loads(file.read_text()) == dict(rates)


@pytest.mark.parametrize(
    ("bfloat16", "dtype"), [(4e11, torch.bfloat16), (1.1e11, torch.float32), (5e10, torch.float32)]
)
def test_the_faster_one_is_taken_as_it_was_measured(own_cache: Path, bfloat16: float, dtype: torch.dtype) -> None:
    own_cache.mkdir()
    precision._path().write_text(json.dumps({"float32": 1e11, "bfloat16": bfloat16}))
    assert default_dtype(CPU) == dtype


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"float32": 1.0}', '{"float32": 1.0, "bfloat16": "NaN"}', '{"float32": -1.0, "bfloat16": 1.0}']
)
def test_a_broken_file_is_measured_anew(own_cache: Path, text: str) -> None:
    own_cache.mkdir()
    precision._path().write_text(text)
    assert precision.processor_rates()["float32"] > 1e6
    assert json.loads(precision._path().read_text())["float32"] > 1e6


def test_measuring_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    precision.measured_rates(0.01)
    assert torch.equal(before, torch.get_rng_state())
