"""Waymo's Perception v2 (Parquet): the same numbers as v1 says of the same frames, by the real commands; broken files."""

import multiprocessing
import re
import shutil
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from recordings import run

from dwm.data import ReadOptions, draw_boxes, open_dataset
from dwm.data.waymo.components import READ
from dwm.data.waymo.records import read_frame, record_spans
from dwm.data.waymo.sensors import _image
from dwm.errors import DwmError
from dwm.storage import open_tree

KEY, SEQUENCE = "1024360143612057520_3580_000_3600_000", "1071392229495085036_1844_790_1864_790"
EMPTY = ReadOptions(missing_captions="empty")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def waymo(shared):
    return shared / "data" / "waymo"


@pytest.fixture
def copy(waymo, tmp_path):
    """The sequence's components as Waymo's own extractors wrote them, to be broken."""
    return shutil.copytree(waymo / "v2" / "training", tmp_path / "set" / "training").parent


def components_of(frames, segment):
    """Frames of v1 as rows of the components, in the layout of the extractors' files."""
    keys = [{"key.segment_context_name": segment, "key.frame_timestamp_micros": f.timestamp_micros} for f in frames]
    context, rows = frames[0].context, {name: [] for name in READ}
    for camera in context.cameras:
        part = "[CameraCalibrationComponent]."
        lens = dict(zip(("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3"), camera.intrinsic, strict=False))
        rows["camera_calibration"].append(
            {"key.segment_context_name": segment, "key.camera_name": camera.name}
            | {f"{part}intrinsic.{name}": number for name, number in lens.items()}
            | {f"{part}extrinsic.transform": list(camera.extrinsic.transform)}
            | {f"{part}width": camera.width, f"{part}height": camera.height}
        )
    for lidar in context.lidars:
        part = "[LiDARCalibrationComponent]."
        reach = {"min": lidar.beam_inclination_min, "max": lidar.beam_inclination_max}
        rows["lidar_calibration"].append(
            {"key.segment_context_name": segment, "key.laser_name": lidar.name}
            | {f"{part}extrinsic.transform": list(lidar.extrinsic.transform)}
            | {f"{part}beam_inclination.{name}": number for name, number in reach.items()}
            | {f"{part}beam_inclination.values": list(lidar.beam_inclinations) or None}
        )
    for key, frame in zip(keys, frames, strict=True):
        stats = frame.context.stats
        part = "[StatsComponent]."
        words = {"time_of_day": stats.time_of_day, "location": stats.location, "weather": stats.weather}
        rows["stats"].append(key | {f"{part}{name}": text for name, text in words.items()})
        pose = "[VehiclePoseComponent].world_from_vehicle.transform"
        rows["vehicle_pose"].append(key | {pose: list(frame.pose.transform)})
        for image in frame.images:
            rows["camera_image"].append(
                key | {"key.camera_name": image.name, "[CameraImageComponent].image": image.image}
            )
        for laser in frame.lasers:
            for component, part, packed in (
                ("lidar", "[LiDARComponent]", laser.first.ranges),
                ("lidar_pose", "[LiDARPoseComponent]", laser.first.poses),
            ):
                if packed:
                    values = _image(packed, segment)
                    part = f"{part}.range_image_return1"
                    rows[component].append(
                        key
                        | {
                            "key.laser_name": laser.name,
                            f"{part}.values": values.ravel(),
                            f"{part}.shape": list(values.shape),
                        }
                    )
        for label in frame.laser_labels:
            part, box = "[LiDARBoxComponent].", label.box
            numbers = {"box.center.x": box.center_x, "box.center.y": box.center_y, "box.center.z": box.center_z}
            numbers |= {
                "box.size.x": box.length,
                "box.size.y": box.width,
                "box.size.z": box.height,
                "box.heading": box.heading,
            }
            numbers |= {"type": label.type, "num_lidar_points_in_box": label.lidar_points}
            rows["lidar_box"].append(
                key | {"key.laser_object_id": label.id} | {f"{part}{name}": number for name, number in numbers.items()}
            )
    return rows


@pytest.fixture(scope="module")
def written(waymo, tmp_path_factory):
    """The genuine key frame as components, with the schemas of the files that the extractors wrote."""
    folder = tmp_path_factory.mktemp("v2") / "training"
    file, tree = f"segment-{KEY}_with_camera_labels.tfrecord", open_tree(waymo / "training")
    frames = [read_frame(tree, file, *span) for span in record_spans(tree, file)]
    for component, rows in components_of(frames, KEY).items():
        (folder / component).mkdir(parents=True)
        schema = pq.read_schema(waymo / "v2" / "training" / component / f"{SEQUENCE}.parquet")
        schema = pa.schema([field for field in schema if rows and field.name in rows[0]])
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / component / f"{KEY}.parquet", compression="zstd")
    return folder.parent


