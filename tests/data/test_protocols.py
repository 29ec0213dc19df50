"""Protocols by name: they fix a run, are written into its record, and refuse what says otherwise."""

import json

import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import resolve
from dwm.cli.main import app, outcome
from dwm.errors import DwmError
from dwm.runs.evaluate import EvaluationRun, choose_clips, completed, open_data
from dwm.runs.protocols import PROTOCOLS
from dwm.runs.score_record import compare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tables = make_tables(("scene-0103", "scene-0916"), samples=6)
    return write(tmp_path_factory.mktemp("protocols") / "set", dict(make_files(tables)))


@pytest.fixture(scope="module")
def card():
    return read_card(resolve("town"))


def evaluated(folder, output, *flags):
    arguments = [
        "evaluate",
        "--data",
        str(folder),
        "--clips",
        "2",
        "--steps",
        "1",
        "--dtype",
        "float32",
        "-o",
        str(output),
        "-q",
    ]
    return outcome(lambda: app([*arguments, "--split", "mini_val", *flags], standalone_mode=False))


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_each_protocol_chooses_clips_as_it_says(folder, card, name):
    run = completed(EvaluationRun(protocol=name, data=str(folder), clips=2, split="mini_val"), card)
    clips, fixed = choose_clips(run, card, open_data(run, card)), PROTOCOLS[name]
    assert len(clips) == 2 and run.references == (fixed.references or 0)
    assert all(fixed.frames in (None, clip.length) and clip.views == (fixed.views or card.views) for clip in clips)
    if fixed.frames == 16:
        assert [clip.scene for clip in clips] == ["scene-0103", "scene-0916"]
        assert all(abs((clip.times[-1, 0] - clip.times[0, 0]) / 1e6 - 15 / 12) < 0.05 for clip in clips)


def test_a_flag_that_says_otherwise_is_refused(card):
    with pytest.raises(DwmError, match="--frames 8: the protocol opendwm-1 has 16"):
        completed(EvaluationRun(protocol="opendwm-1", frames=8), card)
    with pytest.raises(DwmError, match="there is no 'worldlense'; nearest: worldlens"):
        completed(EvaluationRun(protocol="worldlense"), card)
    done = completed(EvaluationRun(protocol="opendwm-1"), card)
    assert completed(done, card) == done


def test_the_record_says_the_protocol_and_others_are_not_compared(folder, tmp_path):
    for name in ("opendwm-images", "plain"):
        flags = ("--protocol", name) if name != "plain" else ("--frames", "1")
        assert evaluated(folder, tmp_path / name, "--scores", "prompt_response", *flags) == 0
    record = json.loads((tmp_path / "opendwm-images/scores.json").read_text())
    assert record["protocol"]["name"] == "opendwm-images" and record["protocol"]["frames"] == 1
    assert [len(one) for one in record["origin"]["data_digests"]] == [32] and record["origin"]["weights_sha256"]
    with pytest.raises(DwmError, match='name "opendwm-images" and null'):
        compare(tmp_path / "opendwm-images", tmp_path / "plain")
