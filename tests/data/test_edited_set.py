"""`dwm export nuscenes`: what was not edited stays exact, what was is in the tables, and a stopped export goes on."""

import json

import numpy as np
import pytest
from made_up_nuscenes import CAMERAS, make_files, make_tables, write
from PIL import Image

from dwm.cli.main import app, outcome
from dwm.data import open_dataset
from dwm.data.edited_set import part_of
from dwm.errors import DwmError
from dwm.geometry import apply, inverse, project

FLAGS = ("--steps", "2", "--size", "64x48", "--seconds", "1", "--force", "--dtype", "float32", "-q")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("export") / "set", dict(make_files(make_tables())))


def export(folder, output, *flags):
    arguments = ["export", "nuscenes", "--data", str(folder), "-o", str(output), *FLAGS, *map(str, flags)]
    return outcome(lambda: app(arguments, standalone_mode=False))


@pytest.fixture(scope="module")
def plain(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("export") / "plain"
    assert export(folder, output) == 0
    return output


def table(folder, name):
    return {row["token"]: row for row in json.loads((folder / "v1.0-mini" / f"{name}.json").read_text())}


def test_what_is_not_edited_stays_exact(folder, plain):
    for name in ("sample_annotation", "sample", "ego_pose"):
        before, after = table(folder, name), table(plain, name)
        assert after, name
        for token, row in after.items():
            same = {key for key in before[token] if key not in ("prev", "next")}
            assert {key: row[key] for key in same} == {key: before[token][key] for key in same}, (name, token)
    assert len(table(plain, "sample")) == 6 and len(table(plain, "sample_data")) == 6 * 6
    assert (plain / "maps/expansion/made-up-town.json").read_bytes() == (
        folder / "expansion/made-up-town.json"
    ).read_bytes()


def test_pictures_are_new_and_calibrated_for_their_size(folder, plain):
    for row in table(plain, "sample_data").values():
        with Image.open(plain / row["filename"]) as new, Image.open(folder / row["filename"]) as old:
            assert new.size == (64, 48) == (row["width"], row["height"])
            assert np.ptp(np.asarray(old), (0, 1)).max() < 2 < np.ptp(np.asarray(new), (0, 1)).max(), (
                "the picture is a copy"
            )
    inner = np.array(table(plain, "calibrated_sensor")["CAM_FRONT mounted"]["camera_intrinsic"])
    np.testing.assert_allclose(inner, [[40, 0, 32], [0, 40 * 48 / 36, 24], [0, 0, 1]])


def test_our_own_reader_opens_and_checks_it(plain, capsys):
    dataset = open_dataset(plain)
    clip = dataset["scene-0103"].clip(0, 2, 2)
    assert clip.views == CAMERAS and clip.pictures.load(0, 0).shape == (48, 64, 3)
    assert clip.captions[0][0].time == "day" and clip.map.layers["drivable_area"]
    assert outcome(lambda: app(["data", "check", str(plain), "--files"], standalone_mode=False)) == 0, (
        capsys.readouterr()
    )


def test_edits_are_in_boxes_poses_map_and_words(folder, tmp_path):
    edits = tmp_path / "edits.json"
    new = {
        "category": "vehicle.truck",
        "size": [8, 2.5, 3],
        "track": [{"x": 15, "y": -3}, {"seconds": 1, "x": 20, "y": -3}],
    }
    edits.write_text(
        json.dumps({"add": [new], "move": [{"name": "vehicle.car", "left": 1}], "ego_left": 1, "without_map": ["lane"]})
    )
    output = tmp_path / "edited"
    assert export(folder, output, "--edits", edits, "--scene", "scene-0103", "--time", "night") == 0
    before, after = (open_dataset(one)["scene-0103"].clip(0, 3, 2) for one in (folder, output))
    assert set(after.instances.values()) == {"vehicle.car", "vehicle.truck"}
    local = inverse(before.world_from_ego) @ after.world_from_ego
    np.testing.assert_allclose(local[..., :3, 3], np.broadcast_to([0, 1, 0], (*local.shape[:2], 3)), atol=1e-9)
    for old, now in zip(before.boxes, after.boxes, strict=True):
        car = now[0].select(now[0].named("vehicle.car"))
        np.testing.assert_allclose(old[0].rotation[0].T @ (car.center[0] - old[0].center[0]), [0, 1, 0], atol=1e-9)
    assert after.captions[0][0].time == "night" and after.captions[0][0].weather == before.captions[0][0].weather
    assert not after.map.layers["lane"] and after.map.layers["drivable_area"]
    rows = [row for row in table(output, "sample_annotation").values() if "added-1" in row["instance_token"]]
    assert [row["translation"][2] for row in rows] == [1.5] * 3 and all(row["num_lidar_pts"] > 0 for row in rows)
    # The samples' own times, 20 ms behind the cameras' from which the track's seconds count.
    x = [row["translation"][0] - rows[0]["translation"][0] for row in rows]
    np.testing.assert_allclose(x, [0, 2.5, 4.9], atol=1e-6)
    truck = after.boxes[0][1].select(after.boxes[0][1].named("vehicle.truck"))
    camera = inverse(after.world_from_ego[0, 1] @ after.rig.ego_from_camera[1])
    pixel, depth = project(after.rig.intrinsics[1], apply(camera, truck.center))
    assert depth[0] > 10 and 32 < pixel[0, 0] < 64, "the truck is not at the right of the front camera"


def test_a_stopped_export_goes_on_and_gives_the_same(folder, plain, tmp_path):
    output = tmp_path / "parts"
    assert export(folder, output, "--part", "1/2") == 0
    assert not (output / "v1.0-mini").exists()
    first = {path: path.stat().st_mtime_ns for path in output.glob("samples/*/*")}
    assert export(folder, output, "--part", "2/2") == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in first.items()), "a picture was made twice"
    assert len(first) == 18
    for path in (
        *plain.rglob("*.jpg"),
        *plain.glob("v1.0-mini/*"),
        *plain.glob("maps/**/*.json"),
        *plain.glob("capt*"),
    ):
        assert (output / path.relative_to(plain)).read_bytes() == path.read_bytes(), path


