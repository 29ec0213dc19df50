"""Which views see each other, by the cameras alone: nuScenes' ring, the published masks, and cars of any number of cameras."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from recordings import run

from dwm.clip import NUSCENES_VIEWS, Rig, ring_mask
from dwm.data import ReadOptions, collate, open_dataset
from dwm.data.crossview import crossview_mask, rig_mask
from dwm.data.side_by_side import side_by_side
from dwm.geometry import rotation_z, transform
from dwm.recipes.published_sets import ARGOVERSE, WAYMO
from dwm.runs.blank_clip import EGO_FROM_FORWARD_CAMERA, plain_clip
from dwm.town.world.cameras import rig as town_rig


@pytest.fixture
def first_clip(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path))

    def open_first(name, scene, views):
        options = ReadOptions(views=views, missing_captions="empty", maps=False)
        return open_dataset(shared / "data" / name, options=options)[scene].clip(0, 1, views=views)

    return open_first


def car(*cameras, pitch=0.0):
    """Cameras of (heading, width of the field in degrees), and all of them so far up or down."""
    tilt = np.deg2rad(pitch)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    poses = [transform(rotation_z(np.deg2rad(yaw)) @ EGO_FROM_FORWARD_CAMERA @ turn, np.zeros(3)) for yaw, _ in cameras]
    focal = [50 / np.tan(np.deg2rad(width / 2)) for _, width in cameras]
    lenses = [[[f, 0, 50], [0, f, 30], [0, 0, 1]] for f in focal]
    names = tuple(f"camera_{number}" for number in range(len(cameras)))
    return Rig(names, np.array(lenses), np.array(poses), np.tile([100, 60], (len(cameras), 1)))


def seen(rig):
    return {(i, j) for i, j in np.argwhere(rig_mask(rig)).tolist() if i < j}


def all_parts(rig):
    """Every choice of cameras, and its part of the ring by nuScenes' names."""
    for count in range(1, len(rig.names) + 1):
        for views in combinations(rig.names, count):
            index = [NUSCENES_VIEWS.index(name) for name in views]
            yield views, ring_mask(6)[np.ix_(index, index)]


@pytest.mark.parametrize(
    "name, scene", [("nuscenes_keyframe", "scene-0061"), ("nuscenes_more/keyframe_val", "scene-0003")]
)
def test_every_part_of_nuscenes_ring_comes_out_of_its_cameras(first_clip, name, scene):
    rig = first_clip(name, scene, NUSCENES_VIEWS).rig
    for views, ring in all_parts(rig):
        np.testing.assert_array_equal(rig_mask(rig.select(views)), ring, err_msg=str(views))


def test_the_towns_cars_and_the_blank_one_have_that_ring_too():
    rigs = [plain_clip(NUSCENES_VIEWS, 1, 10).rig, *(town_rig(np.random.default_rng(seed)) for seed in range(20))]
    for rig in rigs:
        for views, ring in all_parts(rig):
            np.testing.assert_array_equal(rig_mask(rig.select(views)), ring, err_msg=str(views))


@pytest.mark.parametrize(
    "name, scene, source",
    [
        ("waymo", "1024360143612057520_3580_000_3600_000", WAYMO),
        ("waymo", "1071392229495085036_1844_790_1864_790", WAYMO),
        ("argoverse2", "7fab2350-7eaf-3b7e-a39d-6937a4c1bede", ARGOVERSE),
    ],
)
def test_the_published_masks_come_out_of_the_cameras(first_clip, name, scene, source):
    batch = collate([first_clip(name, scene, source.views)], (64, 36))
    np.testing.assert_array_equal(batch.crossview_mask[0], source.crossview_mask)


def test_argoverses_upright_camera_stands_between_its_neighbours(first_clip):
    views = (
        "cameras/ring_side_left",
        "cameras/ring_front_left",
        "cameras/ring_front_center",
        "cameras/ring_front_right",
    )
    rig = first_clip("argoverse2", "7fab2350-7eaf-3b7e-a39d-6937a4c1bede", views).rig
    assert seen(rig) == {(0, 1), (1, 2), (2, 3)}


def test_any_number_of_cameras():
    nobody = plain_clip(NUSCENES_VIEWS, 1, 10).rig.select(())
    assert rig_mask(nobody).shape == (0, 0)
    assert seen(car((0, 60))) == set()
    assert seen(car((5, 90), (-5, 90))) == {(0, 1)}, "a pair"
    assert seen(car((0, 60), (180, 60))) == set(), "back to back"
    eight = car(*((45 * number, 60) for number in range(8)))
    np.testing.assert_array_equal(rig_mask(eight), ring_mask(8))
    wide = car(*((72 * number, 150) for number in range(5)))
    assert rig_mask(wide).all(), "those after the next overlap too"


def test_a_gap_parts_neighbours_only_where_it_is_wide():
    assert seen(car((0, 60), (80, 60))) == {(0, 1)}
    assert seen(car((0, 60), (100, 60))) == set()
    assert seen(car((0, 60), (40, 16), (80, 60))) == {(0, 1), (1, 2)}, "one stands between them"


def test_a_camera_that_looks_down_may_see_what_any_other_does():
    rig = car((0, 60), (180, 60))
    down = replace(rig, ego_from_camera=np.stack([rig.ego_from_camera[0], np.diag([1.0, -1, -1, 1])]))
    assert seen(rig) == set() and seen(down) == {(0, 1)}


def test_a_tilt_changes_nothing():
    cameras = [(60 * number, 65) for number in range(6)]
    np.testing.assert_array_equal(rig_mask(car(*cameras, pitch=-10)), ring_mask(6))


def test_a_camera_in_two_places_and_clips_side_by_side_stand_apart():
    rig = car((0, 60), (50, 60))
    again = Rig(
        (*rig.names, rig.names[0]),
        *(np.concatenate([a, a[:1]]) for a in (rig.intrinsics, rig.ego_from_camera, rig.image_size)),
    )
    assert seen(again) == {(0, 1)}
    one = plain_clip(("CAM_FRONT",), 2, 10)
    both = side_by_side([one, one])
    np.testing.assert_array_equal(crossview_mask(both)[0], np.eye(2))
    np.testing.assert_array_equal(crossview_mask(both.part(slice(1), slice(1, 2)))[0], np.eye(1))


WAYMO_SCENE = "1071392229495085036_1844_790_1864_790"


@pytest.mark.parametrize("to", ["package", "nuscenes"])
@pytest.mark.parametrize(
    "name, scene, source",
    [("waymo", WAYMO_SCENE, WAYMO), ("argoverse2", "7fab2350-7eaf-3b7e-a39d-6937a4c1bede", ARGOVERSE)],
)
def test_what_is_converted_keeps_the_ring(shared, tmp_path, monkeypatch, capsys, to, name, scene, source):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    assert run(capsys, "data", "convert", shared / "data" / name, "-o", tmp_path / "out", "--to", to)[0] == 0
    converted = open_dataset(tmp_path / "out", options=ReadOptions(missing_captions="empty", maps=False))[scene]
    ring = tuple(dict.fromkeys(source.views))
    assert converted.views[: len(ring)] == ring
    mask = crossview_mask(converted.clip(0, 1, views=ring))[0]
    np.testing.assert_array_equal(mask, np.array(source.crossview_mask)[: len(ring), : len(ring)])
