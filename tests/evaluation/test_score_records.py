"""Records of scores: what stands in them, which may be compared, and the whole command on a feature file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dwm.cli.main import run
from dwm.errors import DwmError
from dwm.evaluation.networks.files import FILES
from dwm.evaluation.networks.inception import Inception
from dwm.opendwm.parity.score_inputs import fill
from dwm.runs.score_record import compare


def dwm(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        run([str(argument) for argument in arguments])
    return int(end.value.code)


def saved(path: Path, distance: float, **protocol: object) -> Path:
    values = {"record": 1, "protocol": {"clips": 4, "frames": 16, "options": {"seed": 0}, **protocol}}
    path.write_text(json.dumps({**values, "fid": {"distance": distance, "real_samples": 96}}))
    return path


def test_equal_protocols_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = saved(tmp_path / "a.json", 12.5), saved(tmp_path / "b.json", 10.25)
    assert compare(a, b) == {"fid.distance": (12.5, 10.25), "fid.real_samples": (96, 96)}
    assert dwm("evaluate", a, b, "-o", tmp_path / "both") == 0
    assert "12.5" in capsys.readouterr().out


def test_another_protocol_is_refused_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = saved(tmp_path / "a.json", 1), saved(tmp_path / "b.json", 1, frames=8, options={"seed": 3})
    assert dwm("evaluate", a, b, "-o", tmp_path / "both") == 1
    assert "cannot be compared: frames 16 and 8; options.seed 0 and 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "has no protocol"),
        ('{"protocol": {}, "record": 7}', "record version 7"),
        (None, "no such file"),
    ],
)
def test_what_is_no_record_is_one_line(tmp_path: Path, text: str | None, words: str) -> None:
    a, b = saved(tmp_path / "a.json", 1), tmp_path / "b.json"
    if text is not None:
        b.write_text(text)
    with pytest.raises(DwmError, match=words):
        compare(a, b)


@pytest.mark.slow
def test_the_command_scores_with_a_feature_file_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network, folder = fill(Inception()), tmp_path / "features"
    folder.mkdir()
    state = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    torch.save(state, folder / FILES["inception"].names[0])
    common = ["--clips", 1, "--frames", 1, "--steps", 1, "--features", folder]
    command = ["evaluate", "--scores", "fid,kid,layout_retrieval", *common, "-o"]
    with pytest.warns(UserWarning, match="not the published file"):
        assert dwm(*command, tmp_path / "a") == 0
    record = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert record["fid"]["generated_samples"] == record["kid"]["real_samples"] == 6
    assert record["fid"]["distance"] > 0
    assert (record["protocol"]["frames"], len(record["protocol"]["views"])) == (1, 6)
    assert len(record["protocol"]["feature_files"]["inception"]) == 64, "the checksum of a file that nobody published"
    assert len(record["origin"]["weights_sha256"]) == 64
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
    words = [*launcher, str(Path(sys.executable).with_name("dwm")), *map(str, command), str(tmp_path / "b")]
    subprocess.run(words, check=True, capture_output=True, timeout=250)
    shared = json.loads((tmp_path / "b" / "scores.json").read_text())
    for part in ("fid", "kid", "layout_retrieval", "details", "clip_list", "protocol", "origin"):
        assert shared[part] == record[part], "two processes give what one gives"
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "b" / "clips").iterdir()}
    next(iter(before)).unlink()
    with pytest.warns(UserWarning, match="not the published file"):
        assert dwm(*command, tmp_path / "b") == 0
    after = {file: file.stat().st_mtime_ns for file in before}
    assert [after[file] == before[file] for file in before] == [False, True], "only what is missing is made again"
    assert json.loads((tmp_path / "b" / "scores.json").read_text())["fid"] == record["fid"]
    capsys.readouterr()
    assert dwm("evaluate", "a", "b", "-o", "both") == 0
    assert "fid.distance" in capsys.readouterr().out
    assert (tmp_path / "both" / "comparison.html").exists()