def test_another_export_is_not_mixed_into_one(folder, plain, capsys):
    assert export(folder, plain, "--weather", "rain") == 1
    assert "holds another export (edits:" in capsys.readouterr().err


def test_lidar_is_copied_as_it_is_but_not_beside_edits(folder, tmp_path, capsys):
    output = tmp_path / "lidar"
    assert export(folder, output, "--lidar", "--scene", "scene-0916") == 0
    rows = [row for row in table(output, "sample_data").values() if row["filename"].endswith(".bin")]
    assert rows and all(
        (output / row["filename"]).read_bytes() == (folder / row["filename"]).read_bytes() for row in rows
    )
    assert export(folder, tmp_path / "no", "--lidar", "--remove", "vehicle.car") == 1
    assert "--lidar: sweeps know nothing of the edits (remove)" in capsys.readouterr().err


def test_frames_between_key_frames_are_sweeps(folder):
    scene = open_dataset(folder)["scene-0103"]
    part = part_of(scene, CAMERAS, None, 6)
    assert part.keys.tolist() == [True, False, False] * 3 + [True] and part.fps == 6
    names = part.column("filename")
    assert [name[0].split("/")[0] for name in names] == ["samples" if key else "sweeps" for key in part.keys]
    for fps, sentence in ((5, "no multiple"), (24, "frames between two key frames")):
        with pytest.raises(DwmError, match=sentence):
            part_of(scene, CAMERAS, None, fps)


def test_what_one_scene_has_and_another_has_not_is_removed_where_it_is(folder, tmp_path):
    output = tmp_path / "removed"
    assert export(folder, output, "--remove", "scene-0103 car") == 0
    left = {row["instance_token"] for row in table(output, "sample_annotation").values()}
    assert left == {"scene-0916 car"} and len(table(output, "sample")) == 6


def test_what_no_scene_has_is_refused_before_anything_is_made(folder, tmp_path, capsys):
    assert export(folder, tmp_path / "none", "--remove", "vehicle.truck") == 1
    assert "'vehicle.truck' names no box of" in capsys.readouterr().err and not (tmp_path / "none").exists()
