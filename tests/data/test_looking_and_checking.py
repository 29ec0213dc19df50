"""Pictures to look at, checks that name each kind of fault, captions from a table of one's own, and the commands for them."""

import json
import subprocess
import sys
from dataclasses import replace

import av
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from made_up_nuscenes import CAMERAS, make_files, make_tables, write
from PIL import Image

from dwm import progress
from dwm.cli.main import app, outcome
from dwm.cli.main import run as command
from dwm.data import LookOptions, ReadOptions, look_at, open_dataset
from dwm.data.caption_table import make_caption_files
from dwm.data.open import check_dataset
from dwm.data.recording import save_recording
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


def test_a_recording_for_rerun_holds_what_the_clip_holds(folder, tmp_path):
    pytest.importorskip("rerun")
    chunks = pytest.importorskip("rerun.chunk")
    clip = open_dataset(folder)["scene-0103"].clip(0, 4, 2)
    path = save_recording(clip, tmp_path / "look.rrd", LookOptions(tile_width=64))
    assert subprocess.run([sys.executable, "-m", "rerun", "rrd", "verify", path], capture_output=True).returncode == 0
    rows = {}
    for chunk in chunks.RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        for name in (name for name in batch.schema.names if ":" in name):
            rows.setdefault((str(chunk.entity_path), name), []).extend(batch.column(name).to_pylist())
    front = clip.views.index("CAM_FRONT")
    places = [row[0] for row in rows["/world/cameras/CAM_FRONT", "Transform3D:translation"]]
    wanted = clip.world_from_ego[:, front] @ clip.rig.ego_from_camera[front]
    np.testing.assert_allclose(places, wanted[:, :3, 3], rtol=1e-6)
    assert all(len(rows[f"/world/cameras/{view}", "EncodedImage:blob"]) == 4 for view in CAMERAS)
    np.testing.assert_allclose(rows["/world/boxes", "Boxes3D:centers"][1], clip.boxes[1][0].center, rtol=1e-6)
    assert len(rows["/world/lidar", "Points3D:positions"][3]) == len(clip.lidar.points[3])
    assert rows["/world/map/drivable_area", "LineStrips3D:strips"] and len(rows["/words", "TextDocument:text"]) == 4


def test_without_rerun_a_recording_names_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(DwmError, match=r"look\.rrd: .*pip install 'dwm\[rerun\]'"):
        save_recording(open_dataset(folder)["scene-0103"].clip(0, 1, 2), tmp_path / "look.rrd")
    assert not list(tmp_path.glob("*.rrd"))


def test_points_fall_where_the_camera_sees_them(folder):
    from dwm.data.overview import draw_view

    clip = open_dataset(folder)["scene-0103"].clip(0, 1, 2)
    front = clip.views.index("CAM_FRONT")
    camera = clip.world_from_ego[0, front] @ clip.rig.ego_from_camera[front]
    point = camera[:3, :3] @ [1.0, 0.5, 10.0] + camera[:3, 3]
    options = LookOptions(boxes=False, map=False)
    dotted, plain = (draw_view(clip, 0, front, (64, 36), p, options) for p in (point[None], np.zeros((0, 3))))
    assert set(zip(*np.nonzero((dotted != plain).any(-1)), strict=True)) <= {(20, 36), (20, 37), (21, 36), (21, 37)}
    assert (dotted[20, 36] != plain[20, 36]).any()


def test_the_foreground_stands_out_in_what_the_command_shows(folder, tmp_path, capsys):
    from dwm.data import draw_foreground
    from dwm.data.overview import draw_view

    clip = open_dataset(folder)["scene-0103"].clip(0, 1, 2)
    plain = LookOptions(boxes=False, map=False)
    for view in range(len(clip.views)):
        bright, dark = (
            draw_view(clip, 0, view, (64, 36), None, plain.with_(foreground=which)).astype(int)
            for which in (False, True)
        )
        stands = draw_foreground(clip, 0, view, (64, 36)).any(-1)
        bright, dark, stands = bright[20:], dark[20:], stands[20:]  # below the camera's name
        assert (dark[stands] == bright[stands]).all() and (dark[~stands] == bright[~stands] // 4).all()
    show = ["data", "show", "scene-0103", "--data", str(folder), "--width", "64"]
    for name, flags in (("plain.png", []), ("dark.png", ["--foreground"])):
        with pytest.raises(SystemExit) as stop:
            command([*show, *flags, "-o", str(tmp_path / name)])
        assert stop.value.code == 0
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "dark.png").read_bytes()
    with pytest.raises(SystemExit) as stop:
        command([*show, "--foreground", "-o", str(tmp_path / "look.rrd")])
    assert stop.value.code == 1 and "leave out --foreground" in capsys.readouterr().err


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


NAN = float("nan")
PLANTED = {
    "NaN pose": ("ego_pose", lambda r: r[5].update(translation=[NAN, 0, 0]), "table ego_pose", "is not finite"),
    "quaternion": ("ego_pose", lambda r: r[5].update(rotation=[0.9, 0, 0, 0.9]), "table ego_pose", "not a unit quat"),
    "twice": ("sample_data", lambda r: r.append(r[0]), "table sample_data", "stands there more than once"),
    "focal": (
        "calibrated_sensor",
        lambda r: r[1].update(camera_intrinsic=[[0.0, 0, 32], [0, 40, 18], [0, 0, 1]]),
        "cannot be opened",
        "focal lengths 0 and 40",
    ),
    "pose link": (
        "sample_data",
        lambda r: r[0].update(ego_pose_token="x"),
        "broken links sample_data.ego_pose_token",
        "x",
    ),
    "sample link": (
        "sample_data",
        lambda r: r[0].update(sample_token="x"),
        "broken links sample_data.sample_token",
        "x",
    ),
    "box link": (
        "sample_annotation",
        lambda r: r[0].update(sample_token="x"),
        "broken links sample_annotation.sample_token",
        "sample_token x is not in sample.json",
    ),
    "no width": ("sample_data", lambda r: r[0].update(width=0), "pictures without size", "has no width"),
    "other size": ("sample_data", lambda r: r[0].update(width=65), "damaged files in samples/CAM_FRONT_LEFT", "64×36"),
    "all boxes away": (
        "sample_annotation",
        lambda r: [row.update(translation=[20.0, 2.0, 900.0]) for row in r],
        "boxes that no camera sees",
        "poses or calibration must be wrong",
    ),
}


