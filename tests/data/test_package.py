"""Scene packages: written for a car of one's own, read as any data set, and nuScenes → package → nuScenes."""

import io
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from feeds import batches_of, feed_of
from made_up_nuscenes import add_frame, make_files, make_tables, write
from PIL import Image
from shapely import Polygon

from dwm.clip import Boxes, Caption, LaneMap
from dwm.data import DatasetWindows, collate, open_dataset
from dwm.data.nuscenes.dataset import NuScenesTables
from dwm.data.open import check_dataset
from dwm.data.package import Manifest, PackageWriter
from dwm.data.package.convert import to_nuscenes, to_package
from dwm.data.package.schema import PackageTables, manifest_schema
from dwm.errors import DwmError
from dwm.report.film import Film
from dwm.storage import open_tree

DOCS = Path(__file__).parents[2] / "docs"
LOOKS_AHEAD = np.array([[0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.4], [0, 0, 0, 1.0]])
START = 1_700_000_000_000_000


def write_own(path):
    """Two cameras at 10 Hz, one other car, a street, words."""
    with PackageWriter(path, Manifest(name="our car")) as package:
        package.map("yard", LaneMap({"lane": (Polygon([(-5, -2), (60, -2), (60, 2), (-5, 2)]),)}))
        scene = package.scene("drive-1", map="yard", description="a yard")
        for name in ("left", "right"):
            scene.sensor(name, LOOKS_AHEAD, np.array([[50.0, 0, 32], [0, 50, 18], [0, 0, 1]]))
            scene.caption(name, START, Caption(weather="rain"))
        for i in range(10):
            pose, time = np.eye(4), START + 100_000 * i
            pose[0, 3] = 0.5 * i
            boxes = Boxes(
                np.array([[15.0 + i, 0, 0.8]]), np.array([[4.0, 2, 1.6]]), np.eye(3)[None], ("vehicle.car",), ("a",)
            )
            instant = scene.instant(time, boxes if i % 2 == 0 else None)
            for name in ("left", "right"):
                picture = io.BytesIO()
                Image.new("RGB", (64, 36), (20 * i, 0, 0)).save(picture, "PNG")
                scene.frame(name, time, pose, picture.getvalue(), instant, "png")
    return path


@pytest.mark.parametrize("name", ["own", "own.zip"])
def test_a_package_of_ones_own_reads_as_a_data_set(tmp_path, name):
    dataset = open_dataset(write_own(tmp_path / name))
    scene = dataset["drive-1"]
    assert scene.views == ("left", "right") and scene.rate == 10
    clip = scene.clip(0.2, 3, 5)
    np.testing.assert_allclose(clip.world_from_ego[:, 0, 0, 3], [1, 2, 3])
    np.testing.assert_allclose(clip.rig.ego_from_camera[1], LOOKS_AHEAD, atol=1e-9)
    assert clip.boxes[1][0].center.tolist() == [[19, 0, 0.8]] and clip.boxes[1][0].size.tolist() == [[4, 2, 1.6]]
    # Not annotated, so half way between the annotated instants before and after; none stands at the end.
    np.testing.assert_allclose(scene.clip(0.1, 1, 5).boxes[0][0].center, [[16, 0, 0.8]])
    assert clip.captions[0][0].weather == "rain" and clip.pictures.load(1, 0)[0, 0, 0] == 80
    batch = collate([clip], size=(64, 32))
    assert batch.layout_boxes.max() > 0 and batch.layout_map.max() > 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".dwm") == [name]


def add_radar(tables):
    """One radar and its only sweep."""
    tables["sensor"].append({"token": "RADAR_FRONT", "channel": "RADAR_FRONT", "modality": "radar"})
    place = {"translation": [3.0, 0.1, 0.5], "rotation": [1.0, 0, 0, 0], "camera_intrinsic": []}
    tables["calibrated_sensor"].append({"token": "RADAR_FRONT mounted", "sensor_token": "RADAR_FRONT"} | place)
    add_frame(tables, "RADAR_FRONT", "scene-0916 sample 0", 1_500_000_060_011_000, 1.25, True)


FRAMES = np.stack([np.full((32, 64, 3), 8 * i, np.uint8) for i in range(30)])


