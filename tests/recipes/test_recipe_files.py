"""Saved runs and overrides: what is wrong is named with file, path and the nearest right key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import Field

from dwm.config import Recipe, find, from_values, load, recipes, resolve, save
from dwm.config.describe import settings
from dwm.config.files import validated
from dwm.config.overrides import apply_overrides
from dwm.errors import DwmError
from dwm.options import Options


class Optimizer(Options):
    lr: float = Field(1e-4, gt=0, description="rate")
    betas: tuple[float, float] = Field((0.9, 0.99), description="decay")


class Stage(Options):
    steps: int = Field(10, ge=1, description="steps")
    optimizer: Optimizer | None = Field(None, description="its own optimizer")


class Run(Options):
    """A stand-in with every kind of nesting that recipes use."""

    note: str = Field("", description="free words")
    label: str | None = Field(None, description="free words or none")
    optimizer: Optimizer = Field(Optimizer(), description="optimizer")
    stages: tuple[Stage, ...] = Field((Stage(), Stage(steps=5)), description="one after another")
    views: tuple[str, ...] = Field(("A",), description="cameras")
    counts: dict[int, float] | int = Field(0, description="counts")


def overridden(*overrides: str) -> Run:
    return validated(Run, apply_overrides(Run, Run().model_dump(mode="json"), overrides), "command line")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optimizer.lr=1e-3", ("optimizer", "lr"), 1e-3),
        ("optimizer.betas=[0.8,0.9]", ("optimizer", "betas"), (0.8, 0.9)),
        ("optimizer.betas=0.8,0.9", ("optimizer", "betas"), (0.8, 0.9)),
        ("views=A,B", ("views",), ("A", "B")),
        ("views=[A, B]", ("views",), ("A", "B")),
        ("note=12", ("note",), "12"),
        ("label=null", ("label",), None),
        ("stages.1.steps=7", ("stages", 1, "steps"), 7),
        ("stages.0.optimizer.lr=0.5", ("stages", 0, "optimizer", "lr"), 0.5),
        ('counts={"3": 0.5, "1": 0.5}', ("counts",), {3: 0.5, 1: 0.5}),
        ("note=a=b", ("note",), "a=b"),
    ],
)
def test_an_override_sets_one_value_of_the_fields_own_type(override: str, path: tuple, value: object) -> None:
    found: object = overridden(override)
    for step in path:
        found = found[step] if isinstance(step, int) else getattr(found, step)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer.learning_rate=1", "command line: optimizer.learning_rate is not known; nearest: optimizer.lr"),
        ("optimiser.lr=1", "command line: optimiser.lr is not known; nearest: optimizer"),
        ("lr=1", "command line: lr is not known; nearest: optimizer.lr"),
        ("stages.2.steps=1", "command line: stages.2.steps: '2' is no place in a list of 2 (0 to 1)"),
        ("stages.0.stepz=1", "command line: stages.0.stepz is not known; nearest: stages.0.steps"),
        ("optimizer.lr.x=1", "command line: optimizer.lr is one value; optimizer.lr.x is not known"),
        ("optimizer.lr=fast", "command line: optimizer.lr = 'fast': input should be a valid number"),
        ("optimizer.lr=-1", "command line: optimizer.lr = -1: input should be greater than 0"),
        ("optimizer", "command line: 'optimizer' is not an override; write key=value"),
    ],
)
def test_a_wrong_override_names_the_nearest_right_one(override: str, sentence: str) -> None:
    with pytest.raises(DwmError) as caught:
        overridden(override)
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_a_wrong_key_deep_in_a_file_is_named_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"data": {"layout": {"pen_widht": 3}}}))
    with pytest.raises(
        DwmError, match=r"config\.json: data\.layout\.pen_widht is not known; nearest: data\.layout\.pen_width$"
    ):
        load(path)


def test_a_wrong_key_within_a_list_is_named_with_its_place() -> None:
    with pytest.raises(DwmError, match=r"^x: stages\.1\.stepz is not known; nearest: stages\.1\.steps$"):
        validated(Run, {"stages": [{}, {"stepz": 3}]}, "x")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r":1:2: not JSON"),
        ('{"seed": NaN}', "NaN is no number"),
        ('{"seed": 1, "seed": 2}', "the key 'seed' stands twice"),
        ("[]", "expected an object"),
        ("[" * 100_000, "not JSON"),
        ('{"seed": "\udcff"}', "not JSON"),
        ('{"recipe": "twon"}', "no recipe is named 'twon'; nearest: town"),
        ('{"training": {"seed": -1}}', "training.seed = -1"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DwmError, match=sentence) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DwmError, match=r"absent\.json: no such file"):
        load(tmp_path / "absent.json")


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_is_consistent_and_its_file_starts_it_again(name: str, tmp_path: Path) -> None:
    run = resolve(name)
    again = resolve(values=load(save(run, tmp_path)))
    assert again == run and again.name == name


def test_a_file_may_say_only_what_differs_from_its_parent() -> None:
    run = from_values({"recipe": "town", "data": {"layout": {"pen_width": 5}}}, "x")
    parent = find("town")
    assert run == parent.with_(data=parent.data.with_(layout=parent.data.layout.with_(pen_width=5)))


def test_every_setting_of_every_recipe_is_explained() -> None:
    unexplained = {setting.key for name in recipes() for setting in settings(find(name)) if len(setting.meaning) < 5}
    assert not unexplained


def test_recipes_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().name = "x"  # type: ignore[misc]
