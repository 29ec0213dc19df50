"""What a video is asked for and cannot be: said in one line or refused, instead of a grey or a noisy video."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dwm.base_models import BaseModel
from dwm.base_models.finite import is_finite
from dwm.checkpoints.locations import resolve
from dwm.clip import Boxes, Clip, LaneMap, Rig
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.training.objectives.driving import ObjectiveOptions

NOTHING = Boxes(np.zeros((0, 3)), np.ones((0, 3)), np.zeros((0, 3, 3)), (), ())


@pytest.fixture
def clip() -> Clip:
    rig = Rig(("LEFT", "FRONT"), np.tile([[20.0, 0, 16], [0, 20, 8], [0, 0, 1]], (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1)),
              np.tile(np.array([32, 16]), (2, 1)))  # fmt: skip
    return Clip("made up", 4.0, rig, np.zeros((1, 2), np.int64), np.tile(np.eye(4), (1, 2, 1, 1)),
                boxes=((NOTHING, NOTHING),), map=LaneMap({}))  # fmt: skip


def with_optional(pipe: DrivingPipeline, *names: str) -> DrivingPipeline:
    return DrivingPipeline(pipe.network, pipe.base, pipe.card.with_(optional=names))


# Missing conditions


@pytest.mark.parametrize(("lost", "sentence"), [("boxes", "has no boxes"), ("map", "has no map")])
def test_a_layout_that_weights_were_never_without_is_needed(pipe, clip, lost, sentence):
    without = replace(clip, **{lost: None})
    with pytest.raises(DwmError, match=rf"{sentence}, which tiny were never without.*--force"):
        pipe(without, prompt="day")
    for able in (with_optional(pipe, lost), pipe):
        assert able(without, prompt="day", force=able is pipe, output_type="pt").isfinite().all()


def test_layouts_that_were_lost_together_may_only_be_missing_together(pipe, clip):
    able = with_optional(pipe, "layout")
    assert able(replace(clip, boxes=None, map=None), prompt="day", output_type="pt").isfinite().all()
    with pytest.raises(DwmError, match="has no map"):
        able(replace(clip, map=None), prompt="day")


def test_a_clip_in_which_nothing_was_annotated_has_no_boxes(pipe, clip):
    with pytest.raises(DwmError, match="has no boxes"):
        pipe(replace(clip, boxes=((None, None),)), prompt="day")


def test_empty_words_are_said_where_weights_never_saw_them(pipe, clip):
    with pytest.warns(UserWarning, match="no captions and no prompt was given: tiny are told empty words"):
        pipe(clip)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_optional(pipe, "text")(clip)
        pipe(clip, prompt="")


def test_what_training_drops_is_what_the_card_lets_go():
    assert ObjectiveOptions().optional == ()
    assert ObjectiveOptions(keep_boxes=0.8, keep_text=0.9).optional == ("text", "boxes")
    assert ObjectiveOptions(drop_all=0.1).optional == ("text", "layout")


# Words that are not read


def test_words_behind_the_last_token_are_named_with_every_encoder(pipe, clip):
    words = "day clear night rain day clear desert night"
    with pytest.warns(UserWarning, match="not read of it is") as told:
        pipe(clip, prompt=words)
    (line,) = [str(one.message) for one in told]
    assert "text_encoder 8, text_encoder_2 8, text_encoder_3 4" in line and line.count("\n") == 0
    rest = line.partition("not read of it is '")[2].partition("'")[0]
    assert rest and words.endswith(rest) and len(rest.split()) >= 2


def test_many_captions_are_one_line(pipe):
    long = [f"day {'night ' * (9 + n)}" for n in range(3)]
    with pytest.warns(UserWarning, match=r"3 texts, the first .* \(said of the first captions only\)") as told:
        for text in (["day"], long, [*long, "rain " * 12]):
            pipe.base.text.say_unread(text)
    assert len(told) == 1


def test_words_that_fit_are_read_without_a_line(pipe):
    assert pipe.base.text.unread(["day clear night", ""]) is None


# Numbers that are none


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_the_tensors_name(pipe, tmp_path, number):
    pipe.save_pretrained(tmp_path / "weights", torch.float32)
    file = tmp_path / "weights" / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    name = sorted(state)[3]
    state[name].view(-1)[-1] = number
    save_file(state, file, {"format": "pt"})
    with pytest.raises(DwmError, match=rf"safetensors: {name} holds numbers that are not finite"):
        DrivingPipeline.from_pretrained(tmp_path / "weights")


def test_base_models_are_looked_through_as_well(base_folder, tmp_path):
    folder = shutil.copytree(base_folder, tmp_path / "base")
    file = next((folder / "text_encoder").glob("*.safetensors"))
    state = load_file(file)
    name = next(name for name in sorted(state) if state[name].is_floating_point())
    state[name].fill_(float("nan"))
    save_file(state, file, {"format": "pt"})
    with pytest.raises(DwmError, match=r"text_encoder: .* holds numbers that are not finite"):
        BaseModel.load(folder)


def test_large_sums_of_finite_numbers_are_finite():
    assert is_finite(torch.full((4,), 3e38)) and not is_finite(torch.tensor([1.0, float("nan")]))
    assert is_finite(torch.full((1000,), 6e4, dtype=torch.float16)) and is_finite(torch.ones(2, dtype=torch.int64))


def test_sampling_that_leaves_the_numbers_is_refused(pipe, clip):
    def spoil(_, index, time, values):
        return {"latents": values["latents"] * float("inf")}

    for kind in ("video", "latent"):
        with pytest.raises(DwmError, match=r"sampling gave numbers that are not finite in 2 of 2 pictures"):
            pipe(clip, prompt="day", callback_on_step_end=spoil, output_type=kind)


# Folders of weights


def test_a_folder_called_town_counts_only_if_it_holds_weights(pipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "town" / "samples").mkdir(parents=True)
    assert resolve("town").name == "town" and resolve("town").is_absolute()
    shutil.rmtree(tmp_path / "town")
    pipe.save_pretrained("town")
    assert not resolve("town").is_absolute()


def test_the_folder_of_a_run_says_where_its_weights_lie(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "run" / "weights")
    with pytest.raises(DwmError, match=r"run: holds no dwm.json; weights lie in .*run/weights: give that folder"):
        resolve(tmp_path / "run")
    with pytest.raises(DwmError, match=r"transformer: holds no dwm.json; weights lie in .*run/weights:"):
        resolve(tmp_path / "run" / "weights" / "transformer")
    with pytest.raises(DwmError, match="s3://bucket/weights: weights are read from folders of this machine"):
        resolve("s3://bucket/weights")


def test_pictures_beyond_the_table_of_positions_are_refused_even_by_force(clip):
    pipe = DrivingPipeline.from_pretrained("town")
    with pytest.raises(DwmError, match="size 224x128: town have positions for at most 192 pixels in a side"):
        pipe(clip, prompt="day", size=(224, 128), num_inference_steps=1, force=True)
