"""Argoverse 2's genuine log read as OpenDWM's reader did, by the real commands; what logs lack, and broken files."""

import json
import re
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import feather
from recordings import both_ways, run, value

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
from dwm.data.argoverse.categories import CATEGORIES
from dwm.data.captions import words
from dwm.data.layout import color_of
from dwm.data.options import BOX_COLORS
from dwm.errors import DwmError
from dwm.opendwm.config.data import DEFAULT_BOX_COLORS

LOG, SMALL = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede", "00000000-0000-3000-8000-00000000abcd"
VIEWS = tuple(
    f"cameras/ring_{place}"
    for place in ("front_left", "front_right", "side_right", "rear_right", "rear_left", "side_left")
)
FRONT = "cameras/ring_front_center"
EXACT = LayoutOptions(mode="exact", box_colors=DEFAULT_BOX_COLORS["argoverse"], pen_width=10)


@pytest.fixture(scope="module")
def source(shared):
    return shared / "data" / "argoverse2"


@pytest.fixture(scope="module")
def expected(source):
    return json.loads((source / "expected" / "expected.json").read_text())


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DWM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield open_dataset(source, options=ReadOptions(missing_captions="empty"))


@pytest.fixture
def copy(source, tmp_path):
    """The small log, and the genuine one, unpacked, to be broken."""
    for name in ("train-000.tar", "val-000.tar"):
        with tarfile.open(source / name) as archive:
            archive.extractall(tmp_path / "set", filter="data")
    return tmp_path / "set"


def folder(copy, split="val", name=LOG):
    return copy / "sensor" / split / name


def agree(clip, want, clock):
    """clock: the time (µs) from which the recorded ones count."""
    np.testing.assert_allclose((clip.times - clock) / 1000, value(want["pts"])[:, -6:], atol=1e-4)
    rig = clip.rig.at(0)
    np.testing.assert_array_equal(rig.intrinsics.astype(np.float32), value(want["camera_intrinsics"])[0])
    np.testing.assert_allclose(rig.ego_from_camera.astype(np.float32), value(want["camera_transforms"])[0], atol=1e-6)
    np.testing.assert_array_equal(rig.image_size, value(want["image_size"])[0])
    np.testing.assert_allclose(
        clip.world_from_ego.astype(np.float32), value(want["ego_transforms"])[:, -6:], rtol=2e-7, atol=1e-6
    )


def test_the_key_frame_has_the_recorded_numbers(dataset, expected):
    window = dataset[LOG].windows(1, 0, 1)[1]
    clip, want = dataset.clip(window), expected["key_frame"]["values"]
    agree(clip, want, clip.lidar.times[0])
    np.testing.assert_array_equal(clip.lidar.ego_from_lidar, np.eye(4))
    (points,) = want["lidar_points"]
    found = clip.lidar.points[0][:, :3]
    assert list(found.shape) == points["shape"]
    np.testing.assert_array_equal(found[:3], points["first_3"])
    np.testing.assert_array_equal(found[-1], points["last"])
    np.testing.assert_allclose(found.mean(0), points["mean"], rtol=1e-4)


def test_a_clip_has_the_recorded_numbers(dataset, expected):
    clip = dataset.clip(dataset[LOG].windows(4, 10, 0.1)[0])
    later = dataset.clip(dataset[LOG].windows(4, 10, 0.1)[1])
    agree(later, expected["clip"]["item_1"], later.lidar.times[0])
    assert (later.times > clip.times).all()


def test_windows_begin_where_the_recorded_ones_do(dataset, expected):
    for setting, want in expected["segments_by_setting"].items():
        length, fps, stride = (float(part.split()[-1]) for part in setting.split(", ")[:3])
        found = dataset[LOG].windows(int(length), fps, stride, check="check True" in setting)
        times = dataset.tables.columns.timestamp
        stamps = [times[window.rows] for window in found]
        assert len(stamps) == len(want), setting
        for one, other in zip(stamps, want, strict=True):
            np.testing.assert_allclose(one, np.array(other) / 1000, atol=0.1, rtol=0)


