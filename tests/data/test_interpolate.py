"""12 Hz from key frames: the measured fixture, the links, the bytes, and the town's own truth between its key frames."""

import json

import numpy as np
import pytest
from made_up_nuscenes import START, add_frame, make_tables, yaw

from dwm.data import ReadOptions, draw_boxes, open_dataset
from dwm.data.nuscenes.interpolate import NAME, interpolate
from dwm.errors import DwmError
from dwm.storage import open_tree


def write_tables(folder, tables):
    (folder / "v1.0-mini").mkdir(parents=True)
    for name, rows in tables.items():
        (folder / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    return folder


def run(folder, grouping, output=None, split=None):
    output = output or folder / NAME
    summary = interpolate(open_tree(folder), "v1.0-mini", output, grouping, split)
    return summary, {path.stem: json.loads(path.read_text()) for path in sorted(output.iterdir())}


def box(sample, instance, x, rotation):
    return {"token": f"{instance} at {sample}", "sample_token": sample, "instance_token": instance} | {
        "prev": "", "next": "", "translation": [x, 0, 0], "size": [2, 4, 1], "rotation": list(rotation),
        "visibility_token": "4", "attribute_tokens": ["moving"], "num_lidar_pts": 3, "num_radar_pts": 0,
    }  # fmt: skip


@pytest.fixture
def measured(tmp_path):
    """One camera 20 ms before the LiDAR's samples: five sweeps in the first gap, three uneven ones in the second."""
    tables = make_tables(("scene-0103",), samples=3, sweeps=0)
    tables["sample_data"], tables["ego_pose"] = [], []
    for ms in range(0, 1101, 50):
        sample = min(ms // 500, 2)
        add_frame(tables, "LIDAR_TOP", f"scene-0103 sample {sample}", START + ms * 1000, 0, ms % 500 == 0)
    times = [(0, -20e3 + j * 250e3 / 3) for j in range(6)]
    times += [(1, 480e3 + j * 125e3) for j in range(4)] + [(2, 980e3), (2, 1063e3), (2, 1147e3)]
    seen = set()
    for sample, us in times:
        add_frame(tables, "CAM_FRONT", f"scene-0103 sample {sample}", START + round(us), us, sample not in seen)
        seen.add(sample)
    tables["instance"] = [{"token": name, "category_token": "car", "nbr_annotations": 0} for name in "ABC"]
    samples = [f"scene-0103 sample {i}" for i in range(3)]
    tables["sample_annotation"] = [
        box(sample, "A", 6 * i, (-1 if i == 1 else 1) * yaw(30 * i)) for i, sample in enumerate(samples)
    ]
    tables["sample_annotation"] += [box(samples[i], "B", i, yaw(0)) for i in (1, 2)]
    tables["sample_annotation"] += [box(samples[i], "C", i, yaw(0)) for i in (0, 2)]
    tables["sample_annotation"][-2]["next"] = tables["sample_annotation"][-1]["token"]
    return write_tables(tmp_path / "set", tables)


def milliseconds(row):
    return round((row["timestamp"] - START) / 1000, 2)


def file_ms(row):
    return round((int(row["filename"].split("/")[-1].split(".")[0]) - START) / 1000)


def test_compat_gives_the_measured_fixture(measured):
    summary, tables = run(measured, "compat")
    assert (len(tables["sample"]), len(tables["sample_data"]), len(tables["sample_annotation"])) == (13, 26, 22)
    camera = [row for row in tables["sample_data"] if row["filename"].endswith("jpg")]
    assert [milliseconds(row) for row in camera[7:12]] == [566.67, 653.33, 740.0, 826.67, 913.33]
    assert [file_ms(row) for row in camera[7:12]] == [605, 730, 855, 855, 855]
    of = {name: [row for row in tables["sample_annotation"] if row["instance_token"] == name] for name in "ABC"}
    assert {name: len(rows) for name, rows in of.items()} == {"A": 13, "B": 7, "C": 2}
    assert {row["token"]: row["nbr_annotations"] for row in tables["instance"]} == {"A": 13, "B": 7, "C": 2}
    for k, row in enumerate(of["A"][:6]):
        np.testing.assert_allclose(row["translation"], [k, 0, 0], rtol=1e-9)
        assert abs(np.dot(row["rotation"], yaw(5 * k))) == pytest.approx(1, abs=1e-12)
    assert of["C"][0]["next"] == of["C"][1]["token"]
    lidar = [row for row in tables["sample_data"] if row["filename"].endswith("bin")]
    assert [file_ms(row) for row in lidar[:6]] == [0, 50, 100, 150, 200, 250]
    assert summary.gaps == {5: 1, 3: 1} and summary.lag["LIDAR_TOP"] == pytest.approx(166.667, abs=1e-3)
    assert tables["scene"][0]["nbr_samples"] == 13


def test_windows_of_the_fixture_are_as_measured(measured):
    run(measured, "compat")
    scene = open_dataset(measured, NAME)["scene-0103"]
    assert len(scene.windows(4, 10, 0.1)) == 7 and len(scene.windows(4, 0, 1)) == 10
    rows, of = scene.windows(4, 10, 0.1)[0].rows, scene.rows_of
    assert (rows[:, 0] - of["LIDAR_TOP"][0]).tolist() == [0, 1, 2, 4]
    assert (rows[:, 1] - of["CAM_FRONT"][0]).tolist() == [0, 1, 3, 4]


def test_by_time_takes_the_nearest_file_and_its_time(measured):
    summary, tables = run(measured, "by_time")
    camera = [row for row in tables["sample_data"] if row["filename"].endswith("jpg")]
    # 653 lies between 605 and 730, 740 at 730, 827 at 855, 913 between 855 and the key frame at 980.
    assert [file_ms(row) for row in camera[7:12]] == [605, 605, 730, 855, 855]
    assert [milliseconds(row) for row in camera[7:12]] == [file_ms(row) for row in camera[7:12]]
    assert all(isinstance(row["timestamp"], int) for row in tables["sample_data"])
    assert summary.repeated == 2 and summary.lag["LIDAR_TOP"] <= 25


@pytest.mark.parametrize("grouping", ["compat", "by_time"])
def test_every_link_of_the_tables_holds(tmp_path, grouping):
    folder = write_tables(tmp_path, make_tables())
    _, tables = run(folder, grouping)
    assert len(tables) == 13
    tokens = {name: {row["token"] for row in rows} for name, rows in tables.items()}
    assert all(len(tokens[name]) == len(rows) for name, rows in tables.items())
    for name in ("sample", "sample_data", "sample_annotation"):
        by_token = {row["token"]: row for row in tables[name]}
        for row in tables[name]:
            assert not row["prev"] or by_token[row["prev"]]["next"] == row["token"]
            assert not row["next"] or by_token[row["next"]]["prev"] == row["token"]
    for row in tables["sample_data"]:
        assert row["sample_token"] in tokens["sample"] and row["ego_pose_token"] in tokens["ego_pose"]
    assert len(tables["sample_data"]) == 7 * len(tables["sample"]) == 7 * 2 * 19
    key = {row["token"]: row for row in json.loads((folder / "v1.0-mini" / "sample_data.json").read_text())}
    for row in tables["sample_data"]:
        if row["token"] in key:
            same = ("timestamp", "filename", "ego_pose_token", "width", "height", "sample_token")
            assert all(row[field] == key[row["token"]][field] for field in same)
    clip = open_dataset_without_maps(folder)["scene-0916"].clip(0, 12, 12)
    assert all(box is not None for row in clip.boxes for box in row)


def longer_source(tmp_path):
    """Two scenes of 2.5 s; in the first a second thing that is not annotated at the second key frame, and turns."""
    tables = make_tables(samples=6)
    names = [f"scene-0103 sample {i}" for i in range(6)]
    tables["instance"].append({"token": "other", "category_token": "car"})
    tables["sample_annotation"] += [box(names[i], "other", 20 + 2 * i, yaw(50 * i)) for i in (0, 2, 3, 4, 5)]
    return write_tables(tmp_path / "set", tables), tables


FOREIGN_KEYS = {
    "sample": {"scene_token": "scene"},
    "sample_data": {
        "sample_token": "sample",
        "ego_pose_token": "ego_pose",
        "calibrated_sensor_token": "calibrated_sensor",
    },
    "sample_annotation": {"sample_token": "sample", "instance_token": "instance"},
    "instance": {"category_token": "category"},
    "calibrated_sensor": {"sensor_token": "sensor"},
    "scene": {"log_token": "log", "first_sample_token": "sample", "last_sample_token": "sample"},
}


@pytest.mark.parametrize("grouping", ["compat", "by_time"])
def test_tables_walks_and_key_rows_are_as_they_must_be(tmp_path, grouping):
    folder, source = longer_source(tmp_path)
    _, tables = run(folder, grouping)
    tokens = {name: {row["token"] for row in rows} for name, rows in tables.items()}
    for name, links in FOREIGN_KEYS.items():
        assert all(row[field] in tokens[target] for field, target in links.items() for row in tables[name])
    for name in ("sample", "sample_data", "sample_annotation"):
        known = {row["token"] for row in source[name]}
        assert all(row["token"] in known or row["token"][:-1] in known for row in tables[name])
    of = {row["token"]: row for row in tables["sample"]}
    for scene in tables["scene"]:
        walk, token = [], scene["first_sample_token"]
        while token:
            walk.append(of[token])
            token = of[token]["next"]
        assert len(walk) == 6 * 5 + 1 and walk[-1]["token"] == scene["last_sample_token"]
        assert (np.diff([row["timestamp"] for row in walk]) > 0).all()
        order = {row["token"]: i for i, row in enumerate(walk)}
        for channel in {row["calibrated_sensor_token"] for row in tables["sample_data"]}:
            frames = [
                r
                for r in tables["sample_data"]
                if r["calibrated_sensor_token"] == channel and r["sample_token"] in order
            ]
            frames.sort(key=lambda row: order[row["sample_token"]])
            assert len(frames) == len(walk) and (np.diff([row["timestamp"] for row in frames]) >= 0).all()
    keys = {
        row["token"]: row
        for row in source["sample_data"] + source["sample_annotation"]
        if row.get("is_key_frame", True)
    }
    made = {row["token"]: row for row in tables["sample_data"] + tables["sample_annotation"]}
    links = ("prev", "next")
    for token, row in keys.items():
        assert {k: v for k, v in made[token].items() if k not in links} == {
            k: v for k, v in row.items() if k not in links
        }
    poses = {row["filename"]: row["ego_pose_token"] for row in source["sample_data"]}
    assert all(poses[row["filename"]] == row["ego_pose_token"] for row in tables["sample_data"])


def test_boxes_between_keys_are_five_or_none_on_the_line_and_the_arc(tmp_path):
    folder, source = longer_source(tmp_path)
    _, tables = run(folder, "by_time")
    made = {row["token"]: row for row in tables["sample_annotation"]}
    at = {(row["sample_token"], row["instance_token"]): row for row in source["sample_annotation"]}
    following, pairs = {row["token"]: row["next"] for row in source["sample"]}, 0
    for (sample, instance), first in at.items():
        last = at.get((following[sample], instance))
        between = [made[token] for k in range(1, 6) if (token := f"{first['token']}{k}") in made]
        assert len(between) == (5 if last else 0)
        for k, row in enumerate(between, 1):
            pairs += 1
            line = np.array(first["translation"]) + k / 6 * np.subtract(last["translation"], first["translation"])
            np.testing.assert_allclose(row["translation"], line, rtol=1e-9)
            whole, part = (2 * np.arccos(min(1, abs(np.dot(first["rotation"], r["rotation"])))) for r in (last, row))
            assert part == pytest.approx(k / 6 * whole, abs=2e-4)
            assert np.linalg.norm(row["rotation"]) == pytest.approx(1, abs=1e-9)
            assert all(row[field] == first[field] for field in ("size", "attribute_tokens", "visibility_token"))
    assert pairs == 5 * (5 + 5 + 3)
    assert made["other at scene-0103 sample 0"]["next"] in ("", "other at scene-0103 sample 2")


def test_windows_and_drawn_boxes_of_12_hz_and_of_key_frames(tmp_path):
    folder, _ = longer_source(tmp_path)
    run(folder, "by_time")
    all_frames, keys_only = (
        open_dataset(folder, NAME, options=ReadOptions(maps=False, key_frames_only=only))["scene-0103"]
        for only in (False, True)
    )
    assert [w.rows.tolist() for w in all_frames.windows(4, 10, 0.1)] == [
        w.rows.tolist() for w in keys_only.windows(4, 10, 0.1)
    ]
    assert all_frames.windows(19, 10, 0.1)
    sparse = open_dataset(folder, "v1.0-mini", options=ReadOptions(maps=False, boxes_between=False))["scene-0103"]
    for scene, drawn in ((all_frames, 19), (sparse, 4)):
        clip = scene.clip(0, 19, 12, views=("CAM_FRONT",))
        assert sum(draw_boxes(clip, frame, 0, (64, 36)).any() for frame in range(19)) == drawn


def open_dataset_without_maps(folder):
    return open_dataset(folder, NAME, options=ReadOptions(maps=False))


def test_the_same_source_gives_the_same_bytes(tmp_path):
    folder = write_tables(tmp_path / "set", make_tables())
    for output in ("a", "b"):
        run(folder, "by_time", tmp_path / output)
    for one in (tmp_path / "a").iterdir():
        assert one.read_bytes() == (tmp_path / "b" / one.name).read_bytes()


def test_a_split_prunes_scenes_and_what_hangs_on_them(tmp_path):
    folder = write_tables(tmp_path, make_tables())
    _, tables = run(folder, "by_time", split="mini_val")
    assert [row["name"] for row in tables["scene"]] == ["scene-0103", "scene-0916"]
    _, tables = run(folder, "by_time", tmp_path / "one", split=["scene-0916"])
    assert [row["name"] for row in tables["scene"]] == ["scene-0916"]
    assert {row["token"] for row in tables["instance"]} == {"scene-0916 car"}
    assert len(tables["sample"]) == 19


def test_nothing_is_left_of_what_failed(tmp_path):
    tables = make_tables()
    del tables["sample_annotation"][3]["rotation"]
    folder = write_tables(tmp_path / "set", tables)
    with pytest.raises(DwmError, match="rotation"):
        run(folder, "by_time", tmp_path / "out" / NAME)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DwmError, match="not an empty folder"):
        run(write_tables(tmp_path / "other", make_tables()), "by_time", tmp_path / "full")


def test_boxes_between_key_frames_are_where_the_town_has_them(tmp_path):
    from dwm.geometry import quaternion_from_rotation, rotation_from_quaternion
    from dwm.town import town_scene

    town = town_scene(3, 0)
    tables = make_tables(("scene-0103",), samples=5, sweeps=5)
    tables["sample_annotation"], names = [], set()
    for i in range(5):
        boxes = town.boxes(0.5 * i)
        for n, name in enumerate(boxes.instance):
            rotation = quaternion_from_rotation(boxes.rotation[n])
            row = box(f"scene-0103 sample {i}", name, 0, rotation.tolist())
            tables["sample_annotation"].append(row | {"translation": boxes.center[n].tolist()})
            names.add(name)
    tables["instance"] = [{"token": name, "category_token": "car", "nbr_annotations": 0} for name in sorted(names)]
    _, tables = run(write_tables(tmp_path, tables), "by_time")
    far, turned, times = [], [], {row["token"]: (row["timestamp"] - START) / 1e6 for row in tables["sample"]}
    truth = {time: town.boxes(time) for time in set(times.values())}
    for row in tables["sample_annotation"]:
        boxes = truth[times[row["sample_token"]]]
        if row["token"][-1] in "12345" and " at " in row["token"] and len(row["sample_token"].split()[-1]) == 2:
            n = boxes.instance.index(row["instance_token"])
            far.append(np.linalg.norm(boxes.center[n] - row["translation"]))
            matrix = rotation_from_quaternion(np.array(row["rotation"])).T @ boxes.rotation[n]
            turned.append(np.degrees(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))))
    assert len(far) > 100
    assert np.median(far) < 0.05 and np.median(turned) < 1
    assert np.quantile(far, 0.99) < 0.2
