"""Two evaluations of the same clips: what is kept of them, paired tests, the page; what is broken or differs is one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_scores import CLIPS, clip, features, painter

from dwm.cli.main import run
from dwm.clip import NUSCENES_VIEWS
from dwm.errors import DwmError
from dwm.evaluation import EvaluationOptions, Tools
from dwm.evaluation.measure import look_at, prepare_scores, summed_up
from dwm.report import Video
from dwm.runs import score_record
from dwm.runs.compare import compared, weights_named
from dwm.runs.looks import key_of, load_look, path_of, save_look
from dwm.runs.score_tables import picked, standing

NAMES = ("layout_retrieval", "prompt_response", "town_fid")


def side(folder: Path, generate, names: Sequence[str] = NAMES, count: int = CLIPS) -> Path:
    """An evaluation's folder, as a run leaves it."""
    options = EvaluationOptions(scores=tuple(names))
    clips = [clip(number, ("day", "night")[number % 2]) for number in range(count)]
    scores, _ = prepare_scores(clips, options, Tools(options, town=features()))
    files = [path_of(folder, key_of({"side": folder.name}, one, number)) for number, one in enumerate(clips)]
    for number, (one, file) in enumerate(zip(clips, files, strict=True)):
        look, pair = look_at(scores, generate, one, number)
        save_look(file, look, {"real": pair.real, "generated": pair.generated})
    looks = [load_look(file).look for file in files]
    record = {
        "record": score_record.RECORD_VERSION,
        "protocol": {**score_record.protocol(clips, options, names), "size": [32, 16]},
        "origin": {"weights": folder.name, "steps": 1, "guidance": 1, "data": None, "weights_sha256": "ab"},
        "clip_list": score_record.clip_list(clips, files, [look.left_out for look in looks]),
    }
    summed_up(scores, clips, looks, options).save(folder / "scores.json", record)
    return folder


TRUTH = painter({"day": 1.0, "night": 0.5})
DARK = painter({"day": 0.3, "night": 0.3})


def test_what_is_kept_of_a_clip_comes_back(tmp_path: Path) -> None:
    options = EvaluationOptions(scores=NAMES)
    scores, _ = prepare_scores([clip(0)], options, Tools(options, town=features()))
    look, pair = look_at(scores, TRUTH, clip(0), 0)
    save_look(tmp_path / "a.safetensors", look, {"generated": pair.generated})
    again = load_look(tmp_path / "a.safetensors")
    assert (again.look.size, again.look.left_out, list(again.look.statistics)) == ((32, 16), "", list(NAMES))
    for name in NAMES:
        assert {key: value.tolist() for key, value in again.look.statistics[name].items()} == {
            key: value.tolist() for key, value in look.statistics[name].items()
        }
    shown = again.videos["generated"]
    assert (shown.size, shown.length, shown.views) == ((32, 16), 2, NUSCENES_VIEWS)
    assert (shown.frames - pair.generated.frames).abs().mean() < 0.1
    with pytest.raises(KeyError):
        again.look.statistics["town_fid"]["elsewhere"]


@pytest.mark.parametrize("content", [b"", b"cut", b'\x10\0\0\0\0\0\0\0{"a": {}}       '])
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(DwmError, match="not what an evaluation keeps of a clip"):
        load_look(tmp_path / "a.safetensors")


def test_another_clip_seed_or_run_has_another_file() -> None:
    keys = {
        key_of({"weights": "a"}, clip(0), 0),
        key_of({"weights": "a"}, clip(0), 1),
        key_of({"weights": "b"}, clip(0), 0),
    }
    assert len(keys | {key_of({"weights": "a"}, clip(1), 0), key_of({"weights": "a"}, clip(0, "night"), 0)}) == 5


def test_the_better_side_is_named_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = side(tmp_path / "a", DARK), side(tmp_path / "b", TRUTH)
    result = compared(a, b, tmp_path / "out")
    rows = {row.score: row for row in result.rows}
    assert set(rows) == set(NAMES) and result.clips == CLIPS
    fid = rows["town_fid"].test
    assert fid is not None and fid.difference < 0 and fid.p is not None
    assert rows["prompt_response"].test is not None and rows["prompt_response"].test.difference == 1
    assert set(rows["layout_retrieval"].a.conditions or {}) == {"day", "night", "rain"}
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "scene-0" in page and "A against B" in page and "By condition" in page
    saved = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert saved["sides"]["B"]["weights"] == "b" and len(saved["scores"]) == 3
    with pytest.raises(SystemExit) as end:
        run(["evaluate", str(a), str(b), "-o", str(tmp_path / "out")])
    assert end.value.code == 0
    assert "prompt_response" in (said := capsys.readouterr().out) and "better" in said


def test_the_clips_that_gain_most_are_picked() -> None:
    gains = standing({"layout_retrieval": np.array([0.0, 1, -1, 0]), "warp_error": np.array([0.5, -0.5, 1, np.nan])})
    assert picked(range(4), gains, 1) == [("Best", 1), ("Worst", 2)]
    assert picked(range(3), None, 1) == [("Shown", 0), ("Shown", 1)]
    assert standing({"layout_retrieval": np.ones(4)}) is None


def test_equal_sides_are_equal(tmp_path: Path) -> None:
    a, b = side(tmp_path / "a", TRUTH), side(tmp_path / "b", TRUTH)
    result = compared(a, b, tmp_path / "out")
    assert all(row.test is not None and row.test.p == 1 and not row.better for row in result.rows)


def test_records_without_their_files_still_compare_what_they_hold(tmp_path: Path) -> None:
    a, b = side(tmp_path / "a", TRUTH), side(tmp_path / "b", TRUTH)
    for file in (a / "clips").iterdir():
        file.unlink()
    rows = {row.score: row for row in compared(a, b, tmp_path / "out").rows}
    assert rows["town_fid"].test is None and rows["prompt_response"].test is not None
    assert not (tmp_path / "out" / "comparison.html").exists()


def test_a_clip_that_one_side_left_out_is_left_out_of_both(tmp_path: Path) -> None:
    def broken(asked, seed: int) -> Video:
        video = TRUTH(asked, seed)
        if seed == 2:
            video.frames[0, 0, 0, 0, 0, 0] = float("nan")
        return video

    a, b = side(tmp_path / "a", broken), side(tmp_path / "b", TRUTH)
    assert compared(a, b, tmp_path / "out").clips == CLIPS - 1


def test_weights_and_records_are_not_mixed(tmp_path: Path) -> None:
    a = side(tmp_path / "a", TRUTH, ("layout_retrieval",), 2)
    with pytest.raises(DwmError, match="is a record of scores, the other one is not"):
        weights_named([Path("town"), a])
    with pytest.raises(DwmError, match="no such folder of weights"):
        weights_named([Path("town"), tmp_path / "elsewhere"])


def test_a_clip_keeps_its_numbers_whoever_looks(tmp_path: Path) -> None:
    options = EvaluationOptions(scores=NAMES)
    clips = [clip(number) for number in range(CLIPS)]
    tools = Tools(options, town=features())
    scores, _ = prepare_scores(clips, options, tools)
    looks = [look_at(scores, TRUTH, one, number)[0] for number, one in enumerate(clips)]
    backwards = [look_at(scores, TRUTH, clips[number], number)[0] for number in reversed(range(CLIPS))][::-1]
    first, second = (summed_up(scores, clips, side, options).values() for side in (looks, backwards))
    assert first == second
