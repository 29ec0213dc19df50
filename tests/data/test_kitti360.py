"""KITTI-360's genuine scans and boxes read as OpenDWM's reader did, by the real commands; broken files."""

import json
import re
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from recordings import both_ways, run, value

from dwm.clip import Boxes
from dwm.data import BirdseyeOptions, draw_boxes, draw_boxes_birdseye, open_dataset
from dwm.data.kitti360.calibration import EGO_FROM_IMU
from dwm.data.kitti360.objects import STANDING, read_objects
from dwm.errors import DwmError
from dwm.geometry import inverse
from dwm.storage import open_tree

KEYS, MADE = "2013_05_28_drive_0000_sync", "2013_05_28_drive_0003_sync"
NUMBERS = (100, 250, 360)
XML = "data_3d_bboxes/train/{}.xml"


@pytest.fixture(scope="module")
def source(shared):
    return shared / "data" / "kitti360"


@pytest.fixture(scope="module")
def expected(source):
    return json.loads((source / "expected" / "expected.json").read_text())


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DWM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield open_dataset(source)


@pytest.fixture
def copy(source, tmp_path):
    """The made drive, unpacked, to be broken."""
    for name in (f"{MADE}_velodyne.zip", "data_poses.zip", "data_3d_bboxes.zip"):
        with zipfile.ZipFile(source / name) as archive:
            archive.extractall(tmp_path / "set", [part for part in archive.namelist() if MADE in part])
    return tmp_path / "set"


def lidar_clip(dataset, number):
    """One sweep of the genuine drive, with its boxes as the drive without pictures would have them."""
    scene = dataset[KEYS]
    (row,) = [row for row in scene.rows_of["velodyne"] if f"{number:010d}.bin" in scene._files(np.array([[row]]))[0][0]]
    boxes = scene._boxes(np.array([[row]]))[0][0]
    clip = scene.clip(float(scene.tables.columns.timestamp[row] - scene._stamps("velodyne")[0]) / 1e6, 1)
    return clip, boxes


def test_sweeps_and_mounting_are_the_recorded_ones(dataset, expected):
    scene = dataset[KEYS]
    clip = scene.window(scene.windows(1, 0, 1)[0]) if scene.windows(1, 0, 1) else scene.clip(0, 1)
    want = expected["drive_0000_val"]["items"][0]["values"]
    np.testing.assert_allclose(clip.lidar.ego_from_lidar, value(want["lidar_transforms"])[0, 0], atol=1e-7)
    for number, item in zip(NUMBERS, expected["drive_0000_val"]["items"], strict=True):
        (points,) = item["values"]["lidar_points"]
        found = lidar_clip(dataset, number)[0].lidar.points[0]
        assert [len(found), 3] == points["shape"] and not found[:, 4].any()
        np.testing.assert_array_equal(found[:3, :3], np.array(points["first_3"], np.float32))
        np.testing.assert_array_equal(found[-1, :3], np.array(points["last"], np.float32))


def test_poses_between_known_ones_are_the_recorded_ones(dataset, expected):
    items, windows = expected["drive_0003_train"]["items"], dataset[MADE].windows(8, 0, 1)
    assert len(items) == len(windows) and items[0]["poses_used"]
    for item, window in zip(items, windows, strict=True):
        clip = dataset.clip(window)
        want = np.array(item["poses_used"] or clip.lidar.world_from_ego @ EGO_FROM_IMU)
        np.testing.assert_allclose(clip.lidar.world_from_ego @ EGO_FROM_IMU, want, atol=1e-4, rtol=1e-7)


def test_as_many_windows_begin_as_were_recorded(dataset, expected):
    counts = expected["item_counts"]
    assert len(dataset[MADE].windows(1, 0, 1)) == counts["split train, length 1, tuples [[0, 1]]"] == 11
    assert len(dataset[MADE].windows(8, 0, 1)) == counts["split train, length 8, tuples [[10, 1]]"] == 4


def boxes_of(objects, rows):
    """Mirrored, which looks the same: OpenDWM goes round these boxes the other way, and Pillow's lines depend on that."""
    return Boxes(
        objects.world_from_box[rows, :3, 3],
        objects.size[rows],
        objects.world_from_box[rows, :3, :3] * [1, -1, 1],
        tuple(objects.categories[row] for row in rows),
        tuple(objects.names[row] for row in rows),
    )


@pytest.mark.parametrize("place, number", enumerate(NUMBERS))
def test_boxes_from_above_are_the_recorded_ones(dataset, source, place, number):
    """OpenDWM compares a moving box's frame with the place in the list of files: it is drawn so here, to compare the rest."""
    clip, boxes = lidar_clip(dataset, number)
    objects = read_objects(open_tree(source), XML.format(KEYS))
    theirs = np.flatnonzero((objects.moments == STANDING) | (objects.moments == place))
    want = np.asarray(Image.open(source / "expected" / f"3dbox_bev_{number}.png").convert("RGB"))
    clip = replace(clip, boxes=((boxes_of(objects, theirs),),))
    found = draw_boxes_birdseye(clip, 0, BirdseyeOptions(left_is_up=False, pen_width=4))
    assert both_ways(found, want) >= 0.995
    moving = {objects.names[row] for row in np.flatnonzero(objects.moments == number)}
    assert moving and {f"{KEYS}|{name}" for name in moving} <= set(boxes.instance)


