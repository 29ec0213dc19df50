"""Pictures to look at, checks that name each kind of fault, captions from a table of one's own, and the commands for them."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from made_up_nuscenes import CAMERAS, make_files, make_tables, write
from PIL import Image

from dwm.data import LookOptions, look_at, open_dataset
from dwm.data.caption_table import make_caption_files
from dwm.data.nuscenes.check import check_dataset
from dwm.errors import DwmError

CLEAN = make_files(make_tables())


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set", dict(CLEAN))


def table(folder, name, change):
    path = folder / "v1.0-mini" / f"{name}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def kinds(folder, **options):
    return {finding.kind: finding for finding in check_dataset(folder, **options).findings}


def test_a_look_shows_cameras_boxes_map_points_and_the_view_from_above(folder):
    clip = open_dataset(folder)["scene-0103"].clip(0.5, 2, 2)
    options = LookOptions(tile_width=96)
    whole = look_at(clip, options)
    height = 2 * 54 + 4
    assert whole.shape == (2, height, 3 * 96 + 2 * 4 + 4 + height, 3)
    for part in ("boxes", "map", "lidar", "birdseye"):
        without = look_at(clip, options.model_copy(update={part: False}))
        assert without.shape != whole.shape or (without != whole).any(), part
    assert look_at(replace(clip, boxes=None, map=None, lidar=None, pictures=None), options).any()


def test_points_fall_where_the_camera_sees_them(folder):
    from dwm.data.look import draw_view

    clip = open_dataset(folder)["scene-0103"].clip(0, 1, 2)
    front = clip.views.index("CAM_FRONT")
    camera = clip.world_from_ego[0, front] @ clip.rig.ego_from_camera[front]
    point = camera[:3, :3] @ [1.0, 0.5, 10.0] + camera[:3, 3]
    options = LookOptions(boxes=False, map=False)
    dotted, plain = (draw_view(clip, 0, front, (64, 36), p, options) for p in (point[None], np.zeros((0, 3))))
    assert set(zip(*np.nonzero((dotted != plain).any(-1)), strict=True)) <= {(20, 36), (20, 37), (21, 36), (21, 37)}
    assert (dotted[20, 36] != plain[20, 36]).any()


def test_a_whole_set_has_no_faults(folder):
    found = check_dataset(folder, read_files=True)
    assert not found.faults and found.scenes == 2 and found.boxes == 8


def test_each_fault_is_named(folder):
    lost = next((folder / "samples" / "CAM_BACK").iterdir())
    lost.unlink()
    cut = next((folder / "sweeps" / "CAM_FRONT").iterdir())
    cut.write_bytes(cut.read_bytes()[:300])
    table(folder, "calibrated_sensor", lambda rows: rows[2].update(camera_intrinsic=[]))
    (folder / "expansion" / "made-up-town.json").write_text("{")
    times = json.loads((folder / "caption_times.json").read_text())
    del times["scene-0916 token|CAM_FRONT"]
    (folder / "caption_times.json").write_text(json.dumps(times))
    found = kinds(folder, read_files=True)
    assert {kind for kind, finding in found.items() if finding.is_fault} == {
        "missing files in samples/CAM_BACK/",
        "damaged files in sweeps/CAM_FRONT",
        "cameras without calibration",
        "maps",
        "cameras without captions",
    }
    assert lost.name in found["missing files in samples/CAM_BACK/"].example
    assert found["cameras without captions"].example.startswith("scene-0916 CAM_FRONT")


def test_scenes_that_break_off_and_times_out_of_order_are_named(folder):
    table(folder, "sample", lambda rows: rows[1].update(next="nowhere"))
    assert kinds(folder)["scenes without all their samples"].example.startswith("scene-0103")

    def swap(rows):
        keys = [row for row in rows if row["token"].startswith("CAM_BACK ") and row["is_key_frame"]][4:]
        keys[0]["timestamp"], keys[2]["timestamp"] = keys[2]["timestamp"], keys[0]["timestamp"]

    table(folder, "sample_data", swap)
    assert "CAM_BACK" in kinds(folder)["time stamps out of order"].example


def test_boxes_that_no_camera_sees_are_noted(folder):
    table(folder, "sample_annotation", lambda rows: rows[0].update(translation=[20.0, 2.0, 500.0]))
    finding = kinds(folder)["boxes that no camera sees"]
    assert finding.count == 1 and not finding.is_fault and "scene-0103" in finding.example


def test_what_cannot_be_opened_is_one_fault(folder):
    (folder / "v1.0-mini" / "sample_data.json").write_text("[{")
    (finding,) = check_dataset(folder).faults
    assert finding.kind == "cannot be opened" and "sample_data.json" in finding.example


CSV = """scene,camera,at,weather,time_of_day,text
scene-0103,,,rain,day,a street
scene-0103,CAM_FRONT,1.0,,,a crossing
scene-0916,CAM_BACK,,fog,,"a car, behind"
"""


def test_captions_come_from_a_table(folder, tmp_path):
    (folder / "captions.json").unlink()
    (tmp_path / "words.csv").write_text(CSV)
    made = make_caption_files(tmp_path / "words.csv", open_dataset(folder), folder)
    assert made.rows == 3 and made.entries == len(CAMERAS) + 1 + 1 and made.without == 5
    scene = open_dataset(folder)["scene-0103"]
    front = scene.views.index("CAM_FRONT")
    said = [row[front] for row in scene.clip(0, 4, 2).captions]
    # Frames at 0 and 0.5 s are nearer to the scene's first, those at 1 and 1.5 s to the special one.
    assert [caption.image_description for caption in said] == ["a street", "a street", "a crossing", "a crossing"]
    assert all(caption.weather == "rain" and caption.time == "day" for caption in said)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scene,weather\nscene-0104,rain\n", r"row 1: .*no scene 'scene-0104'; nearest: scene-0103"),
        ("scene,camera,weather\nscene-0103,CAM_FRONTT,rain\n", r"no camera 'CAM_FRONTT'.*nearest: CAM_FRONT"),
        ("scene,at,weather\nscene-0103,99,rain\n", r"row 1: 99 lies outside"),
        ("scene,at,weather\nscene-0103,noon,rain\n", r"'noon' is no time"),
        ("scene,wether\nscene-0103,rain\n", r"unknown column wether; nearest: weather"),
        ("scene,camera\nscene-0103,CAM_BACK\n", r"at least one of time, weather"),
        (b"scene,weather\nscene-0103,\xfc\n", r"cannot be read as \.csv in UTF-8"),
        ("", r"cannot be read"),
    ],
)
def test_tables_that_do_not_fit_are_refused_in_one_line(folder, tmp_path, text, message):
    path = tmp_path / "words.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DwmError, match=message) as error:
        make_caption_files(path, open_dataset(folder), tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "captions.json").exists()


@pytest.mark.slow
def test_the_commands_do_it(folder, tmp_path):
    def dwm(*words):
        line = [sys.executable, "-m", "dwm.cli.main", "data", *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True)

    shown = dwm("show", "scene-0103", "--data", folder, "--at", "0.5s", "-o", tmp_path / "look.png", "--width", 96)
    assert shown.returncode == 0 and Image.open(tmp_path / "look.png").size == (296 + 4 + 112, 112)
    assert dwm("check", folder).returncode == 0
    next((folder / "sweeps" / "CAM_BACK").iterdir()).unlink()
    checked = dwm("check", folder)
    assert checked.returncode == 3 and "missing files in sweeps/CAM_BACK" in checked.stdout
    made = json.loads(dwm("interpolate", folder, "--json").stdout)
    assert made["samples"] == 2 * 19 and (folder / "interp_12Hz_trainval" / "scene.json").is_file()