@pytest.mark.parametrize("name, change, kind, example", PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(folder, name, change, kind, example):
    table(folder, name, change)
    faults = {finding.kind: finding for finding in check_dataset(folder, read_files=True).faults}
    assert kind in faults and example in faults[kind].example
    assert set(faults) <= {kind, "cannot be opened", "damaged files in samples/CAM_FRONT_LEFT"}


def test_all_broken_tables_are_told_at_once(folder):
    table(folder, "ego_pose", lambda rows: rows[0].update(translation=[NAN, 0, 0]))
    table(folder, "sample_annotation", lambda rows: rows[0].update(instance_token="gone"))
    (folder / "v1.0-mini" / "log.json").write_text("[{")
    assert [finding.kind for finding in check_dataset(folder).faults] == [
        "table ego_pose",
        "table log",
        "broken links sample_annotation.instance_token",
    ]


@pytest.mark.parametrize(
    "change", [lambda said: said.pop(next(iter(said))), lambda said: said.update({next(iter(said)): {"time": 3}})]
)
def test_captions_that_are_named_but_missing_or_no_texts_are_found(folder, change):
    said = json.loads((folder / "captions.json").read_text())
    change(said)
    (folder / "captions.json").write_text(json.dumps(said))
    assert kinds(folder)["captions missing or not of texts"].count == 1


def test_a_camera_without_pictures_and_a_set_without_boxes_are_noted(folder):
    path = folder / "v1.0-mini" / "sample_data.json"
    rows = [row for row in json.loads(path.read_text()) if not row["token"].startswith("CAM_BACK ")]
    path.write_text(json.dumps(rows))
    (folder / "v1.0-mini" / "sample_annotation.json").write_text("[]")
    found = check_dataset(folder)
    assert not found.faults and {"boxes", "cameras without pictures"} <= {finding.kind for finding in found.findings}


def test_what_cannot_be_opened_is_one_fault(folder):
    (folder / "v1.0-mini" / "sample_data.json").write_text("[{")
    (finding,) = check_dataset(folder).faults
    assert finding.kind == "table sample_data" and "sample_data.json" in finding.example


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


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_each_kind_of_table_gives_the_same_captions(folder, tmp_path, ending):
    rows = [{"scene": "scene-0103", "camera": None, "at": None, "weather": "rain", "text": "größer"}]
    rows.append({"scene": "scene-0103", "camera": "CAM_FRONT", "at": 1.0, "weather": None, "text": "a crossing"})
    path = tmp_path / f"words.{ending}"
    if ending == "csv":
        table = pa.Table.from_pylist(rows)
        pa.csv.write_csv(table, path)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some spreadsheets begin a UTF-8 file
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    make_caption_files(path, open_dataset(folder), folder)
    options = ReadOptions(missing_captions="empty")
    clip = open_dataset(folder, options=options)["scene-0103"].clip(0, 4, 2)
    said = [row[clip.views.index("CAM_FRONT")].text() for row in clip.captions]
    assert said == ["rain. größer"] * 2 + ["rain. a crossing"] * 2


def test_a_table_of_json_lines_in_another_encoding_is_one_line(folder, tmp_path):
    (tmp_path / "words.jsonl").write_bytes('{"scene": "scene-0103", "weather": "trüb"}\n'.encode("latin-1"))
    with pytest.raises(DwmError, match=r"words\.jsonl: .*UTF-8") as error:
        make_caption_files(tmp_path / "words.jsonl", open_dataset(folder), tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "captions.json").exists()


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


def test_the_commands_do_it(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", False)

    def dwm(*words):
        arguments = ["data", *map(str, words)]
        code = outcome(lambda: app(args=arguments, prog_name="dwm", standalone_mode=False))
        return code, capsys.readouterr()

    assert (
        dwm("show", "scene-0103", "--data", folder, "--at", "0.5s", "-o", tmp_path / "look.png", "--width", 96)[0] == 0
    )
    assert Image.open(tmp_path / "look.png").size == (296 + 4 + 112, 112)
    code, said = dwm("show", "scene-0103", "--data", folder, "--fps", 5, "--seconds", 1, "-o", tmp_path / "look.mp4")
    assert code == 0 and len(list(av.open(str(tmp_path / "look.mp4")).decode(video=0))) == 6
    assert dwm("check", folder)[0] == 0
    assert dwm("convert", folder, "-o", tmp_path / "set.zip")[0] == 0 and dwm("check", tmp_path / "set.zip")[0] == 0
    next((folder / "sweeps" / "CAM_BACK").iterdir()).unlink()
    code, said = dwm("check", folder)
    assert code == 3 and "× missing files in sweeps/CAM_BACK/" in said.out and "1 kinds of faults" in said.err
    made = json.loads(dwm("interpolate", folder, "--json")[1].out)
    assert made["samples"] == 2 * 19 and (folder / "interp_12Hz_trainval" / "scene.json").is_file()