def test_the_upright_camera_is_there_when_asked_for(dataset, expected):
    rig = dataset[LOG].clip(0, 1, views=(FRONT, VIEWS[0], VIEWS[0])).rig
    want = expected["ring_front_center"]
    np.testing.assert_allclose(rig.ego_from_camera[:1], value(want["camera_transforms"])[0], atol=1e-6)
    np.testing.assert_array_equal(rig.image_size[:1], value(want["image_size"])[0])
    assert rig.names == (FRONT, VIEWS[0], VIEWS[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind, draw", [("3dbox", draw_boxes), ("hdmap", draw_map)])
def test_layouts_are_the_recorded_pictures(dataset, source, kind, draw):
    clip = dataset[LOG].clip(0.1002, 1, views=(*VIEWS, FRONT))
    for view, camera in enumerate(clip.rig.names):
        name = f"{kind}_{camera.rpartition('/')[2]}.png"
        want = np.asarray(Image.open(source / "expected" / name).convert("RGB"))
        assert both_ways(draw(clip, 0, view, None, EXACT), want) >= 0.995, name


@pytest.mark.parametrize(
    "name, draw, changes",
    [
        ("3dbox_bev", draw_boxes_birdseye, {"left_is_up": False, "pen_width": 4}),
        ("3dbox_bev_default", draw_boxes_birdseye, {}),
        ("3dbox_bev_fill", draw_boxes_birdseye, {"fill_boxes": True}),
        ("hdmap_bev", draw_map_birdseye, {"left_is_up": False, "pen_width": 4}),
        ("hdmap_bev_default", draw_map_birdseye, {}),
    ],
)
def test_pictures_from_above_are_the_recorded_ones(dataset, source, name, draw, changes):
    clip = dataset[LOG].clip(0.1002, 1)
    want = np.asarray(Image.open(source / "expected" / f"{name}.png").convert("RGB"))
    options = BirdseyeOptions(box_colors=DEFAULT_BOX_COLORS["argoverse"], **changes)
    assert both_ways(draw(clip, 0, options), want) >= 0.995


def test_captions_are_the_recorded_ones_for_each_seed(source, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path))
    scene = open_dataset(source, options=ReadOptions(lidar=False))[LOG]
    captions = scene.window(scene.windows(1, 0, 1, VIEWS)[1]).captions
    aligned = CaptionOptions(align_keys=("time", "weather"))
    drawn = aligned.with_(reorder=True, drop_rates={"environment": 0.04, "objects": 0.08, "image_description": 0.16})
    for seed, reads in expected["captions"].items():
        random = np.random.RandomState(int(seed))
        assert [list(words(captions, drawn, random)[0]) for _ in reads] == reads
    assert list(words(captions, aligned)[0]) == expected["captions_plain"]
    assert list(words(captions)[0]) == expected["captions_plain_no_align"]


def test_a_split_is_each_logs_own(source, tmp_path, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path))
    assert [scene.name for scene in open_dataset(source, split="train")] == [SMALL]
    assert [scene.name for scene in open_dataset(source, split="val")] == [LOG]
    small = open_dataset(source, split="train", options=ReadOptions(missing_captions="empty"))[SMALL]
    assert small.clip(0, 1, views=VIEWS[:1]).pictures.load(0, 0).any()
    with pytest.raises(DwmError, match=r"split mini_train: is neither official \(train, val, test\)"):
        open_dataset(source, split="mini_train")
    with pytest.raises(DwmError, match="holds no scene of split test"):
        open_dataset(source, split="test")


def test_a_frame_between_two_sweeps_has_its_boxes_between_theirs(dataset):
    clip = dataset[LOG].clip(0.1, 5, 20, VIEWS)
    boxes = [row[0] for row in clip.boxes]
    assert all(part is not None and len(part) > 60 for part in boxes)
    names = set.intersection(*(set(part.instance) for part in boxes))
    paths = [np.array([part.center[part.instance.index(name)] for part in boxes]) for name in names]
    longest = max(paths, key=lambda path: float(np.linalg.norm(path[-1] - path[0])))
    steps = np.linalg.norm(np.diff(longest, axis=0), axis=1)
    assert len(names) > 50 and steps.min() > 0


