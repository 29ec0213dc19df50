"""Edits of a clip in a line: what was asked changes, everything else stays, and what names nothing is refused in one line."""

from dataclasses import fields, replace

import numpy as np
import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.cli.main import app, outcome
from dwm.clip import Boxes, Caption
from dwm.data import LayoutOptions, open_dataset
from dwm.data.edits import Edits
from dwm.data.layout import draw_boxes
from dwm.errors import DwmError
from dwm.runs.edits import edited


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("edits") / "set", dict(make_files(make_tables())))
    return open_dataset(folder)["scene-0103"].clip(0.5, 2, 2)


@pytest.fixture(scope="module")
def thing(clip):
    return next(iter(clip.instances))


def cells(clip):
    return [boxes for row in clip.boxes for boxes in row if boxes is not None]


def new_box(clip, instance="new"):
    ahead = clip.world_from_ego[0, 0] @ np.array([12.0, 0, 1, 1])
    size = np.array([[4.0, 2, 1.6]])
    return Boxes(ahead[None, :3], size, clip.world_from_ego[0, 0, :3, :3][None], ("vehicle.car",), (instance,))


def test_a_category_takes_all_below_it_and_nothing_else(clip):
    kind = next(iter(clip.instances.values()))
    edited = clip.without(kind.split(".")[0])
    assert not any(name.startswith(kind.split(".")[0] + ".") for name in edited.instances.values())
    assert set(edited.instances) == {
        name for name, one in clip.instances.items() if one.split(".")[0] != kind.split(".")[0]
    }
    unedited = {"boxes", "lidar"}
    assert all(getattr(edited, f.name) is getattr(clip, f.name) for f in fields(clip) if f.name not in unedited)


def test_half_a_word_of_a_category_names_nothing(clip):
    kind = next(iter(clip.instances.values()))
    with pytest.raises(DwmError, match=r"names no box of this clip; nearest: .*there are"):
        clip.without(kind[:-1])


def test_a_thing_moves_along_its_own_axes_and_the_others_stay(clip, thing):
    edited = clip.moving(thing, left=2, forward=1, turn=90)
    moved = 0
    for before, after in zip(cells(clip), cells(edited), strict=True):
        which = before.named(thing)
        moved += which.sum()
        local = np.einsum("nji,nj->ni", before.rotation, after.center - before.center)
        np.testing.assert_allclose(local, np.where(which[:, None], [1, 2, 0], 0), atol=1e-9)
        np.testing.assert_allclose(after.rotation[which][..., 0], before.rotation[which][..., 1], atol=1e-9)
    assert moved


def test_a_new_thing_drives_along_its_track_at_each_picture_time(clip):
    box = new_box(clip)
    x, y, z = box.center[0]
    edited = clip.adding(box, np.array([[0.0, x, y, z, 3.1], [1.0, x + 10, y, z, -3.1]]))
    start = clip.times.min()
    for frame, row in enumerate(edited.boxes):
        for view, boxes in enumerate(row):
            if boxes is not None:
                place = boxes.center[boxes.named("new")][0]
                share = min(1.0, (clip.times[frame, view] - start) / 1e6)
                np.testing.assert_allclose(place, [x + 10 * share, y, z], atol=1e-6)
                assert boxes.rotation[boxes.named("new")][0, 0, 0] < -0.99, "it turned the long way round"


def test_a_new_thing_is_drawn_in_the_layout(clip):
    view = clip.views.index("CAM_FRONT")
    plain, edited = (draw_boxes(one, 0, view, (160, 90), LayoutOptions()) for one in (clip, clip.adding(new_box(clip))))
    assert (plain != edited).any()


def test_a_name_that_is_taken_or_a_track_that_goes_back_is_refused(clip, thing):
    with pytest.raises(DwmError, match="already"):
        clip.adding(new_box(clip, thing))
    with pytest.raises(DwmError, match="seconds rise"):
        clip.adding(new_box(clip), np.array([[1.0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0]]))


def test_the_own_car_moves_along_its_axes(clip):
    moved = clip.shifted(ego_left=2).world_from_ego
    local = np.linalg.inv(clip.world_from_ego) @ moved
    np.testing.assert_allclose(local[..., :3, 3], np.broadcast_to([0, 2, 0], (*clip.times.shape, 3)), atol=1e-6)


def test_words_change_only_their_part_of_a_caption(clip):
    shape = clip.times.shape
    spoken = replace(clip, captions=((Caption("day", "clear", "street", "cars"),) * shape[1],) * shape[0])
    assert spoken.with_words(time="night").captions[1][0] == Caption("night", "clear", "street", "cars")
    with pytest.raises(DwmError, match="no part wether; nearest: weather"):
        spoken.with_words(wether="rain")


def test_a_layer_of_the_map_goes_and_the_others_stay(clip):
    edited = clip.without_map("ped_crossing")
    assert edited.map.layers["ped_crossing"] == () and edited.map.layers["lane"] == clip.map.layers["lane"]
    with pytest.raises(DwmError, match="no layer lanes; nearest: lane"):
        clip.without_map("lanes")


def test_other_cameras_see_the_same_boxes(clip):
    names = tuple(reversed(clip.views))
    edited = clip.with_rig(clip.rig.select(names))
    assert edited.views == names and edited.pictures is None
    assert edited.boxes[0][0] is clip.boxes[0][-1]


def test_a_clip_says_itself_in_a_line(clip):
    assert len(repr(clip)) < 120 and "2 frames" in repr(clip)


def test_a_run_does_all_of_its_edits(clip, thing):
    one = edited(clip, Edits(remove=(thing,), ego_left=2, time="night"))
    assert thing not in one.instances and one.captions[0][0] == replace(clip.captions[0][0], time="night")
    np.testing.assert_allclose(one.world_from_ego, clip.shifted(ego_left=2).world_from_ego)
    assert edited(clip, Edits()) is clip


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--remove", "vehicle.zeppelin", "--prompt", "day"], "'vehicle.zeppelin' names no box of this clip"),
        (
            ["--time", "night", "--prompt", "day"],
            "--time changes a part of the clip's captions, which --prompt replaces",
        ),
        (["--ego-left", "2", "--references", "1", "--prompt", "day"], "which show nothing of --ego-left"),
    ],
)
def test_the_command_refuses_an_edit_that_cannot_be(tmp_path, capsys, flags, sentence):
    folder = write(tmp_path / "set", dict(make_files(make_tables())))
    arguments = [
        "generate",
        "--data",
        str(folder),
        "--scene",
        "scene-0103",
        "-o",
        str(tmp_path / "out"),
        "--frames",
        "1",
        "--force",
    ]
    arguments = arguments if "--references" not in flags else arguments[:-1]
    status = outcome(lambda: app(args=[*arguments, *flags], prog_name="dwm", standalone_mode=False))
    assert status == 1 and sentence in capsys.readouterr().err
