"""Waymo's genuine key frame and a sequence read as OpenDWM's reader did, by the real commands; broken records."""

import json
import re
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from recordings import both_ways, run, value
from shapely import force_2d

from dwm.clip import LaneMap
from dwm.data import (
    BirdseyeOptions,
    CaptionOptions,
    LayoutOptions,
    ReadOptions,
    draw_boxes,
    draw_boxes_birdseye,
    draw_map,
    draw_map_birdseye,
    open_dataset,
)
from dwm.data.captions import words
from dwm.data.options import BOX_COLORS
from dwm.errors import DwmError

KEY, SEQUENCE = "1024360143612057520_3580_000_3600_000", "1071392229495085036_1844_790_1864_790"
VIEWS = ("CAM_SIDE_LEFT", "CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_SIDE_RIGHT", "CAM_FRONT")
THEIRS = {"vehicle.car": (0, 0, 255), "human.pedestrian": (255, 0, 0), "vehicle.bicycle": (0, 255, 0)}
EXACT = LayoutOptions(mode="exact", box_colors=THEIRS)


@pytest.fixture(scope="module")
def source(shared):
    return shared / "data" / "waymo"


@pytest.fixture(scope="module")
def expected(source):
    return json.loads((source / "expected" / "expected.json").read_text())


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DWM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield open_dataset(source, options=ReadOptions(views=VIEWS))


def file_of(folder, scene):
    return folder / "training" / f"segment-{scene}_with_camera_labels.tfrecord"


@pytest.fixture
def copy(source, tmp_path):
    """A set of the sequence alone, to be broken."""
    (tmp_path / "set" / "training").mkdir(parents=True)
    shutil.copy(file_of(source, SEQUENCE), tmp_path / "set" / "training")
    return tmp_path / "set"