def same(one, other, frames):
    a, b = one.clip(0, frames, 10), other.clip(0, frames, 10)
    np.testing.assert_array_equal(a.times, b.times)
    np.testing.assert_array_equal(a.world_from_ego, b.world_from_ego)
    for name in ("intrinsics", "ego_from_camera", "image_size"):
        np.testing.assert_array_equal(getattr(a.rig, name), getattr(b.rig, name))
    for t in range(frames):
        np.testing.assert_array_equal(a.lidar.points[t], b.lidar.points[t])
        for v in (0, 4):
            np.testing.assert_array_equal(a.pictures.load(t, v), b.pictures.load(t, v))
        known = np.isin(a.boxes[t][0].instance, b.boxes[t][0].instance)
        boxes, others = a.boxes[t][0].select(known), b.boxes[t][0]
        assert boxes.instance == others.instance and boxes.category == others.category
        for name in ("center", "size", "rotation"):
            np.testing.assert_array_equal(getattr(boxes, name), getattr(others, name))
        assert set(a.boxes[t][0].select(~known).category) <= {"unknown"}, "v2 leaves out what has no type"


def test_the_extractors_files_say_what_the_records_say(waymo):
    one, other = (open_dataset(path, options=EMPTY)[SEQUENCE] for path in (waymo, waymo / "v2"))
    assert one.views == other.views and one.description == other.description == "Day, sunny, location_phx"
    same(one, other, 3)


def test_the_genuine_key_frame_as_components_says_what_its_record_says(waymo, written):
    one, other = (open_dataset(path, options=EMPTY)[KEY] for path in (waymo, written))
    same(one, other, 1)
    assert len(other.clip(0, 1).boxes[0][0]) == 75
    assert draw_boxes(other.clip(0, 1), 0, 2, (448, 256)).any()


def test_genuine_poses_are_read(waymo, tmp_path):
    """The one component that is there as Waymo wrote it: float32, a plain list."""
    segment = "10023947602400723454_1120_000_1140_000"
    (tmp_path / "set" / "vehicle_pose").mkdir(parents=True)
    (tmp_path / "set" / "camera_calibration").mkdir()
    shutil.copyfile(
        waymo / "v2" / "genuine" / f"vehicle_pose_{segment}.parquet",
        tmp_path / "set" / "vehicle_pose" / f"{segment}.parquet",
    )
    names = {row["token"] for row in open_dataset_tables(tmp_path / "set").read("instants").to_pylist()}
    assert len(names) == 199


def open_dataset_tables(path):
    from dwm.data.open import open_scene_tables

    return open_scene_tables(path)


def test_the_captions_of_v1_speak_of_v2_too(waymo, copy):
    for name in ("captions.json", "caption_times.json"):
        shutil.copyfile(waymo / name, copy / name)
    one, other = (open_dataset(path)[SEQUENCE].clip(0, 2, 10).captions for path in (waymo, copy))
    assert one == other and one[0][2].image_description


def test_the_commands_take_it(copy, tmp_path, capsys):
    code, said = run(capsys, "data", "check", copy, "--files")
    assert code == 0 and "Waymo Open v2 training: 1 scenes" in said and "has no map" in said
    assert run(capsys, "data", "show", SEQUENCE, "--data", copy, "-o", tmp_path / "look.png")[0] == 0
    assert Image.open(tmp_path / "look.png").width > 400
    assert run(capsys, "data", "index", copy)[0] == 0
    assert run(capsys, "data", "convert", copy, "-o", tmp_path / "package")[0] == 0
    a, b = (open_dataset(path, options=EMPTY)[SEQUENCE] for path in (copy, tmp_path / "package"))
    assert a.views == b.views
    np.testing.assert_array_equal(a.clip(0.1, 1).lidar.points[0], b.clip(0.1, 1).lidar.points[0])


def test_an_archive_reads_as_the_folder(copy, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "v2"), "zip", copy)
    one, other = (open_dataset(path, options=EMPTY)[SEQUENCE].clip(0.1, 1) for path in (copy, archive))
    np.testing.assert_array_equal(one.pictures.load(0, 3), other.pictures.load(0, 3))