def write_films(path, ending="mp4"):
    """Two cameras at 10 Hz whose pictures are films, every picture of its own grey."""
    film = Film(FRAMES, 10).save(path.parent / f"film.{ending}").read_bytes()
    with PackageWriter(path) as package:
        scene = package.scene("drive-1")
        instants = [scene.instant(START + 100_000 * i) for i in range(len(FRAMES))]
        frames = [(START + 100_000 * i, np.eye(4), instant) for i, instant in enumerate(instants)]
        for name in ("left", "right"):
            scene.sensor(name, LOOKS_AHEAD, np.array([[50.0, 0, 32], [0, 50, 16], [0, 0, 1]]))
            scene.film(name, film, frames, (64, 32))
    return path


@pytest.mark.parametrize("name", ["own", "own.zip"])
def test_pictures_may_be_films(tmp_path, name):
    dataset = open_dataset(write_films(tmp_path / name))
    clip = dataset["drive-1"].clip(0, 30, 10)
    for frame in (0, 1, 2, 29, 3, 28, 4):  # on, far ahead, back
        for view in (0, 1):
            assert abs(float(clip.pictures.load(frame, view).mean()) - 8 * frame) < 3
    assert clip.pictures.load(5, 0, (32, 16)).shape == (16, 32, 3)
    assert not check_dataset(tmp_path / name, read_files=True).faults
    batches = batches_of(feed_of(DatasetWindows(dataset, 2, [(10, 0.5)]), (64, 32), workers=1))
    assert [round(float(batch.frames[0, 0, 0].float().mean()) / 40) for batch in batches] == [0, 1, 2, 3, 4, 5]


def test_films_become_pictures_in_nuscenes(tmp_path):
    to_nuscenes(PackageTables(open_tree(write_films(tmp_path / "own"))), tmp_path / "back")
    clip = open_dataset(tmp_path / "back")["drive-1"].clip(1, 1, 10)
    assert clip.pictures.files[0][1] == "data/drive-1/right/000010.jpg"
    assert abs(float(clip.pictures.load(0, 1).mean()) - 80) < 3