def agree(clip, want):
    times = (clip.times - clip.times[0, 0]) / 1000
    np.testing.assert_allclose(times, value(want["pts"])[:, 1:], atol=1e-3)
    rig = clip.rig.at(0)
    np.testing.assert_array_equal(rig.intrinsics.astype(np.float32), value(want["camera_intrinsics"])[0])
    np.testing.assert_allclose(rig.ego_from_camera.astype(np.float32), value(want["camera_transforms"])[0], atol=1e-6)
    np.testing.assert_array_equal(rig.image_size, value(want["image_size"])[0])
    np.testing.assert_allclose(clip.world_from_ego, value(want["ego_transforms"])[:, 1:], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(clip.lidar.ego_from_lidar, np.eye(4))
    for frame, points in enumerate(want["lidar_points"]):
        found = clip.lidar.points[frame][:, :3]
        assert list(found.shape) == points["shape"]
        np.testing.assert_allclose(found[:3], points["first_3"], atol=0.02)
        np.testing.assert_allclose(found[-1], points["last"], atol=0.02)
        np.testing.assert_allclose(found.mean(0), points["mean"], atol=0.02)


def test_the_key_frame_has_the_recorded_numbers(dataset, expected):
    (window,) = dataset[KEY].windows(1, 0, 1)
    agree(dataset.clip(window), expected["key_frame"]["values"])


def test_a_sequence_has_the_recorded_numbers(dataset, expected):
    agree(dataset.clip(dataset[SEQUENCE].windows(4, 10, 0.1)[3]), expected["sequence"]["item_3"])


def test_windows_begin_where_the_recorded_ones_do(dataset, expected):
    for setting, want in expected["sequence"]["segments_by_setting"].items():
        length, fps, stride = (float(part.split()[-1]) for part in setting.split(", "))
        found = dataset[SEQUENCE].windows(int(length), fps, stride, check=False)
        times = [(dataset.tables.columns.timestamp[window.rows[:, 1]]).tolist() for window in found]
        first = expected["sequence"]["frame_times_us"][0]
        assert [[int(time - first) for time in row] for row in times] == want, setting


def test_scenes_come_in_the_order_of_the_info_file(dataset, source):
    assert [scene.name for scene in dataset] == list(json.loads((source / "training.info.json").read_text()))


@pytest.mark.parametrize("kind, draw, reach, share", [("3dbox", draw_boxes, 1, 0.995), ("hdmap", draw_map, 2, 0.98)])
def test_layouts_are_the_recorded_pictures(dataset, source, kind, draw, reach, share):
    clip = dataset[KEY].clip(0, 1)
    for view, camera in enumerate(VIEWS[:5]):
        want = np.asarray(Image.open(source / "expected" / f"{kind}_{camera}.png").convert("RGB"))
        assert both_ways(draw(clip, 0, view, None, EXACT), want, reach) >= share, camera


@pytest.mark.parametrize("kind, draw", [("3dbox_bev", draw_boxes_birdseye), ("hdmap_bev", draw_map_birdseye)])
def test_pictures_from_above_are_the_recorded_ones(dataset, source, kind, draw):
    clip = dataset[KEY].clip(0, 1)
    flat = {layer: tuple(map(force_2d, shapes)) for layer, shapes in clip.map.layers.items()}
    clip = replace(clip, map=LaneMap(flat))  # OpenDWM takes 0 for all heights here
    options = BirdseyeOptions(left_is_up=False, fill_map=True, pen_width=4, box_colors=THEIRS)
    want = np.asarray(Image.open(source / "expected" / f"{kind}.png").convert("RGB"))
    assert both_ways(draw(clip, 0, options), want, 2) >= 0.98


def test_captions_are_the_recorded_ones_for_each_seed(dataset, expected):
    captions, want = dataset[KEY].clip(0, 1, views=VIEWS).captions, expected["key_frame"]
    options = CaptionOptions(
        align_keys=("time", "weather"),
        reorder=True,
        drop_rates={"environment": 0.04, "objects": 0.08, "image_description": 0.16},
    )
    for seed, reads in want["captions"].items():
        random = np.random.RandomState(int(seed))
        assert [list(words(captions, options, random)[0]) for _ in reads] == reads
    assert list(words(captions, CaptionOptions(align_keys=("time", "weather")))[0]) == want["captions_plain"]
    assert list(words(captions)[0]) == want["captions_plain_no_align"]


def test_a_table_of_words_becomes_the_caption_files_that_are_read(copy, tmp_path, capsys):
    table = tmp_path / "words.csv"
    table.write_text(f"scene,camera,at,text\n{SEQUENCE},,,a road\n{SEQUENCE},CAM_FRONT,0.3,a crossing\n")
    code, said = run(capsys, "data", "captions", table, "--data", copy)
    assert code == 0 and "2 rows became" in said
    scene = open_dataset(copy, options=ReadOptions(views=VIEWS))[SEQUENCE]
    captions = scene.clip(0.3, 1, views=VIEWS).captions[0]
    assert [caption.text() for caption in captions] == [
        "a road",
        "a road",
        "a crossing",
        "a road",
        "a road",
        "a crossing",
    ]


def test_a_short_range_lidar_is_read_too(dataset):
    frames = [name for name in dataset.index.frames["filename"].to_pylist() if KEY in name and "LIDAR_FRONT" in name]
    points = np.frombuffer(dataset.tables.tree.read(frames[0]), np.float32).reshape(-1, 5)
    assert len(points) > 1000 and np.abs(points[:, :3]).max() < 90
    ground = points[np.abs(points[:, 3] - 0.125) < 1e-3]
    np.testing.assert_allclose(ground[:, 2], -0.17, atol=0.03)


def test_the_usual_views_are_all_five_from_left_to_right(source, tmp_path, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path))
    assert open_dataset(source)[KEY].views == VIEWS[:5]


def test_the_commands_take_it(copy, tmp_path, capsys):
    code, said = run(capsys, "data", "check", copy, "--files")
    assert code == 0 and "Waymo Open v1 training" in said and "1 scenes" in said and "does not show" not in said
    code, said = run(capsys, "data", "show", SEQUENCE, "--data", copy, "-o", tmp_path / "look.png")
    assert code == 0 and Image.open(tmp_path / "look.png").width > 400
    assert run(capsys, "data", "index", copy)[0] == 0


def test_a_package_of_it_has_the_same_clip(copy, tmp_path, capsys):
    assert run(capsys, "data", "convert", copy, "-o", tmp_path / "package", "--to", "package")[0] == 0
    one, other = (open_dataset(path)[SEQUENCE].clip(0.3, 2, 10, VIEWS[:5]) for path in (copy, tmp_path / "package"))
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_allclose(one.world_from_ego, other.world_from_ego)
    np.testing.assert_array_equal(one.pictures.load(1, 2), other.pictures.load(1, 2))
    np.testing.assert_array_equal(one.lidar.points[1], other.lidar.points[1])
    for draw in (draw_boxes, draw_map):
        assert draw(one, 0, 2, (448, 256)).any()
        np.testing.assert_array_equal(draw(one, 0, 2, (448, 256)), draw(other, 0, 2, (448, 256)))


