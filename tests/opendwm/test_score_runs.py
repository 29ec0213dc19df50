"""Scores of a run over its own validation sets: measured with the built-in weights, refused where nothing can be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwm.config import Recipe, find
from dwm.config.data import SourceOptions
from dwm.errors import DwmError
from dwm.opendwm.commands.scores import checkpoint_of, score_run


def run_over(**source) -> Recipe:
    run = find("town")
    held_out = SourceOptions(frames=1, rates=((4.0, 1.0),), **source)
    return run.with_(
        data=run.data.with_(validation=(held_out,)), evaluation=run.evaluation.with_(scores=("layout_retrieval",))
    )


def test_a_package_has_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(DwmError, match=r"x\.json: p/data\.json is a package of layouts, without the photographs"):
        score_run(run_over(kind="layouts", path="p/data.json"), tmp_path, source="x.json")


def test_a_step_that_was_not_saved_names_those_that_were(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "500.pth").touch()
    assert checkpoint_of(tmp_path, 500).name == "500.pth"
    with pytest.raises(DwmError, match=r"--resume-from 700: is not there in .*; saved: 500"):
        checkpoint_of(tmp_path, 700)


@pytest.mark.slow
def test_clips_are_generated_and_scored(tmp_path: Path) -> None:
    made = score_run(run_over(kind="town", seed=5), tmp_path, clips=2, tiny=True)
    assert made.scores.clips == 2 and made.scores.layout_retrieval.clips == 2
    assert json.loads((tmp_path / "scores.json").read_text())["clips"] == 2
    assert (tmp_path / "contact_sheet.png").stat().st_size > 1000
