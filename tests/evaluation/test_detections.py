"""Results of detectors are judged by the official devkit, in its own environment, and what it refuses is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwm.cli.main import run
from dwm.errors import DwmError
from dwm.runs.detections import Detections, judged, table

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-devkit/bin/python"
NAMES = {
    "vehicle.car": "car",
    "human.pedestrian.adult": "pedestrian",
    "movable_object.barrier": "barrier",
    "vehicle.truck": "truck",
}


def results(data: Path, path: Path, shift: float, more: str | None = None) -> Path:
    """A detector that knows the truth, and puts everything `shift` metres to the east."""
    tables = data / "v1.0-mini"
    categories, instances, annotations, samples = (
        json.loads((tables / f"{name}.json").read_text())
        for name in ("category", "instance", "sample_annotation", "sample")
    )
    kinds = {row["token"]: row["name"] for row in categories}
    kinds = {row["token"]: kinds[row["category_token"]] for row in instances}
    found: dict[str, list[dict[str, object]]] = {row["token"]: [] for row in samples}
    for row in annotations:
        name, boxes = NAMES.get(kinds[row["instance_token"]]), found[row["sample_token"]]
        if name is not None and len(boxes) < 500:
            x, y, z = row["translation"]
            box = {"sample_token": row["sample_token"], "translation": [x + shift, y, z], "size": row["size"]}
            box |= {"rotation": row["rotation"], "velocity": [0, 0], "detection_name": name}
            boxes.append({**box, "detection_score": 0.9, "attribute_name": ""})
    if more is not None:
        found[more] = []
    meta = {f"use_{name}": name == "camera" for name in ("camera", "lidar", "radar", "map", "external")}
    path.write_text(json.dumps({"meta": meta, "results": found}))
    return path


def test_a_missing_devkit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DwmError, match="no Python with the nuScenes devkit"):
        judged([tmp_path / "a.json"], tmp_path, "val", None, tmp_path / "python", tmp_path / "out")


@pytest.mark.parametrize("says", ["", "17", '{"mAP": 1}', '{"mAP": 1, "NDS": 1, "errors": null, "classes": {}}'])
def test_another_program_in_the_devkits_place_is_one_line(tmp_path: Path, says: str) -> None:
    program, results = tmp_path / "python", tmp_path / "a.json"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    results.write_text("{}")
    with pytest.raises(DwmError, match="is this the devkit's Python"):
        judged([results], tmp_path, "val", "v1.0-mini", program, tmp_path / "out")


def test_data_that_the_devkit_cannot_read_are_one_line(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.touch()
    for data, reason in ((tmp_path / "absent", "no such folder"), (tmp_path, "holds no unpacked nuScenes tables")):
        with pytest.raises(DwmError, match=reason):
            judged([], data, "val", None, program, tmp_path / "out")


def test_results_stand_side_by_side() -> None:
    one = Detections("a.json", 0.5, 0.4, {"trans_err": 0.1}, {"car": None})
    rows = table([one, one], ["a", "b"])
    assert rows[1:] == [
        ("mAP", "0.5000", "0.5000"),
        ("NDS", "0.4000", "0.4000"),
        ("trans_err", "0.1000", "0.1000"),
        ("car", "–", "–"),
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not (ROOT / ".venv-devkit/.ready").exists(), reason="no nuScenes devkit: `make .venv-devkit/.ready` installs it"
)
def test_the_devkit_finds_the_shifted_detector_worse(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shared / "data/nuscenes_more/sequence_scene-0916"
    files = [results(data, tmp_path / f"{shift}.json", shift) for shift in (0, 1.5)]
    unknown = results(data, tmp_path / "unknown.json", 0, more="nobody")
    flags = ["--data", str(data), "--split", "mini_val", "--devkit", str(PYTHON), "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        run(["export", "detections", *map(str, files), *flags])
    assert end.value.code == 0 and "mAP" in capsys.readouterr().out
    exact, shifted = json.loads((tmp_path / "out/detections.json").read_text())["files"]
    assert exact["classes"]["car"] > shifted["classes"]["car"] + 0.2, "two of four distances are missed"
    assert exact["nds"] > shifted["nds"] and shifted["errors"]["trans_err"] > 1
    with pytest.raises(DwmError, match=r"unknown\.json: the devkit refuses it: .*[Ss]amples"):
        judged([unknown], data, "mini_val", None, PYTHON, tmp_path / "out")