def test_archives_folders_and_any_level_of_them_read_alike(source, copy, tmp_path, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    want = open_dataset([source / "train-000.tar", source / "val-000.tar"])[LOG].clip(0.1, 1, views=VIEWS[:2])
    for path in (copy, copy / "sensor", copy / "sensor" / "val"):
        opened = open_dataset(path, split="val")
        found = opened[LOG].clip(0.1, 1, views=VIEWS[:2])
        np.testing.assert_array_equal(found.world_from_ego, want.world_from_ego)
        np.testing.assert_array_equal(found.pictures.load(0, 1), want.pictures.load(0, 1))
        np.testing.assert_array_equal(found.lidar.points[0], want.lidar.points[0])


def test_a_new_picture_in_a_folder_is_found(copy):
    pictures = folder(copy) / "sensors" / "cameras" / "ring_front_left"
    last = max(pictures.iterdir())
    last.rename(copy / "aside.jpg")
    count = len(open_dataset(copy)[LOG].rows_of[VIEWS[0]])
    (copy / "aside.jpg").rename(last)
    assert len(open_dataset(copy)[LOG].rows_of[VIEWS[0]]) == count + 1


def test_the_commands_take_it(copy, source, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    code, said = run(capsys, "data", "check", copy)
    assert code == 0 and "Argoverse 2 sensor" in said and "2 scenes" in said and "static_object.bollard" in said
    code, said = run(capsys, "data", "show", LOG, "--data", source, "-o", tmp_path / "look.png")
    assert code == 0 and Image.open(tmp_path / "look.png").width > 400
    assert run(capsys, "data", "index", source)[0] == 0


def test_a_package_of_it_has_the_same_clip(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    assert run(capsys, "data", "convert", source, "-o", tmp_path / "package", "--to", "package")[0] == 0
    one, other = (open_dataset(path)[LOG].clip(0.1, 2, 10, VIEWS) for path in (source, tmp_path / "package"))
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_array_equal(one.world_from_ego, other.world_from_ego)
    np.testing.assert_array_equal(one.pictures.load(1, 2), other.pictures.load(1, 2))
    np.testing.assert_array_equal(one.lidar.points[1], other.lidar.points[1])
    assert one.captions == other.captions
    for draw in (draw_boxes, draw_map):
        assert draw(one, 0, 0, (448, 256)).any()
        np.testing.assert_array_equal(draw(one, 0, 0, (448, 256)), draw(other, 0, 0, (448, 256)))


def test_every_class_has_a_colour_of_its_kind_or_none():
    drawn = {name: color_of(ours, BOX_COLORS) for name, ours in CATEGORIES.items()}
    assert drawn["REGULAR_VEHICLE"] == drawn["LARGE_VEHICLE"] == (0, 0, 255)
    assert {name for name, color in drawn.items() if color is None} == {
        *("ANIMAL", "BOLLARD", "DOG", "MESSAGE_BOARD_TRAILER", "MOBILE_PEDESTRIAN_CROSSING_SIGN"),
        *("MOBILE_PEDESTRIAN_SIGN", "RAILED_VEHICLE", "SIGN", "STOP_SIGN", "TRAFFIC_LIGHT_TRAILER", "WHEELED_DEVICE"),
    }
    theirs = {name for name, ours in CATEGORIES.items() if color_of(ours, DEFAULT_BOX_COLORS["argoverse"])}
    assert theirs == {
        *("BICYCLIST", "MOTORCYCLIST", "PEDESTRIAN", "BICYCLE", "MOTORCYCLE", "BOX_TRUCK", "TRUCK", "TRUCK_CAB"),
        *("BUS", "SCHOOL_BUS", "LARGE_VEHICLE", "REGULAR_VEHICLE", "VEHICULAR_TRAILER"),
    }


def test_what_a_log_lacks_is_said_and_the_rest_is_read(copy, capsys):
    log = folder(copy)
    (log / "annotations.feather").unlink()
    shutil.rmtree(log / "map")
    shutil.rmtree(log / "sensors" / "cameras" / "ring_side_left")
    lens = feather.read_table(log / "calibration" / "intrinsics.feather")
    keep = pa.array([name != "ring_rear_left" for name in lens["sensor_name"].to_pylist()])
    feather.write_feather(lens.filter(keep), log / "calibration" / "intrinsics.feather")
    code, said = run(capsys, "data", "check", copy)
    assert code == 0
    for words_of in ("has no annotated boxes", "has no map", "no calibration of cameras/ring_rear_left"):
        assert words_of in said
    scene = open_dataset(copy)[LOG]
    assert scene.views == VIEWS[:4]
    clip = scene.clip(0, 1)
    assert not draw_boxes(clip, 0, 0, (64, 48)).any() and not draw_map(clip, 0, 0, (64, 48)).any()


def test_pictures_without_sweeps_keep_their_boxes(copy):
    shutil.rmtree(folder(copy) / "sensors" / "lidar")
    clip = open_dataset(copy)[LOG].clip(0.1, 2, 10)
    assert clip.lidar is None and all(len(part) > 60 for row in clip.boxes for part in row)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def page(path):
    path.write_bytes(b"<html>not here</html>")


def without(column):
    def breaks(path):
        feather.write_feather(feather.read_table(path).drop_columns([column]), path)

    return breaks


def twice(path):
    table = feather.read_table(path)
    feather.write_feather(pa.concat_tables([table, table.slice(5, 1)]), path)


def bomb(path):
    table = feather.read_table(path)
    rows = 20_000_000
    columns = [pa.array(np.zeros(rows, np.int64)) for _ in table.column_names]
    feather.write_feather(pa.table(columns, table.column_names), path, compression="zstd")


def turn_off(path):
    table = feather.read_table(path)
    feather.write_feather(table.set_column(1, "qw", pa.array(np.full(len(table), 7.0))), path)


@pytest.mark.parametrize(
    "file, breaks, says",
    [
        ("city_SE3_egovehicle.feather", truncate, "ends early"),
        ("city_SE3_egovehicle.feather", page, "is no feather file"),
        ("city_SE3_egovehicle.feather", without("tz_m"), "lacks the column tz_m"),
        ("city_SE3_egovehicle.feather", twice, "has two poses at"),
        ("city_SE3_egovehicle.feather", bomb, r"city_SE3_egovehicle.feather: a table"),
        ("city_SE3_egovehicle.feather", turn_off, "is not a unit quaternion"),
        ("city_SE3_egovehicle.feather", lambda path: path.unlink(), "city_SE3_egovehicle.feather: is missing"),
        ("annotations.feather", truncate, "annotations.feather: ends early"),
        ("calibration/intrinsics.feather", without("fx_px"), "lacks the column fx_px"),
    ],
)
def test_a_broken_table_is_one_line(copy, capsys, file, breaks, says):
    breaks(folder(copy) / file)
    code, said = run(capsys, "data", "check", copy)
    assert code == 3 and re.search(says, said.replace("\n", " ")) and "Traceback" not in said
    with pytest.raises(DwmError, match=says):
        open_dataset(copy)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda content: content.pop("lane_segments"), "lane_segments is missing"),
        (
            lambda content: next(iter(content["drivable_areas"].values())).pop("area_boundary"),
            "area_boundary is missing",
        ),
        (lambda content: next(iter(content["lane_segments"].values())).pop("is_intersection"), "is_intersection"),
        (
            lambda content: next(iter(content["pedestrian_crossings"].values()))["edge1"][0].update(x=1e300),
            "beyond the earth",
        ),
    ],
)
def test_a_broken_map_names_its_element(copy, change, says):
    (name,) = (folder(copy) / "map").glob("log_map_archive_*.json")
    content = json.loads(name.read_text())
    change(content)
    name.write_text(json.dumps(content))
    with pytest.raises(DwmError, match=says):
        open_dataset(copy)[LOG].clip(0, 1)


def test_a_broken_sweep_names_its_file(copy, capsys):
    sweep = min((folder(copy) / "sensors" / "lidar").iterdir())
    truncate(sweep)
    clip = open_dataset(copy)[LOG].clip(0, 1)
    with pytest.raises(DwmError, match=rf"{sweep.name}: ends early"):
        clip.lidar.points[0]
    code, said = run(capsys, "data", "check", copy, "--files")
    assert code == 3 and "damaged files" in said
