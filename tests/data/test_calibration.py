"""A camera or a LiDAR calibrated anew within a scene: every frame of a clip has its own numbers, on the way to the network too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_up_nuscenes import START, make_files, make_tables, write

from dwm.conditions import ConditionOptions
from dwm.conditions.camera import camera_ids
from dwm.data import collate, draw_boxes, look_at, open_dataset
from dwm.data.nuscenes.check import check_dataset
from dwm.data.nuscenes.dataset import NuScenesTables
from dwm.data.overview import LookOptions, sweeps_in_world
from dwm.data.package.convert import to_nuscenes, to_package
from dwm.data.package.schema import PackageTables
from dwm.errors import DwmError
from dwm.storage import open_tree

CHANGE = START + 700_000
"""When the front camera gets another lens and the LiDAR another place (µs)."""


@pytest.fixture
def folder(tmp_path):
    tables = make_tables(scenes=("scene-0103",))
    rows = {row["token"]: row for row in tables["calibrated_sensor"]}
    tele = rows["CAM_FRONT mounted"] | {"token": "tele", "translation": [1.0, 0.0, 2.5]}
    tele["camera_intrinsic"] = [[80.0, 0.0, 32.0], [0.0, 80.0, 18.0], [0.0, 0.0, 1.0]]
    moved = rows["LIDAR_TOP mounted"] | {"token": "moved", "translation": [1.0, 0.0, 3.0]}
    tables["calibrated_sensor"] += [tele, moved]
    for row in tables["sample_data"]:
        if row["timestamp"] >= CHANGE:
            names = {"CAM_FRONT mounted": "tele", "LIDAR_TOP mounted": "moved"}
            row["calibrated_sensor_token"] = names.get(row["calibrated_sensor_token"], row["calibrated_sensor_token"])
    return write(tmp_path / "set", make_files(tables))


@pytest.fixture
def clip(folder):
    return open_dataset(folder)["scene-0103"].clip(0.0, 4, 2)


def test_each_frame_has_the_calibration_of_its_own_picture(clip):
    front = clip.views.index("CAM_FRONT")
    assert [clip.rig.at(frame).intrinsics[front, 0, 0] for frame in range(4)] == [40, 40, 80, 80]
    assert [clip.rig.at(frame).ego_from_camera[front, 2, 3] for frame in range(4)] == [1.5, 1.5, 2.5, 2.5]
    others = [view for view in range(6) if view != front]
    assert (clip.rig.intrinsics[:, others, 0, 0] == 40).all()


def test_a_batch_and_the_numbers_for_the_network_follow(clip):
    batch, front = collate([clip], (64, 48)), clip.views.index("CAM_FRONT")
    assert batch.intrinsics[0, :, front, 0, 0].tolist() == [40, 40, 80, 80]
    assert batch.intrinsics.shape == (1, 4, 6, 3, 3) and batch.image_size.shape == (1, 4, 6, 2)
    ids = camera_ids(batch, ConditionOptions(added_time_ids="fps_camera_transforms"))[0, :, front]
    assert (ids[1] != ids[2]).any() and (ids[2] == ids[3]).all()
    later = batch.frames_from(2, 4)
    assert later.intrinsics[0, :, front, 0, 0].tolist() == [80, 80]


def test_layouts_are_drawn_with_the_lens_of_the_moment(clip, folder):
    front = clip.views.index("CAM_FRONT")
    alone = open_dataset(folder)["scene-0103"].clip(1.0, 1, 2)
    np.testing.assert_array_equal(draw_boxes(clip, 2, front), draw_boxes(alone, 0, front))
    assert draw_boxes(clip, 2, front).any()
    np.testing.assert_array_equal(
        look_at(clip, LookOptions(tile_width=64))[2], look_at(alone, LookOptions(tile_width=64))[0]
    )


def test_parts_keep_their_own_frames_and_views(clip):
    part = clip.part(slice(1, 3), slice(1, 3))
    assert part.views == clip.views[1:3] and part.rig.intrinsics.shape == (2, 2, 3, 3)
    assert part.rig.intrinsics[:, 0, 0, 0].tolist() == [40, 80]
    np.testing.assert_array_equal(part.lidar.world_from_lidar(1), clip.lidar.world_from_lidar(2))
    assert clip.part(slice(2, 4), slice(0, 6)).rig.at(0).intrinsics[1, 0, 0] == 80


def test_sweeps_lie_where_the_lidar_stood(clip):
    heights = [sweep[0, 2] - clip.lidar.points[0][0, 2] for sweep in sweeps_in_world(clip)]
    np.testing.assert_allclose(heights, [1.8, 1.8, 3.0, 3.0])


def test_a_camera_that_stays_as_it_is_has_no_frame_axis(folder):
    clip = open_dataset(folder)["scene-0103"].clip(0.0, 2, 4)
    assert clip.rig.intrinsics.shape == (6, 3, 3) and clip.rig.at(1) is clip.rig
    assert clip.lidar.ego_from_lidar.shape == (4, 4)


def test_packages_keep_all_calibrations(folder, tmp_path, clip):
    to_package(NuScenesTables(open_tree(folder), "v1.0-mini"), tmp_path / "drive")
    to_nuscenes(PackageTables(open_tree(tmp_path / "drive")), tmp_path / "back")
    for place in ("drive", "back"):
        read = open_dataset(tmp_path / place)["scene-0103"].clip(0.0, 4, 2)
        np.testing.assert_allclose(read.rig.intrinsics, clip.rig.intrinsics)
        np.testing.assert_allclose(read.rig.ego_from_camera, clip.rig.ego_from_camera, atol=1e-9)
    assert len(json.loads((tmp_path / "back" / "v1.0-mini" / "calibrated_sensor.json").read_text())) == 9


@pytest.mark.parametrize(
    "matrix",
    [
        [[1e300, 1e300, 1e300]] * 3,
        [[40.0, 40.0, 32.0], [40.0, 40.0, 18.0], [0.0, 0.0, 1.0]],
        [[40.0, 0.0, 32.0], [0.0, 40.0, 18.0], [0.0, 0.0, 0.0]],
    ],
)
def test_a_calibration_that_no_camera_has_is_found_before_anything_is_drawn(tmp_path, matrix):
    tables = make_tables(scenes=("scene-0103",))
    for row in tables["calibrated_sensor"]:
        row["camera_intrinsic"] = row["camera_intrinsic"] and matrix
    folder = write(tmp_path / "set", make_files(tables))
    with pytest.raises(DwmError, match=r"calibrated_sensor\.json: row .* mounted: camera_intrinsic .* is no matrix"):
        open_dataset(folder)
    assert check_dataset(folder).faults


def test_an_empty_sweep_is_a_damaged_one(folder):
    for file in (folder / "samples" / "LIDAR_TOP").iterdir():
        file.write_bytes(b"")
    assert any("LIDAR_TOP" in one.kind for one in check_dataset(folder, read_files=True).faults)
