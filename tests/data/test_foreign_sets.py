"""Sets that were made to harm: nothing is read or written outside, nothing waits, nothing swells; the commands end in one line."""

import json
import os
import shutil
import zipfile

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.cli.main import run as command
from dwm.data import ReadOptions, open_dataset
from dwm.data.caption_table import make_caption_files
from dwm.data.films import read_film
from dwm.data.package.writer import PackageWriter
from dwm.errors import DwmError
from dwm.storage import open_tree, seal


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "set", make_files(make_tables()))


def change_rows(path, **entries):
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([row | entries for row in rows]))


def run(capsys, *arguments) -> tuple[int, str]:
    """Status and the last line of what a command says."""
    with pytest.raises(SystemExit) as stop:
        command([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return stop.value.code, said.err.strip().splitlines()[-1] if said.err.strip() else said.out


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.jpg", "samples/../../secret.jpg", "samples\\x.jpg", "a\0.jpg"]
)
def test_a_table_that_names_files_elsewhere_is_refused_by_its_row(data, capsys, name):
    (data.parent / "secret.jpg").write_bytes(b"secret")
    change_rows(data / "v1.0-mini" / "sample_data.json", filename=name)
    code, said = run(capsys, "data", "show", "scene-0103", "--data", data, "-o", data.parent / "x.png")
    assert code == 1 and said.startswith("dwm: v1.0-mini/sample_data.json: row ")
    assert ": filename: the name " in said and not (data.parent / "x.png").exists()


def test_a_log_that_names_a_map_elsewhere_is_refused_by_its_row(data, capsys):
    (data.parent / "map.json").write_text("{}")
    change_rows(data / "v1.0-mini" / "log.json", location="../../map")
    code, said = run(capsys, "data", "convert", data, "-o", data.parent / "package")
    assert code == 1 and "v1.0-mini/log.json: row log: location: the name '../../map' leads outside" in said


def test_an_index_that_came_with_a_set_opens_no_file_elsewhere(data):
    (data.parent / "secret.jpg").write_bytes(b"secret")
    clip = open_dataset(data)["scene-0103"].clip(0, 1, 2)
    name = clip.pictures.files[0][0]
    (place,) = (data / ".dwm").glob("v1.0-mini.index-*")
    content = (place / "frames.arrow").read_bytes()
    assert name.encode() in content
    outside = ("../secret.jpg" + "/" * len(name))[: len(name)]
    (place / "frames.arrow").write_bytes(content.replace(name.encode(), outside.encode()))
    seal.write(place)  # as whoever made the set to harm would
    with pytest.raises(DwmError):
        open_dataset(data)["scene-0103"].clip(0, 1, 2).pictures.load(0, 0)


@pytest.mark.parametrize("table, column", [("scenes", "map"), ("lanes", "map"), ("frames", "file"), ("scenes", "name")])
def test_a_package_writes_nothing_outside_of_the_output(data, tmp_path, capsys, table, column):
    assert run(capsys, "data", "convert", data, "-o", tmp_path / "package")[0] == 0
    path = tmp_path / "package" / f"{table}.parquet"
    rows = pq.read_table(path)
    changed = [row | {column: "../../escaped/evil"} for row in rows.to_pylist()]
    pq.write_table(pa.Table.from_pylist(changed, rows.schema), path)
    output = tmp_path / "a" / "b" / "out"
    code, said = run(capsys, "data", "convert", tmp_path / "package", "-o", output, "--to", "nuscenes")
    assert code == 1 and f"{table}.parquet: row " in said and f"{column}: the name '../../escaped/evil'" in said
    assert not list(tmp_path.rglob("escaped")) and not output.exists()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "nul"])
def test_a_package_is_not_written_with_such_names(tmp_path, name):
    with pytest.raises(DwmError, match="the name"), PackageWriter(tmp_path / "p") as package:
        package.scene(name)
    with pytest.raises(DwmError, match="the name"), PackageWriter(tmp_path / "p") as package:
        package.scene("fine", map=name)
    if name != "a/b":  # a camera may lie in a folder of its own
        with pytest.raises(DwmError, match="the name"), PackageWriter(tmp_path / "p") as package:
            package.scene("fine").frame(name, 0, np.eye(4), b"", "instant", "bin")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("kind", ["pipe", "link to a device", "folder"])
def test_a_picture_that_is_no_file_is_refused_without_waiting(data, capsys, kind):
    place = data / "samples" / "odd"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero")
    change_rows(data / "v1.0-mini" / "sample_data.json", filename="samples/odd")
    code, said = run(capsys, "data", "show", "scene-0103", "--data", data, "-o", data.parent / "x.png")
    assert code == 1 and "samples/odd" in said