def test_boxes_of_the_made_drive_are_the_recorded_ones(dataset, source):
    clip = dataset.clip(dataset[MADE].windows(8, 0, 1)[0])
    objects = read_objects(open_tree(source), XML.format(MADE))
    theirs = boxes_of(
        objects, np.flatnonzero((objects.moments == STANDING) | (objects.moments == 3))
    )  # the fourth in the list
    clip = replace(clip, lidar=replace(clip.lidar, boxes=(theirs,) * 8))
    want = np.asarray(Image.open(source / "expected" / "3dbox_bev_drive0003_item0_frame5.png").convert("RGB"))
    found = draw_boxes_birdseye(clip, 3, BirdseyeOptions(left_is_up=False, pen_width=4))
    assert both_ways(found, want) >= 0.995


def test_a_drive_without_pictures_has_clips_of_sweeps_and_boxes(dataset):
    clip = dataset[MADE].clip(0.2, 3, 10)
    assert clip.views == () and clip.times.shape == (3, 0)
    assert all(len(boxes) == 2 for boxes in clip.lidar.boxes)  # one stands, one has a moment for each sweep
    assert draw_boxes_birdseye(clip, 1).any()


def test_the_genuine_picture_shows_its_cars(dataset):
    clip, boxes = lidar_clip(dataset, 250)
    assert clip.views == ("image_00",) and clip.pictures.load(0, 0).shape == (376, 1408, 3)
    assert len(clip.boxes[0][0]) == len(boxes) > 10
    assert draw_boxes(clip, 0, 0).any()
    # Points of the LiDAR that lie inside boxes: they stand on the cars.
    track = clip.lidar
    world = track.points[0][:, :3] @ track.world_from_lidar(0)[:3, :3].T + track.world_from_lidar(0)[:3, 3]
    inside = sum(
        (np.abs((world - center) @ turn) <= size / 2 + 0.2).all(1).sum()
        for center, size, turn in zip(boxes.center, boxes.size, boxes.rotation, strict=True)
    )
    assert inside > 3000


def test_splits_are_those_of_opendwm(source, tmp_path, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path))
    assert [scene.name for scene in open_dataset(source, split="train")] == [MADE]
    assert [scene.name for scene in open_dataset(source, split="val")] == [KEYS]


def test_the_commands_take_it(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    code, said = run(capsys, "data", "check", source, "--files")
    assert code == 0 and "KITTI-360" in said and "2 scenes" in said and "such as buildings" in said
    for scene in (KEYS, MADE):
        code, said = run(capsys, "data", "show", scene, "--data", source, "-o", tmp_path / f"{scene}.png")
        assert code == 0 and Image.open(tmp_path / f"{scene}.png").width > 400
    assert run(capsys, "data", "index", source)[0] == 0
    assert run(capsys, "data", "convert", source, "-o", tmp_path / "package", "--to", "package")[0] == 0
    one, other = (open_dataset(path)[MADE].clip(0.2, 2, 10) for path in (source, tmp_path / "package"))
    np.testing.assert_array_equal(one.lidar.points[1], other.lidar.points[1])
    np.testing.assert_allclose(one.lidar.world_from_ego, other.lidar.world_from_ego)
    np.testing.assert_array_equal(one.lidar.boxes[1].center, other.lidar.boxes[1].center)


def change(pattern, text):
    def breaks(path):
        content = path.read_text()
        assert re.search(pattern, content)
        path.write_text(re.sub(pattern, text, content, count=1))

    return breaks


LAUGHS = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "file, breaks, says",
    [
        (XML, change(r"<\?xml[^>]*\?>", LAUGHS), "declares entities or a document type"),
        (XML, change(r"</opencv_storage>", ""), "is no whole XML"),
        (XML, change(r"<semanticId>\d+</semanticId>", ""), "lacks semanticId"),
        (XML, change(r"<timestamp>[^<]*", "<timestamp>soon"), "timestamp is 'soon'"),
        (XML, change(r"<data>\S+", "<data>nan"), "not finite"),
        (XML, change(r"<data>\S+", "<data>"), "4×4 numbers"),
        ("{}/poses.txt", change(r"0\.99\S+", "x"), "twelve numbers"),
        ("{}/poses.txt", change(r"0\.99\S+", "7"), "no rotation and shift"),
        ("{}/poses.txt", lambda path: path.unlink(), "holds no poses of"),
        ("{}/poses.txt", lambda path: path.write_text(""), "a frame and twelve finite numbers"),
    ],
)
def test_a_broken_file_is_one_line(copy, capsys, file, breaks, says):
    breaks(copy / file.format(MADE))
    code, said = run(capsys, "data", "check", copy)
    assert code == 3 and re.search(says, said.replace("\n", " ")) and "Traceback" not in said
    with pytest.raises(DwmError, match=says):
        open_dataset(copy)


def test_times_of_fewer_frames_than_sweeps_are_named(copy):
    (copy / MADE / "velodyne_points" / "timestamps.txt").write_text("2013-05-28 08:46:02.904295089\n" * 5)
    with pytest.raises(DwmError, match="has times of 5 frames, not of frame 13"):
        open_dataset(copy)


def test_a_sweep_cut_within_a_point_names_its_file(copy):
    sweep = min((copy / MADE / "velodyne_points" / "data").iterdir())
    sweep.write_bytes(sweep.read_bytes()[:-3])
    with pytest.raises(DwmError, match=f"{sweep.name}: 4797 bytes are no whole number of points"):
        open_dataset(copy)[MADE].clip(0, 1).lidar.points[0]


def test_a_drive_without_boxes_is_read_and_said(copy, capsys):
    shutil.rmtree(copy / "data_3d_bboxes")
    code, said = run(capsys, "data", "check", copy)
    assert code == 0 and "has no boxes" in said
    assert open_dataset(copy)[MADE].clip(0, 1).lidar.boxes == (None,)


def test_the_ego_frame_is_level_and_looks_ahead():
    assert np.allclose(EGO_FROM_IMU @ inverse(EGO_FROM_IMU), np.eye(4)) and EGO_FROM_IMU[2, 2] == -1
