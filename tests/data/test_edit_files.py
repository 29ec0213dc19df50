"""Edits as a file: read, checked, done, drawn beside the original; what cannot be where it was put is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_up_nuscenes import make_files, make_tables, write
from PIL import Image

from dwm.cli.main import app, outcome
from dwm.data import open_dataset
from dwm.data.edit_checks import edit_faults
from dwm.data.edits import Addition, Edits, Move, Waypoint, edits_schema
from dwm.errors import DwmError
from dwm.runs.edits import all_edits, edited, read_edits

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("edit files") / "set", dict(make_files(make_tables())))


@pytest.fixture(scope="module")
def clip(folder):
    return open_dataset(folder)["scene-0103"].clip(0.0, 2, 2)


def car(x, y, z=None, **more):
    return Addition(category="vehicle.car", size=(4, 2, 1.5), track=(Waypoint(x=x, y=y, z=z),), **more)


def file_of(tmp_path, values):
    path = tmp_path / "edits.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_a_new_box_stands_on_the_road_where_the_own_car_sees_it(clip):
    box = Edits(add=(car(10, -3),)).edit(clip).boxes[0][1]
    at = box.center[box.named("added-1")][0] - clip.world_from_ego[0, :, :3, 3].min(0)
    np.testing.assert_allclose(at, [10, -3, 0.75], atol=1e-6)


def test_a_free_place_on_the_road_raises_no_fault(clip):
    assert edit_faults(clip, Edits(add=(car(40, -3),), remove=("vehicle.car",)).edit(clip)) == []


@pytest.mark.parametrize(
    ("edits", "sentence"),
    [
        (Edits(add=(car(19, 2),)), "vehicle.car added-1 stands in vehicle.car scene-0103 c"),
        (Edits(add=(car(40, -3), car(42, -3))), "vehicle.car added-1 stands in vehicle.car added-2"),
        (Edits(add=(car(2, 0),)), "vehicle.car added-1 stands in the own car"),
        (Edits(add=(car(40, 9),)), "vehicle.car added-1 is off the road"),
        (Edits(add=(car(12, -3, z=-4),)), "vehicle.car added-1 begins 4.8 m below the road"),
        (Edits(add=(car(12, -3, z=6),)), "vehicle.car added-1 hangs 5.2 m above the road"),
        (Edits(ego_left=8), "the own car is off the road"),
        (Edits(ego_forward=18, ego_left=2), "scene-0103 c stands in the own car"),
        (Edits(move=(Move(name="vehicle.car", left=9),)), "is off the road"),
    ],
)
def test_what_cannot_be_where_it_was_put_is_told(clip, edits, sentence):
    with pytest.warns(UserWarning, match="edits: scene-0103: ") as told:
        edited(clip, edits)
    assert any(sentence in str(one.message) for one in told), [str(one.message) for one in told]


def test_two_boxes_above_one_another_do_not_touch(clip):
    faults = edit_faults(clip, Edits(add=(car(40, -3), car(40, -3, z=5))).edit(clip))
    assert not any("stands in" in fault for fault in faults)


def test_flags_win_over_the_file_and_the_file_over_a_saved_run(tmp_path):
    path = file_of(tmp_path, {"time": "night", "weather": "rain"})
    edits = all_edits(Edits(weather="fog", ego_left=1), path, time="dawn")
    assert (edits.time, edits.weather, edits.ego_left) == ("dawn", "rain", 1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("[1]", "expected an object"),
        ("{", ":1:2: not JSON"),
        ({"wether": "rain"}, "weather"),
        (
            {"add": [{"category": "vehicle.caar", "size": [4, 2, 1], "track": [{"x": 1, "y": 1}]}]},
            "nearest: vehicle.car",
        ),
        ({"add": [{"category": "vehicle.car", "size": [4, 0, 1], "track": [{"x": 1, "y": 1}]}]}, "0.01 to 200 metres"),
        ({"add": [{"category": "vehicle.car", "size": [4, 2, 1], "track": []}]}, "add.0.track"),
        ({"add": [{"category": "vehicle.car", "size": [4, 2, 1], "track": [{"x": 1, "y": 1}] * 2}]}, "must rise"),
        ({"move": [{"name": "vehicle.car", "left": 1e9}]}, "move.0.left"),
        ({"add": [{}] * 501}, "add"),
        ('{"ego_left": NaN}', "NaN"),
    ],
)
def test_a_file_that_says_no_edits_is_one_line(tmp_path, values, sentence):
    with pytest.raises(DwmError) as fault:
        read_edits(file_of(tmp_path, values))
    assert sentence in str(fault.value) and str(fault.value).startswith(str(tmp_path / "edits.json"))


def test_the_schema_in_the_docs_is_what_is_read():
    assert (DOCS / "edits.schema.json").read_text("utf-8") == edits_schema()


def test_the_example_in_the_docs_is_read(tmp_path):
    text = (DOCS / "generation.md").read_text("utf-8")
    example = next(part.partition("```")[0] for part in text.split("```json\n")[1:] if '"add"' in part)
    assert read_edits(file_of(tmp_path, example)).add


@pytest.mark.parametrize(("ending", "frames"), [("png", 1), ("gif", 5)])
def test_data_show_draws_the_edited_clip_beside_the_original(folder, tmp_path, ending, frames):
    path = file_of(tmp_path, {"add": [car(12, 3).model_dump()], "remove": ["vehicle.car"]})
    plain, both = (tmp_path / f"{name}.{ending}" for name in ("plain", "both"))
    flags = [
        "data",
        "show",
        "scene-0103",
        "--data",
        str(folder),
        "--seconds",
        "1",
        "--fps",
        "4",
        "--width",
        "160",
        "-q",
    ]
    for output, more in ((plain, []), (both, ["--edits", str(path)])):
        assert outcome(lambda more=[*more, "-o", str(output)]: app([*flags, *more], standalone_mode=False)) == 0
    with Image.open(plain) as one, Image.open(both) as two:
        assert getattr(one, "n_frames", 1) == getattr(two, "n_frames", 1) == frames
        assert two.height == one.height * 2 + 4 and two.width == one.width
        above, below = (
            np.asarray(two.convert("RGB"), int)[part] for part in (slice(one.height), slice(one.height + 4, None))
        )
        assert (np.abs(above - below).max(-1) > 60).sum() > 50, "the edit is not to be seen"


def test_data_show_refuses_an_edit_that_names_no_box(folder, tmp_path, capsys):
    path = file_of(tmp_path, {"remove": ["vehicle.truck"]})
    flags = [
        "data",
        "show",
        "scene-0103",
        "--data",
        str(folder),
        "-o",
        str(tmp_path / "look.png"),
        "--edits",
        str(path),
    ]
    assert outcome(lambda: app(flags, standalone_mode=False)) == 1
    assert "'vehicle.truck' names no box of this clip" in capsys.readouterr().err
    assert not (tmp_path / "look.png").exists()
