"""Recorded FID, KID, FVD, precision and recall; and parity says so when they differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dwm.evaluation.networks.i3d import I3D
from dwm.evaluation.networks.inception import Inception
from dwm.opendwm.parity.run import run_parity
from dwm.opendwm.parity.score_inputs import rule_tensor

SMALL = Path(__file__).parents[1] / "vectors" / "scores"
QUICK = ("fvd", "kid", "prc", "sharding", "resize", "byte_conversion", "pictures")


def failures(path: Path) -> list[str]:
    return [f"{result.name}: {result.worst or result.note}" for result in run_parity(path) if not result.passed]


def test_the_small_cases() -> None:
    assert len(run_parity(SMALL)) == 4
    assert failures(SMALL) == []


@pytest.mark.parametrize("kind", QUICK)
def test_what_needs_no_network(shared: Path, kind: str) -> None:
    assert failures(shared / "vectors" / "scores" / kind) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["inception_features", "fid"])
def test_what_runs_inception(shared: Path, kind: str) -> None:
    assert failures(shared / "vectors" / "scores" / kind) == []


@pytest.mark.slow
@pytest.mark.parametrize(("network", "file"), [(Inception, "inception_keys"), (I3D, "i3d_keys")])
def test_every_published_name_and_shape(shared: Path, network: type, file: str) -> None:
    recorded = json.loads((shared / "vectors" / "scores" / "keys" / f"{file}.json").read_text())["keys"]
    own = {key: list(value.shape) for key, value in network().state_dict().items() if "num_batches" not in key}
    assert own == {key: value["shape"] for key, value in recorded.items()}
    for key in list(recorded)[:: len(recorded) // 20]:
        first = torch.from_numpy(rule_tensor(key, tuple(own[key])).ravel()[:3].copy())
        assert first.tolist() == recorded[key]["first"]


def changed(tmp_path: Path, change) -> list[str]:
    """What fails of the FVD case after a change of its record."""
    shutil.copytree(SMALL, tmp_path / "scores")
    path = tmp_path / "scores" / "fvd" / "case.json"
    case = json.loads(path.read_text())
    change(case["results"])
    path.write_text(json.dumps(case))
    return failures(path.parent)


def test_another_distance_fails(tmp_path: Path) -> None:
    def change(results: dict) -> None:
        results["real8_generated8"]["exact"]["distance"] += 2e-4

    assert "real8_generated8/exact/distance" in changed(tmp_path, change)[0]


def test_other_sets_are_computed_as_their_names_say(tmp_path: Path) -> None:
    """A case of a written kind with other counts: real5_generated4 by the definition, on features stored beside it."""
    features = load_file(SMALL / "i3d_features" / "outputs.safetensors")
    a, b = features["real"][:5].double(), features["generated"][:4].double()
    first, second = a - a.mean(dim=0), b - b.mean(dim=0)
    root = float(torch.linalg.svdvals(first @ second.T).sum()) / 12**0.5
    distance = float(
        (a.mean(dim=0) - b.mean(dim=0)).square().sum() + first.square().sum() / 4 + second.square().sum() / 3
    )

    def change(results: dict) -> None:
        results.clear()
        results["real5_generated4"] = {"counts": [5, 4], "exact": {"distance": distance - 2 * root}}

    assert changed(tmp_path, change) == []


def test_sets_that_nobody_knows_are_a_line(tmp_path: Path) -> None:
    assert "which sets" in changed(tmp_path, lambda results: results.update(some_others={"exact": {}}))[0]


def test_a_changed_picture_fails(tmp_path: Path) -> None:
    shutil.copytree(SMALL / "resize", tmp_path / "resize")
    path = tmp_path / "resize" / "outputs.safetensors"
    outputs = load_file(path)
    outputs["tf1"][0, 0, 0] += 0.01
    save_file(outputs, path)
    assert "tf1" in failures(tmp_path)[0]
