"""`dwm drive` without a page: what it writes, and that a record is the same drive again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dwm.cli.main import app, outcome
from dwm.data import open_dataset
from dwm.drive.script import read_script
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.report import read_film


def dwm(*arguments: object) -> int:
    return outcome(lambda: app(args=list(map(str, arguments)), prog_name="dwm", standalone_mode=False))


@pytest.fixture(scope="module")
def weights(pipe: DrivingPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive") / "weights"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def driven(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a drive of ten frames with another beginning at the seventh."""
    folder = tmp_path_factory.mktemp("driven")
    script = folder / "controls.jsonl"
    lines = [
        {"tick": 0, "throttle": 1.0},
        {"tick": 3, "steer": -0.5},
        {"tick": 5, "prompt": "night rain"},
        {"tick": 7, "reset": 4},
        {"tick": 8, "prompt": "", "autopilot": True},
    ]
    script.write_text("\n".join(map(json.dumps, lines)) + "\n")
    asked = ["--weights", weights, "--town", 7, "--scene", 1, "--script", script, "--frames", 10]
    assert dwm("drive", *asked, "-o", folder / "out") == 0
    return folder / "out"


@pytest.mark.slow
def test_a_script_is_driven_recorded_and_driven_again(
    driven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_script(driven / "drive.jsonl")
    assert record.ticks == 10
    assert [control.tick for control in record.controls] == [0, 3, 5, 7, 8]
    assert record.controls[1].action.throttle == 1.0, "what a line does not name stays as it was"
    film = read_film(driven / "generated.mp4")
    assert read_film(driven / "comparison.mp4").size[1] > 2.5 * film.size[1], "real, layout and generated"

    assert dwm("drive", "--replay", driven / "drive.jsonl", "-o", tmp_path / "again", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["digest"] == record.digest, "bit for bit"
    assert result["frames"] == 10 and result["travelled"] > 0 and len(film.frames) == result["pictures"]
    assert read_script(tmp_path / "again" / "drive.jsonl").digest == record.digest
    assert (tmp_path / "again" / "scenes.zip").read_bytes() == (driven / "scenes.zip").read_bytes()


@pytest.mark.slow
def test_what_was_driven_is_data_that_the_other_verbs_read(driven: Path, weights: Path, tmp_path: Path) -> None:
    data = ["--data", driven / "scenes.zip"]
    assert dwm("data", "check", driven / "scenes.zip") == 0
    for scene in ("drive-000", "drive-001-real"):
        assert dwm("data", "show", scene, *data, "-o", tmp_path / f"{scene}.png", "--at", 0.25) == 0
    # The tiny text encoder reads four tokens, the town's own words are more.
    words = ["--prompt", "night"]
    generated = ["--scene", "drive-000", "--weights", weights, "--frames", 4, "-o", tmp_path / "generated", *words]
    assert dwm("generate", *data, *generated) == 0
    assert len(read_film(tmp_path / "generated" / "generated.mp4").frames) == 4
    export = ["--scene", "drive-000-real", "--weights", weights, "-o", tmp_path / "set"]
    assert dwm("export", "nuscenes", *data, *export) == 0
    there, again = open_dataset(str(driven / "scenes.zip")), open_dataset(str(tmp_path / "set"))
    one, other = there["drive-000-real"].clip(0, 4, 4.0), again["drive-000-real"].clip(0, 4, 4.0)
    assert np.allclose(one.world_from_ego, other.world_from_ego, atol=1e-6)
    assert [len(row[0]) for row in one.boxes] == [len(row[0]) for row in other.boxes]


def test_pictures_that_come_out_otherwise_are_said(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dwm("drive", "--weights", weights, "--frames", 4, "-o", tmp_path) == 0
    record = (tmp_path / "drive.jsonl").read_text().replace('"seed": 0', '"seed": 1')
    (tmp_path / "other.jsonl").write_text(record)
    assert dwm("drive", "--replay", tmp_path / "other.jsonl") == 3
    assert "came out otherwise" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('{"tick": 0, "thrott": 1}', "line 1: thrott is not known; nearest: throttle"),
        ('{"tick": 0, "throttle": 1e9}', "line 1: action: throttle is 1000000000.0"),
        ('{"tick": 0}\n{"tick": 0}', "line 2: tick 0 is not behind the 0"),
        ('{"tick": -1}', "tick is -1; give a whole number"),
        ('{"throttle": 1}', "has no tick"),
        ('{"tick": 0, "prompt": 3}', "prompt is 3; give a text"),
        ("[1]", "is no object"),
        ("{", "line 1"),
        ("", "holds no control"),
    ],
)
def test_a_faulty_script_is_one_line(lines: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "controls.jsonl"
    path.write_text(lines)
    with pytest.raises(DwmError) as error:
        read_script(path)
    assert str(error.value).startswith(str(path)) and fault in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "status", "fault"),
    [
        (["--scene", "scene-x"], 1, "--scene scene-x: the town's scenes are numbers"),
        (["--weather", "hail"], 1, "'hail' is not a word of the town"),
        (["--views", "CAM_TOP"], 1, "has no camera CAM_TOP"),
        (["--size", "64x64"], 1, "size 64x64 was never seen"),
        (["--script", "a", "--replay", "b"], 2, "give one of them"),
        (["--overlap", "4"], 1, "none longer than the 4"),
    ],
)
def test_what_cannot_be_driven_is_one_line(
    weights: Path, arguments: list[str], status: int, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dwm("drive", "--weights", weights, "--frames", 2, *arguments) == status
    error = capsys.readouterr().err
    assert fault in error.replace("\n", " ") and "Traceback" not in error


def test_a_record_says_everything(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text('{"tick": 0, "autopilot": true}\n')
    assert dwm("drive", "--replay", path) == 1
    assert "is a script, not a record" in capsys.readouterr().err
    assert dwm("drive", "--replay", path, "--seed", "3") == 2
    assert "--seed: a record says everything" in capsys.readouterr().err