def test_a_map_that_swells_is_refused(data, capsys):
    for path in data.rglob("made-up-town.json"):
        path.unlink()
    with (
        zipfile.ZipFile(data / "map.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("expansion/made-up-town.json", "w") as file,
    ):
        for _ in range(300):
            file.write(b" " * (1 << 20))
    code, said = run(capsys, "data", "show", "scene-0103", "--data", data, "-o", data.parent / "x.png")
    assert code == 1 and "member expansion/made-up-town.json" in said and "DWM_MAX_BYTES=300M" in said


def test_a_row_without_end_is_refused(data, monkeypatch):
    monkeypatch.setenv("DWM_MAX_BYTES", "1M")
    rows = json.loads((data / "v1.0-mini" / "scene.json").read_text())
    rows[0]["description"] = "x" * (4 << 20)
    (data / "v1.0-mini" / "scene.json").write_text(json.dumps(rows))
    with pytest.raises(DwmError, match=r"v1\.0-mini/scene\.json: row 0: .*DWM_MAX_BYTES="):
        open_dataset(data, options=ReadOptions(maps=False))


DEEP = '{"scene": ' + "[" * 1_000_000 + "]" * 1_000_000 + "}\n"


@pytest.mark.parametrize(
    "line, words",
    [
        (DEEP, "line 2: not JSON that we read: nested too deep"),
        ('{"scene": {"a": 1}}\n', "line 2: is no object of texts and numbers"),
        ("[1]\n", "line 2: is no object"),
        ('{"scene": "x"\n', "line 2:1:14: not JSON"),
    ],
    ids=["deep", "object", "list", "cut"],
)
def test_a_line_of_captions_that_is_no_row_is_named(data, tmp_path, capsys, line, words):
    table = tmp_path / "words.jsonl"
    table.write_text('{"scene": "scene-0103", "text": "a street"}\n' + line)
    code, said = run(capsys, "data", "captions", table, "--data", data, "-o", tmp_path / "out")
    assert code == 1 and words in said and not (tmp_path / "out").exists()


def test_lines_of_captions_read_as_columns_do(data, tmp_path):
    rows = [
        {"scene": "scene-0103", "text": "a street"},
        {"scene": "scene-0103", "camera": "CAM_BACK", "at": 0.5, "weather": "rain"},
    ]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = [{"camera": "", "at": None, "weather": "", "text": ""} | row for row in rows]
    pq.write_table(pa.Table.from_pylist(whole), tmp_path / "w.parquet")
    dataset = open_dataset(data, options=ReadOptions(maps=False, missing_captions="empty"))
    made = [make_caption_files(tmp_path / name, dataset, tmp_path / name[0:2]) for name in ("words.jsonl", "w.parquet")]
    first, second = ([json.loads(file.read_text()) for file in one.files] for one in made)
    assert first == second and len(first[0]) > 6


def test_a_film_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    with av.open(str(tmp_path / "front.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert read_film(open_tree(tmp_path), "front.mp4", 1).shape == (480, 640, 3)
    monkeypatch.setenv("DWM_MAX_BYTES", "1M")
    (tmp_path / "front.mp4").rename(tmp_path / "back.mp4")
    with pytest.raises(DwmError, match=r"back\.mp4: a picture of 640×480: 1\.2 MiB"):
        read_film(open_tree(tmp_path), "back.mp4", 1)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1:1/x",
        "zip://*::file:///etc/passwd",
        "reference://x",
        "hf://datasets/a/b",
        "github://a:b@c/x",
        "s3://",
    ],
)
def test_other_protocols_are_one_line(capsys, url):
    code, said = run(capsys, "data", "index", url)
    assert code == 1 and said.startswith("dwm: ") and "Traceback" not in said


def test_captions_say_which_others_they_stand_before(data, tmp_path, capsys):
    copy, table = tmp_path / "copy", tmp_path / "words.csv"
    shutil.copytree(data, copy)
    (copy / "nuscenes_v1.0-mini_caption_v2_val.json").write_text("{}")
    table.write_text("scene,text\nscene-0103,a street\n")
    for flags, expected in ((("-o", tmp_path / "out"), False), ((), True)):
        code, said = run(capsys, "data", "captions", table, "--data", copy, *flags)
        assert code == 0 and ("in the place of nuscenes_v1.0-mini_caption_v2_val.json" in said) is expected
