"""Flags that a run cannot honour are refused in one line; what they name is used, not something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dwm.checkpoints.locations import TOWN
from dwm.cli.main import app, outcome
from dwm.config import resolve
from dwm.config.own_data import others, with_data
from dwm.config.recipe import Recipe
from dwm.errors import DwmError


def within(*arguments: str) -> int:
    return outcome(lambda: app(args=list(arguments), prog_name="dwm", standalone_mode=False))


def line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("dwm: "), said
    return said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("town-smoke", "none: does not exist"), ("sd35-crossview-nuscenes-tiny", "none: does not exist"),
     ("unimlvg-tiny", "none: does not exist")],
)  # fmt: skip
def test_training_reads_the_set_that_is_given_whatever_the_recipe_drew(name, sentence, tmp_path, capsys) -> None:
    assert within("train", name, "--data", str(tmp_path / "none"), "-o", str(tmp_path / "run")) == 1
    assert sentence in line(capsys)


def test_a_drawn_town_becomes_the_recorded_set() -> None:
    run = with_data(resolve("town-smoke"), "data/mine")
    assert isinstance(run, Recipe)
    for source in (run.data.train[0], run.data.validation[0]):
        assert (source.kind, source.path) == ("nuscenes", "data/mine")


def test_towns_that_would_be_drawn_beside_it_are_named() -> None:
    with pytest.raises(
        DwmError, match=r"--data data/mine: sd35-text-nwao-tiny draws 4 towns.*data.train.1.kind=nuscenes"
    ):
        with_data(resolve("sd35-text-nwao-tiny"), "data/mine")
    assert others(with_data(resolve("sd35-text-nwao"), "s3://bucket/set")) == (
        "data/waymo",
        "data/argoverse",
        "data/opendv",
    )


def test_a_path_for_a_town_is_refused(capsys) -> None:
    assert within("train", "town", "data.train.0.path=data/mine") == 1
    assert "data.train.0.path is data/mine, but data.train.0.kind is town, which is drawn" in line(capsys)


@pytest.mark.parametrize("verb", [("generate",), ("evaluate",), ("train", "town-smoke"), ("data", "check")])
def test_a_url_stays_a_url(verb, tmp_path, capsys) -> None:
    place = ("--data", "nowhere://bucket/set") if verb[0] != "data" else ("nowhere://bucket/set",)
    output = () if verb[0] == "data" else ("-o", str(tmp_path / "o"))
    assert within(*verb, *place, *output) in (1, 3)
    said = capsys.readouterr()
    assert "nowhere:/b" not in said.err + said.out and "nowhere" in said.err + said.out


@pytest.mark.parametrize(
    "verb", [("generate", "--prompt", "a"), ("evaluate",), ("train", "town"), ("town",), ("demo",)]
)
def test_an_output_behind_a_url_is_refused_and_no_folder_made(verb, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert within(*verb, "-o", "s3://bucket/out") == 2
    assert "s3:// cannot be written to" in line(capsys) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("generate", "--prompt", "a", "--scene", "scene-0061"), "--scene scene-0061: is of a data set's clip"),
        (("generate", "--prompt", "a", "--start", "2"), "--start 2.0: is of a data set's clip"),
        (("generate", "--prompt", "a", "--negative", "b", "--guidance", "1"), "with --guidance 1 there is none"),
        (("generate", "--prompt", "a", "--negative", "b", "--fast"), "with --fast there is none"),
        (("generate", "--prompt", "a", "--fast", "--steps", "8"), "--steps 8: the network for few steps knows 4 alone"),
        (("generate", "--as", "nuscenes", "--cache", "0.15"), "--cache: a data set is of a whole scene"),
        (("evaluate", "--split", "train"), "--split train: is of a data set, and none is given"),
        (("data", "convert", "x", "--to", "nuscenes", "--split", "val"), "--split val: a package is turned"),
        (("convert", "weights", "x", "-c", "y.json", "--as", "town"), "give either -c y.json or --as town"),
        (("convert", "weights", "x", "--base"), "-c, --as and --base need a folder"),
    ],
)
def test_what_cannot_be_honoured_is_said(arguments, sentence, tmp_path, capsys) -> None:
    output = tmp_path / ("x.safetensors" if arguments[-1] == "--base" else "o")
    assert within(*arguments, "-o", str(output)) == 1
    assert sentence in line(capsys) and not output.exists()


@pytest.mark.parametrize("flags", [("--cache", "0.15"), ("--guidance-interval", "0:0.5"), ("--fast",)])
@pytest.mark.parametrize("name", ["town-smoke", "tiny-lidar-vq"])
def test_what_a_training_runs_clips_are_not_made_with_is_refused(name, flags, tmp_path, capsys) -> None:
    assert within("show", "config", name, "--json") == 0
    (tmp_path / "run.json").write_text(capsys.readouterr().out)
    assert within("generate", "-c", str(tmp_path / "run.json"), *flags, "-o", str(tmp_path / "o")) == 1
    assert f"{flags[0]}: " in line(capsys)


def test_flags_of_the_demo_hold_over_its_file(tmp_path, capsys) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"verb": "demo", "weights": "town", "seed": 1}))
    arguments = ("--weights", str(tmp_path / "none"), "-o", str(tmp_path / "o"))
    assert within("demo", "-c", str(tmp_path / "demo.json"), *arguments) == 1
    assert "none: holds no dwm.json" in capsys.readouterr().err


def test_converting_weights_refuses_numbers_that_are_none(tmp_path, capsys) -> None:
    save_file({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, tmp_path / "w.safetensors")
    assert within("convert", "weights", str(tmp_path / "w.safetensors"), "-o", str(tmp_path / "o.safetensors")) == 1
    assert (
        "w.safetensors: b holds numbers that are not finite" in line(capsys)
        and not (tmp_path / "o.safetensors").exists()
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("generate", "--prompt", "x", "--fps", "inf"), "--fps"),
        (("data", "show", "scene-0061", "--data", "x", "--fps", "inf"), "--fps"),
        (("data", "show", "scene-0061", "--data", "x", "--seconds", "inf"), "--seconds"),
        (("generate", "--prompt", "x", "--guidance", "inf"), "guidance = inf: input should be a finite number"),
        (("evaluate", "--clips", "99999999999999999999"), "clips"),
        (("train", "town-smoke", f"training.steps={10**30}"), "training.steps"),
        (("generate", "--prompt", "x", "--views", "CAM_FRONT,CAM_FRONT"), "CAM_FRONT is named twice"),
    ],
)
def test_numbers_without_end_and_names_that_stand_twice_are_refused(arguments, sentence, tmp_path, capsys) -> None:
    assert within(*arguments, "-o", str(tmp_path / "out.mp4")) in (1, 2)
    assert sentence in line(capsys)


def test_the_ending_of_a_film_is_asked_before_its_pictures_are_drawn(tmp_path, capsys) -> None:
    assert within("data", "show", "scene-0061", "--data", str(tmp_path / "none"), "-o", str(tmp_path / "look.exe")) == 1
    assert "look.exe: ends in .exe; end its name in .mp4" in line(capsys)


@pytest.mark.parametrize("verb", [("generate", "--prompt", "x"), ("evaluate",)])
def test_a_config_json_that_no_run_wrote_is_not_replaced(verb, tmp_path, capsys) -> None:
    (tmp_path / "config.json").write_text('{"auths": {}}')
    assert within(*verb, "-o", str(tmp_path)) == 1
    assert "config.json: is no run that dwm wrote" in line(capsys)
    assert (tmp_path / "config.json").read_text() == '{"auths": {}}'


def test_a_base_model_that_lies_elsewhere_than_the_weights_say(tmp_path: Path, capsys) -> None:
    base, weights = tmp_path / "base", tmp_path / "weights"
    shutil.copytree(TOWN, base, ignore=shutil.ignore_patterns("transformer*", "dwm.json"))
    shutil.copytree(TOWN / "transformer", weights / "transformer")
    card = json.loads((TOWN / "dwm.json").read_text()) | {
        "base_model": "base_model/stable-diffusion-3.5-medium",
        "fast": None,
    }
    (weights / "dwm.json").write_text(json.dumps(card))
    words = ("--prompt", "day. clear", "--frames", "1", "--steps", "1", "-o", str(tmp_path / "out"), "-q")
    assert within("generate", "--weights", str(weights), *words) == 1
    assert "base_model/stable-diffusion-3.5-medium: is missing; fetch https://huggingface.co/" in line(capsys)
    assert within("generate", "--weights", str(weights), "--base-model", str(base), *words) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["base_model"] == str(base)
