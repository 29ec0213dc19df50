"""`dwm finetune`: from a data set as a user has it to weights that take on its look, and a page."""

import json

import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import TOWN
from dwm.cli.main import app, outcome
from dwm.config.registry import find
from dwm.runs.finetune import finetuning
from dwm.town import NuScenesOptions, write_nuscenes

SHORT = ("autoencoder.0.loop.steps=2", "training.steps=2", "data.workers=1", "sampling.num_inference_steps=1")


def dwm(*arguments):
    return outcome(lambda: app(args=[str(text) for text in arguments], prog_name="dwm", standalone_mode=False))


@pytest.fixture(scope="module")
def town_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "town"
    write_nuscenes(folder, 2, 5, options=NuScenesOptions(seconds=3.0, lidar_hz=10))
    return folder


@pytest.mark.slow
def test_weights_take_on_a_data_set_and_a_page_shows_a_held_out_clip(town_set, tmp_path, capsys):
    assert dwm("finetune", "town", *SHORT, "--data", town_set, "-o", tmp_path / "mine", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    card = read_card(tmp_path / "mine" / "weights")
    assert said["held_out"] and card.sizes == ((160, 96),) and card.lengths == read_card(TOWN).lengths
    assert "before and after" in (tmp_path / "mine" / "report.html").read_text("utf-8")
    assert (
        dwm("generate", "--weights", tmp_path / "mine/weights", "--prompt", "a day", "--steps", 1, "-o", tmp_path / "g")
        == 0
    )


def test_the_longest_clips_that_both_have_are_trained_on(town_set):
    run = finetuning(find("town-finetune"), "town", str(town_set))
    (source,) = run.data.train
    assert source.frames == 8 and source.rates[0][0] == read_card(TOWN).fps and run.training.batch.clips == 1


def test_a_single_key_frame_is_trained_on_as_single_pictures(shared):
    folder = shared / "data/nuscenes_keyframe"
    run = finetuning(find("town-finetune"), "town", str(folder))
    assert run.data.train[0].frames == 1 and run.training.objective.style is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("town",), "--data: whose look?"),
        (("nowhere", "--data", "{set}"), "holds no dwm.json"),
        (("town", "--data", "{set}/nothing"), "nothing"),
        (("town", "training.stepz=3", "--data", "{set}"), "training.stepz"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tmp_path, capsys, arguments, sentence):
    folder = write(tmp_path / "set", dict(make_files(make_tables())))
    assert dwm("finetune", *[text.format(set=folder) for text in arguments], "-o", tmp_path / "out") != 0
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said and not (tmp_path / "out" / "weights").exists()
