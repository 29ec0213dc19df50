"""The environment's checks: what is whole is good, what is missing is absent, what is broken is a fault, each with a fix."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dwm.checkpoints.locations import TOWN
from dwm.doctor import Check, State, check_environment


def checks(tmp_path: Path, weights: str = "town") -> dict[str, Check]:
    return {check.name: check for check in check_environment(tmp_path / "data", tmp_path / "base", weights)}


def test_a_fresh_machine_lacks_only_what_is_fetched(tmp_path: Path) -> None:
    found = checks(tmp_path)
    expected = {
        "python",
        "packages",
        "processor",
        "accelerator",
        "memory",
        "disk",
        "video",
        "weights",
        "base model",
        "data",
    }
    assert expected <= set(found)
    assert found["weights"].state is State.good and found["video"].state is State.good
    assert found["base model"].state is found["data"].state is State.absent
    assert "fetch" in found["base model"].fix and "dwm town" in found["data"].fix


def test_what_is_broken_is_a_fault_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "base" / "vae").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    weights = tmp_path / "weights"
    shutil.copytree(TOWN, weights)
    file = weights / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    found = checks(tmp_path, str(weights))
    for name, told in (("base model", "lacks scheduler"), ("data", "holds no nuScenes tables"), ("weights", "")):
        assert found[name].state is State.fault and told in found[name].found, name
    assert all(check.fix for check in found.values() if check.state is State.fault)


def test_old_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "dwm.doctor.checks.metadata.requires", lambda name: ["torch>=99", "a-package-that-is-not-there"]
    )
    found = checks(tmp_path)
    assert found["torch"].state is State.fault and "needed >=99" in found["torch"].found
    assert found["a-package-that-is-not-there"].fix == "pip install 'a-package-that-is-not-there'"
