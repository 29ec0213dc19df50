"""Data of one's own, or a part of a set: what differs from nuScenes is used, said in one line, or refused in one."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
from made_up_nuscenes import CAMERAS, MAP, SIZE, make_files, make_tables, write
from PIL import Image

from dwm.clip import Boxes
from dwm.data import DatasetWindows, ReadOptions, open_dataset
from dwm.data.nuscenes.interpolate import NAME, interpolate
from dwm.data.open import check_dataset
from dwm.data.package import PackageWriter
from dwm.data.package.convert import to_nuscenes
from dwm.data.package.schema import PackageTables
from dwm.errors import DwmError
from dwm.geometry import rotation_z, transform
from dwm.storage import open_tree


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set", make_files(make_tables()))


def change(folder, name, edit):
    path = folder / "v1.0-mini" / f"{name}.json"
    rows = json.loads(path.read_text())
    rows = edit(rows) or rows
    path.write_text(json.dumps(rows))


# Pictures that are not there


def test_where_sweeps_are_missing_the_nearest_picture_that_is_there_stands_in(folder):
    shutil.rmtree(folder / "sweeps")
    with pytest.warns(UserWarning, match=r"90 of 114 pictures are not there .*sweeps/.*up to \d+ ms") as told:
        clip = open_dataset(folder)["scene-0103"].clip(0.0, 4, 4)
    assert len([one for one in told if "not there" in str(one.message)]) == 1
    assert all((folder / name).is_file() for row in clip.pictures.files for name in row)
    assert {name.partition("/")[0] for row in clip.pictures.files for name in row} == {"samples"}


def test_key_frames_alone_are_a_whole_set_when_asked_for(folder):
    shutil.rmtree(folder / "sweeps")
    assert check_dataset(folder).faults and not check_dataset(folder, key_frames_only=True).faults
    assert len(DatasetWindows(open_dataset(folder, options=ReadOptions(key_frames_only=True)), 2, [(2, 0.5)]))


def test_windows_that_lack_pictures_are_left_out_and_counted_before_any_is_read(folder):
    for name in CAMERAS:
        for path in sorted((folder / "samples" / name).iterdir())[-4:]:
            path.unlink()  # the second scene
    whole = [(0.0, 0.0)]
    with pytest.warns(UserWarning, match=r"4 of 8 windows lack pictures \(24 of 48 files are not there, .*samples/"):
        windows = DatasetWindows(open_dataset(folder), 1, whole)
    assert {windows[i].scene for i in range(len(windows))} == {"scene-0103"}
    shutil.rmtree(folder / "samples")
    with pytest.raises(DwmError, match=r"8 of 8 windows lack pictures .*--key-frames"):
        DatasetWindows(open_dataset(folder), 1, whole)


# Times


@pytest.mark.parametrize(("factor", "unit"), [(1000, "nanoseconds"), (1e-3, "milliseconds"), (1e-6, "seconds")])
def test_times_of_another_unit_are_refused_with_the_unit(folder, factor, unit):
    change(folder, "sample_data", lambda rows: [row | {"timestamp": row["timestamp"] * factor} for row in rows])
    with pytest.raises(DwmError, match=f"sample_data.json: frames lie .* as if timestamp were in {unit}"):
        open_dataset(folder)
    assert unit in check_dataset(folder).faults[0].example


# 12 Hz


def test_tables_without_sweeps_do_not_become_12_hz_unless_asked_and_are_not_preferred_then(tmp_path):
    folder = write(tmp_path / "keys", make_files(make_tables(sweeps=0)))
    with pytest.raises(DwmError, match=r"too few sweeps for 12 Hz: \d+ of \d+ frames .*--repeat"):
        interpolate(open_tree(folder), "v1.0-mini", folder / NAME)
    assert not (folder / NAME).exists()
    interpolate(open_tree(folder), "v1.0-mini", folder / NAME, repeat=True)
    assert open_dataset(folder).version == "v1.0-mini" and open_dataset(folder, NAME).version == NAME


# Maps


def test_a_map_without_version_is_read_with_a_warning_that_says_what_to_write(folder):
    path = folder / "expansion" / "made-up-town.json"
    path.write_text(json.dumps({key: value for key, value in MAP.items() if key != "version"}))
    with pytest.warns(UserWarning, match=r'made-up-town.json: has no version.*write "version": "1.3"'):
        assert open_dataset(folder)["scene-0103"].clip(0, 1).map.layers["lane"]
    note = next(one for one in check_dataset(folder).findings if one.kind == "maps of another version")
    assert not note.is_fault


@pytest.mark.parametrize("version", [None, "1.0", "1.2"])
def test_an_outdated_map_of_nuscenes_own_places_is_refused(folder, version):
    change(folder, "log", lambda rows: [row | {"location": "singapore-onenorth"} for row in rows])
    content = MAP | {"version": version} if version else {k: v for k, v in MAP.items() if k != "version"}
    (folder / "expansion" / "singapore-onenorth.json").write_text(json.dumps(content))
    with pytest.raises(DwmError, match=r"singapore-onenorth.json: .*version.*nuScenes-map-expansion-v1.3.zip"):
        open_dataset(folder)["scene-0103"].clip(0, 1)
    assert [one.kind for one in check_dataset(folder).faults] == ["maps"]


# Folders


@pytest.mark.parametrize("given", ["..", "v1.0-mini", "samples", "samples/CAM_BACK"])
def test_a_folder_above_or_below_the_set_says_where_the_set_lies(folder, given):
    with pytest.raises(DwmError, match="a data set lies in ") as error:
        open_dataset(folder / given)
    assert f"a data set lies in {folder}: " in str(error.value)


def test_cameras_of_other_names_are_offered_as_views(folder):
    change(
        folder,
        "sensor",
        lambda rows: [row | {"channel": row["channel"].replace("CAM_", "kamera_")} for row in rows],
    )
    with pytest.raises(DwmError, match=r"has no camera CAM_FRONT; .*--views kamera_FRONT_LEFT,kamera_FRONT,"):
        open_dataset(folder)["scene-0103"].clip(0, 1, 2, ("CAM_FRONT",))


# Pictures of other kinds


def put(folder, picture, name="x.png", **options):
    """A picture of one's own in the place of the front camera's first one."""
    clip = open_dataset(folder)["scene-0103"].clip(0, 1, 2)
    front = clip.views.index("CAM_FRONT")
    data = io.BytesIO()
    picture.save(data, name.rpartition(".")[2], **options)
    (folder / clip.pictures.files[0][front]).write_bytes(data.getvalue())
    return clip.pictures.load(0, front)


RAMP = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE[::-1]).astype(np.uint16)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_are_scaled(folder, kind):
    read = put(folder, Image.fromarray(RAMP), f"x.{kind}")
    np.testing.assert_allclose(read[..., 1], RAMP / 257, atol=0.51)
    assert (read == 255).mean() < 0.01


def test_a_palette_and_transparency_keep_their_colours(folder):
    plain = Image.new("RGB", SIZE, (10, 200, 30))
    clear = plain.copy()
    clear.putalpha(0)
    assert put(folder, clear)[0, 0].tolist() == [10, 200, 30]
    assert put(folder, plain.quantize(4), transparency=b"\x00\x80")[0, 0].tolist() == [10, 200, 30]


def test_pixels_stay_where_the_file_has_them_whatever_exif_asks_of_a_viewer(folder):
    picture = Image.new("RGB", SIZE)
    picture.paste((255, 255, 255), (0, 0, SIZE[0], 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    read = put(folder, picture, "x.jpeg", exif=exif)
    assert read[2].mean() > 200 and read[-2].mean() < 50


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_known_white_are_refused(folder, mode):
    with pytest.raises(DwmError, match="nobody knows what is white"):
        put(folder, Image.new(mode, SIZE, 7), "x.tiff")


def test_a_smaller_copy_is_used_with_a_word_and_another_shape_refused(folder):
    with pytest.warns(UserWarning, match=r"samples/CAM_FRONT: pictures are 32×18, not 64×36 as the tables say"):
        assert put(folder, Image.new("RGB", (32, 18))).shape == (18, 32, 3)
    with pytest.raises(DwmError, match=r"CAM_FRONT/.*: is 36×64, not 64×36 .*another shape"):
        put(folder, Image.new("RGB", SIZE[::-1]))


# Points in boxes


def test_boxes_of_a_package_know_how_many_points_fell_into_them(tmp_path):
    two = Boxes(
        np.array([[10.0, 0, 1], [20.0, 0, 1]]),
        np.array([[4.0, 2, 2]] * 2),
        rotation_z(np.deg2rad([90.0, 0.0])),
        ("vehicle.car", "vehicle.truck"),
        ("a", "b"),
    )
    sweep = np.array([[8.5, 0.5, 0, 9, 0], [8.5, 1.8, 0, 9, 0], [7.2, 0, 0, 9, 1], [18.5, 0, 0, 9, 2]], np.float32)
    with (
        pytest.warns(UserWarning, match="2 boxes belong to no LiDAR sweep"),
        PackageWriter(tmp_path / "own") as package,
    ):
        scene = package.scene("drive")
        scene.sensor("lidar", transform(np.eye(3), [1.0, 0, 1]), kind="lidar")
        pose = transform(np.eye(3), [0.5, 0, 0])
        scene.frame("lidar", 0, pose, sweep.tobytes(), scene.instant(0, two), "bin")
        scene.instant(500_000, two)
        scene.instant(1_000_000, two, lidar_points=[7, 8])
    to_nuscenes(PackageTables(open_tree(tmp_path / "own")), tmp_path / "back", files=False)
    rows = json.loads((tmp_path / "back" / "v1.0-mini" / "sample_annotation.json").read_text())
    counts = {row["token"]: row["num_lidar_pts"] for row in rows}
    assert [counts[f"drive/{at}/{thing}"] for at in (0, 500_000, 1_000_000) for thing in "ab"] == [2, 1, 0, 0, 7, 8]