def test_faults_of_films_are_one_line(tmp_path):
    folder = write_films(tmp_path / "own")
    film = folder / "data" / "drive-1" / "left.mp4"
    data = film.read_bytes()
    for cut in (data[: len(data) // 2], data[: len(data) // 9], b"x"):
        film.write_bytes(cut)
        assert "left.mp4" in check_dataset(folder, read_files=True).faults[0].example
        with pytest.raises(
            DwmError, match=r"left\.mp4: .*(cannot be decoded|has \d+ pictures|holds no video)"
        ) as error:
            open_dataset(folder)["drive-1"].clip(2.9, 1, 10).pictures.load(0, 0)
        assert "\n" not in str(error.value)
    film.write_bytes(Film(FRAMES[:3], 10).save(tmp_path / "short.mp4").read_bytes())
    with pytest.raises(DwmError, match=r"left\.mp4: has 3 pictures, so none of number 29"):
        open_dataset(folder)["drive-1"].clip(2.9, 1, 10).pictures.load(0, 0)


def test_the_schema_of_the_manifest_is_the_one_in_the_docs():
    assert (DOCS / "scene-package.schema.json").read_text() == manifest_schema()


def test_the_example_of_the_docs_makes_a_package_without_faults(tmp_path, monkeypatch, recwarn):
    example, path = DOCS.parent / "examples" / "scene_package.py", tmp_path / "drive.zip"
    assert f"```python\n{example.read_text()}```" in (DOCS / "data.md").read_text()
    monkeypatch.setattr(sys, "argv", [str(example), str(path)])
    runpy.run_path(str(example), run_name="__main__")
    assert not check_dataset(path, read_files=True).findings[1:]
    assert not [warning for warning in recwarn if warning.category is UserWarning]
    clip = open_dataset(path)["drive-1"].clip(1, 4, 5)
    batch = collate([clip], (240, 136))
    assert batch.layout_boxes.amax((3, 4, 5)).min() > 0.5 and batch.layout_map.amax((3, 4, 5)).min() > 0.5


def test_nuscenes_keeps_every_number_through_a_package(tmp_path):
    tables = make_tables()
    for row in tables["sample_annotation"]:
        row["attribute_tokens"], row["visibility_token"] = ["moving"], "3"
        row["num_lidar_pts"], row["num_radar_pts"] = 7, 2
    add_radar(tables)
    tables["attribute"] = [{"token": "moving", "name": "vehicle.moving", "description": ""}]
    source = write(tmp_path / "source", make_files(tables))
    to_package(NuScenesTables(open_tree(source), "v1.0-mini"), tmp_path / "package.zip")
    to_nuscenes(PackageTables(open_tree(tmp_path / "package.zip")), tmp_path / "back")
    first, second = (
        {name: json.loads((folder / "v1.0-mini" / f"{name}.json").read_text()) for name in tables}
        for folder in (source, tmp_path / "back")
    )
    kept = {
        "scene": ("name", "description", "first_sample_token", "last_sample_token", "nbr_samples"),
        "sample": ("timestamp", "prev", "next", "scene_token"),
        "sample_data": ("sample_token", "timestamp", "is_key_frame", "filename", "width", "height", "fileformat"),
        "ego_pose": ("translation", "rotation", "timestamp"),
        "calibrated_sensor": ("translation", "rotation", "camera_intrinsic"),
        "sample_annotation": ("sample_token", "instance_token", "translation", "size", "rotation", "num_lidar_pts"),
    }
    for name, fields in kept.items():
        one, other = ({row["token"]: [row[f] for f in fields] for row in part[name]} for part in (first, second))
        assert one == other, name
    assert all(row["visibility_token"] == "3" and row["num_radar_pts"] == 2 for row in second["sample_annotation"])
    assert second["attribute"] == [{"token": "vehicle.moving", "name": "vehicle.moving"}]
    assert [row["nbr_annotations"] for row in second["instance"]] == [4, 4]
    clips = [open_dataset(folder)["scene-0916"].clip(0.5, 3, 2) for folder in (source, tmp_path / "back")]
    assert clips[0].captions == clips[1].captions
    for layer, polygons in clips[0].map.layers.items():
        assert all(one.equals(other) for one, other in zip(polygons, clips[1].map.layers[layer], strict=True))
    np.testing.assert_array_equal(*(clip.pictures.load(2, 3) for clip in clips))
    np.testing.assert_array_equal(*(clip.lidar.points[1] for clip in clips))


def test_chains_of_a_package_made_nuscenes_link_up(tmp_path):
    to_nuscenes(PackageTables(open_tree(write_own(tmp_path / "own"))), tmp_path / "back", "v1.0-own")
    for name in ("sample", "sample_data", "sample_annotation"):
        rows = json.loads((tmp_path / "back" / "v1.0-own" / f"{name}.json").read_text())
        by_token = {row["token"]: row for row in rows}
        assert all(by_token[row["next"]]["prev"] == row["token"] for row in rows if row["next"])
        ends = {"sample": 1, "sample_data": 2, "sample_annotation": 1}[name]
        assert sum(not row["prev"] for row in rows) == sum(not row["next"] for row in rows) == ends
    assert len(open_dataset(tmp_path / "back")["drive-1"].clip(0, 5, 10).boxes) == 5


def change(folder, table, column, value):
    content = pq.read_table(folder / f"{table}.parquet")
    rows = content.to_pylist()
    rows[0][column] = value
    pq.write_table(type(content).from_pylist(rows, content.schema), folder / f"{table}.parquet")


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("frames", "sensor", "nothing", r"frames\.parquet: row .*: sensor nothing is not in sensors\.parquet"),
        ("frames", "rotation", [2.0, 0, 0, 0], "is not a unit quaternion"),
        ("boxes", "size", [0.0, 1, 1], "is not positive"),
        ("instants", "scene", "nowhere", r"scene nowhere is not in scenes\.parquet"),
        ("scenes", "map", "nowhere", r"no map nowhere"),
        ("sensors", "intrinsics", [0.0] * 9, "focal lengths"),
    ],
)
def test_faults_of_a_package_are_one_line(tmp_path, table, column, value, message):
    folder = write_own(tmp_path / "own")
    change(folder, table, column, value)
    with pytest.raises(DwmError, match=message) as error:
        open_dataset(folder)["drive-1"].clip(0, 2, 10)
    assert "\n" not in str(error.value)


def test_other_formats_and_cut_tables_are_refused(tmp_path):
    folder = write_own(tmp_path / "own")
    (folder / "package.json").write_text('{"format": "dwm scene package", "version": 9}')
    with pytest.raises(DwmError, match=r"package\.json: version"):
        open_dataset(folder)
    (folder / "package.json").write_text("{}")
    data = (folder / "frames.parquet").read_bytes()
    (folder / "frames.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(DwmError, match=r"frames\.parquet: is no whole Parquet file"):
        open_dataset(folder)


def test_a_package_that_fails_leaves_nothing(tmp_path):
    for name in ("own", "own.zip"):
        with pytest.raises(ValueError), PackageWriter(tmp_path / name) as package:
            package.scene("drive-1").sensor("left", LOOKS_AHEAD, np.eye(3))
            raise ValueError
    assert not list(tmp_path.iterdir())