def test_groups_of_rows_before_a_picture_are_not_read(copy, monkeypatch):
    file = copy / "training" / "camera_image" / f"{SEQUENCE}.parquet"
    pq.write_table(pq.read_table(file), file, row_group_size=5)
    clip = open_dataset(copy, options=EMPTY)[SEQUENCE].clip(0.2, 1)
    groups = []
    plain = pq.ParquetFile.iter_batches

    def watched(self, size, row_groups, *rest, **more):
        groups.extend(row_groups)
        return plain(self, size, row_groups, *rest, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    assert [clip.pictures.load(0, view).shape[1] for view in range(5)] == [1920] * 5
    assert set(groups) == {2}


@pytest.mark.parametrize("split, folder", [("train", "training"), ("val", "validation")])
def test_official_splits_are_folders_of_both_formats(waymo, tmp_path, split, folder):
    for version, source in (("v1", waymo / "training"), ("v2", waymo / "v2" / "training")):
        for name in ("training", "validation"):
            (tmp_path / version).mkdir(exist_ok=True)
            (tmp_path / version / name).symlink_to(source)
        dataset = open_dataset(tmp_path / version, split=split, options=EMPTY)
        assert dataset.version == folder and SEQUENCE in [scene.name for scene in dataset]
        with pytest.raises(DwmError, match="holds no scene of split test"):
            open_dataset(tmp_path / version, split="test", options=EMPTY)


def test_the_two_formats_in_one_place_are_told_apart(waymo, copy, capsys):
    record = waymo / "training" / f"segment-{SEQUENCE}_with_camera_labels.tfrecord"
    (copy / "validation").mkdir()
    shutil.copyfile(record, copy / "validation" / record.name)
    code, said = run(capsys, "data", "index", copy)
    assert code == 1 and "holds Perception v1 in validation and v2 in training, which are two formats" in said
    assert run(capsys, "data", "index", copy, "--version", "training")[0] == 0
    shutil.move(copy / "validation" / record.name, copy / "training" / record.name)
    code, said = run(capsys, "data", "index", copy, "--version", "training")
    assert code == 1 and re.search(
        r"training holds segments of Perception v1 \(training/segment-.* and components of v2", said
    )


def rewrite(file, change):
    pq.write_table(change(pq.read_table(file)), file)


def without(column):
    return partial(rewrite, change=lambda table: table.drop_columns([column]))


def changed(column, value, row=0):
    def change(table):
        values = table[column].to_pylist()
        values[row] = value
        place = table.column_names.index(column)
        return table.set_column(place, column, pa.array(values, table.schema.field(column).type))

    return partial(rewrite, change=change)


POSE, TIME = "[VehiclePoseComponent].world_from_vehicle.transform", "key.frame_timestamp_micros"


@pytest.mark.parametrize(
    "component, breaks, says",
    [
        ("vehicle_pose", lambda file: file.write_bytes(file.read_bytes()[:-9]), "is no whole Parquet file"),
        ("vehicle_pose", without(POSE), r"lacks the column \[VehiclePoseComponent\]"),
        ("vehicle_pose", changed(POSE, [float("nan")] * 16), "is no matrix"),
        ("vehicle_pose", changed(POSE, [2.0] * 16), "no rotation and shift"),
        ("vehicle_pose", changed(TIME, 1507315488319255), "has two poses at"),
        ("vehicle_pose", changed("key.segment_context_name", "other"), "holds rows of the segment other"),
        ("lidar_box", changed(TIME, 5), "has a row at 5 µs, at which vehicle_pose has no pose"),
        ("lidar_box", changed("[LiDARBoxComponent].box.heading", float("inf")), "is not finite"),
        ("camera_calibration", changed("[CameraCalibrationComponent].width", 0), "has no intrinsics or no size"),
        ("camera_image", without("key.camera_name"), "lacks the column key.camera_name"),
    ],
)
def test_a_broken_component_is_one_line(copy, capsys, component, breaks, says):
    breaks(copy / "training" / component / f"{SEQUENCE}.parquet")
    code, said = run(capsys, "data", "check", copy)
    assert code == 3 and re.search(says, said.replace("\n", " ")) and "Traceback" not in said
    with pytest.raises(DwmError, match=rf"{component}/.*{says}"):
        open_dataset(copy)


def test_components_that_were_not_fetched_are_said(copy, capsys):
    for component in ("lidar_box", "stats", "camera_calibration"):
        (copy / "training" / component / f"{SEQUENCE}.parquet").unlink()
    code, said = run(capsys, "data", "check", copy)
    assert code == 0 and "has no labelled boxes" in said and "has no calibration of CAM_FRONT" in said
    clip = open_dataset(copy, options=EMPTY)[SEQUENCE].clip(0, 1)
    assert clip.views == () and len(clip.lidar.points[0]) > 1000
    (copy / "training" / "lidar_calibration" / f"{SEQUENCE}.parquet").unlink()
    with pytest.raises(DwmError, match=r"lidar_calibration/.*: is missing, and sweeps need it"):
        open_dataset(copy, options=EMPTY)[SEQUENCE].clip(0, 1).lidar.points[0]


def test_a_picture_that_is_not_there_is_named(copy):
    file = copy / "training" / "camera_image" / f"{SEQUENCE}.parquet"
    clip = open_dataset(copy, options=EMPTY)[SEQUENCE].clip(0.2, 1)
    whole = pq.read_table(file)
    pq.write_table(whole.slice(0, 4), file)
    with pytest.raises(DwmError, match=r"camera_image/.*: has no row 1"):
        clip.pictures.load(0, 0)
    pq.write_table(whole.slice(1), file)
    with pytest.raises(DwmError, match=r"is of another frame or camera|has no row"):
        clip.pictures.load(0, 0)


def look(clip, view):
    assert clip.pictures.load(0, view).shape[1] == 1920 and len(clip.lidar.points[0]) > 1000


def test_a_forked_process_reads_on_where_its_parent_stands(waymo):
    clip = open_dataset(waymo / "v2", options=EMPTY)[SEQUENCE].clip(0.1, 1)
    look(clip, 0)
    workers = [multiprocessing.get_context("fork").Process(target=look, args=(clip, view)) for view in (1, 4)]
    for worker in workers:
        worker.start()
    look(clip, 2)
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