def test_an_archive_reads_as_the_folder(copy, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "waymo"), "zip", copy)
    one, other = (open_dataset(path)[SEQUENCE].clip(0.3, 1) for path in (copy, archive))
    np.testing.assert_array_equal(one.pictures.load(0, 0), other.pictures.load(0, 0))


def cut(data, info):
    return data[: len(data) // 2], info


def flip_body(data, info):
    place = info[3][2] + 5000
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], info


def flip_length(data, info):
    place = info[2][2] - 12
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], info


def swap(data, info):
    records = [data[offset - 12 : offset + size + 4] for _, size, offset in info]
    records[4], records[5] = records[5], records[4]
    return b"".join(records), None


def other_info(data, info):
    return data, [[time, size, offset + 4] for time, size, offset in info]


def text(data, info):
    return b"<html>not a record at all</html>", None


@pytest.mark.parametrize(
    "breaks, says",
    [
        (cut, "ends early, in record"),
        (flip_body, "its checksum differs"),
        (flip_length, "record 2 .* checksum of its length differs"),
        (swap, "does not follow"),
        (other_info, "another version"),
        (text, "no TFRecord file"),
    ],
)
def test_a_broken_file_is_one_line(copy, source, capsys, breaks, says):
    info = json.loads((source / "training.info.json").read_text())[SEQUENCE]
    file = file_of(copy, SEQUENCE)
    data, listed = breaks(file.read_bytes(), info)
    file.write_bytes(data)
    if listed is not None:
        (copy / "training.info.json").write_text(json.dumps({SEQUENCE: listed}))
    code, said = run(capsys, "data", "check", copy)
    assert code == 3 and re.search(says, said.replace("\n", " ")) and "Traceback" not in said
    with pytest.raises(DwmError, match=says):
        open_dataset(copy)


def rewritten(file, change, keep=2):
    """The first records of a file, each changed as a message, with right checksums."""
    from dwm.data.waymo.records import frame_class, masked_checksum

    data, place, found = file.read_bytes(), 0, b""
    for number in range(keep):
        (size,) = struct.unpack_from("<Q", data, place)
        frame = frame_class()()
        frame.ParseFromString(data[place + 12 : place + 12 + size])
        change(frame, number)
        body = frame.SerializeToString()
        head = struct.pack("<Q", len(body))
        found += head + struct.pack("<I", masked_checksum(head)) + body + struct.pack("<I", masked_checksum(body))
        place += size + 16
    file.write_bytes(found)


def test_what_a_segment_lacks_is_said_and_the_rest_is_read(copy, capsys):
    def change(frame, number):
        del frame.laser_labels[:], frame.map_features[:]
        for image in [image for image in frame.images if image.name == 5]:
            frame.images.remove(image)

    rewritten(file_of(copy, SEQUENCE), change)
    code, said = run(capsys, "data", "check", copy)
    assert code == 0 and "has no labelled boxes" in said and "has no map" in said and "CAM_SIDE_RIGHT" in said
    scene = open_dataset(copy)[SEQUENCE]
    assert scene.views == VIEWS[:4]
    clip = scene.clip(0, 1)
    assert not draw_boxes(clip, 0, 0, (64, 36)).any() and not draw_map(clip, 0, 0, (64, 36)).any()


def test_a_matrix_that_is_no_motion_is_named(copy):
    def change(frame, number):
        frame.pose.transform[0] = float("nan")

    rewritten(file_of(copy, SEQUENCE), change)
    with pytest.raises(DwmError, match=r"record 0: pose: is no matrix"):
        open_dataset(copy)


def test_a_wrong_folder_is_named_with_the_nearest(copy):
    with pytest.raises(DwmError, match="holds no segments in trainin; nearest: training"):
        open_dataset(copy, "trainin")


def test_signs_have_no_colour_of_ours(dataset):
    categories = set(dataset[KEY].clip(0, 1).boxes[0][0].category)
    assert categories == {"vehicle.car", "human.pedestrian.adult", "static_object.sign", "vehicle.bicycle"}
    assert not any("static_object.sign".startswith(prefix) for prefix in BOX_COLORS)
