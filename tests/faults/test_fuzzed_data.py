"""Data sets that are nearly right, by the hundred: a right result or one line, and `check` sees what reading refuses."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "data"))

from fuzzing import damaged, fuzz, json_file
from made_up_nuscenes import make_files, make_tables, write

from dwm.data import LookOptions, collate, look_at, open_dataset
from dwm.data.caption_table import make_caption_files
from dwm.data.nuscenes.dataset import NuScenesTables
from dwm.data.nuscenes.interpolate import interpolate
from dwm.data.open import check_dataset
from dwm.data.package.convert import to_nuscenes, to_package
from dwm.data.package.schema import PackageTables
from dwm.errors import DwmError
from dwm.report.film import Film
from dwm.runs.clip_facts import clip_facts
from dwm.storage import open_tree, zip_tar

SMALL = LookOptions(tile_width=64, birdseye=False)
TABLES = (
    "scene",
    "sample",
    "sample_data",
    "ego_pose",
    "calibrated_sensor",
    "sensor",
    "sample_annotation",
    "instance",
    "category",
    "log",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("set"), make_files(make_tables(scenes=("scene-0103",), samples=2, sweeps=1)))


@pytest.fixture(scope="module")
def package(folder: Path, tmp_path_factory) -> Path:
    return to_package(NuScenesTables(open_tree(folder), "v1.0-mini"), tmp_path_factory.mktemp("package") / "set").path


def copy_of(folder: Path, place: Path) -> Path:
    """The data set with its files linked, so that one of them can be replaced."""
    shutil.rmtree(place, ignore_errors=True)
    ours = shutil.ignore_patterns(".dwm")
    return Path(shutil.copytree(folder, place, copy_function=lambda a, b: Path(b).hardlink_to(a), ignore=ours))


def put(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def use_set(path: Path) -> None:
    """Checks a set, then does with it what `show` and `generate` do: whatever these refuse, the check must have found."""
    found = check_dataset(path, read_files=True)
    try:
        clip_facts(str(path), None)
        for scene in open_dataset(path):
            collate([scene.clip(0, 2, 2)], (64, 32))
            look_at(scene.clip(0, 1, 2), SMALL)
    except DwmError as error:
        assert found.faults, f"no faults, but: {error}"
        raise


def one_file(folder: Path, place: Path, names: list[str]):
    """Makes copies of the set in which one JSON file is changed."""
    whole = {name: json.loads((folder / name).read_text()) for name in names}

    def make(choose: random.Random) -> tuple[Path, str]:
        name = choose.choice(names)
        data, done = json_file(whole[name], choose)
        put(copy_of(folder, place) / name, data)
        return place, f"{name}: {done}"

    return make


@pytest.mark.timeout(120)
def test_tables(folder: Path, tmp_path: Path) -> None:
    fuzz(25, one_file(folder, tmp_path / "set", [f"v1.0-mini/{name}.json" for name in TABLES]), use_set)


@pytest.mark.timeout(120)
def test_tables_at_12_hz(folder: Path, tmp_path: Path) -> None:
    names = [f"v1.0-mini/{name}.json" for name in (*TABLES, "attribute", "visibility", "map")]

    def use(path: Path) -> None:
        shutil.rmtree(tmp_path / "interp", ignore_errors=True)
        interpolate(open_tree(path), "v1.0-mini", tmp_path / "interp")

    fuzz(40, one_file(folder, tmp_path / "set", names), use)


@pytest.mark.timeout(120)
def test_map_expansion(folder: Path, tmp_path: Path) -> None:
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("expansion/*.json")]
    fuzz(20, one_file(folder, tmp_path / "set", names), use_set)


@pytest.mark.timeout(120)
def test_captions(folder: Path, tmp_path: Path) -> None:
    fuzz(20, one_file(folder, tmp_path / "set", ["captions.json", "caption_times.json"]), use_set)


@pytest.mark.timeout(120)
def test_tables_of_captions(folder: Path, tmp_path: Path) -> None:
    dataset = open_dataset(folder)
    row = {"scene": "scene-0103", "camera": "CAM_FRONT", "at": "0.5", "weather": "rain", "text": "a road"}
    texts = {
        ".jsonl": "\n".join(json.dumps(one) for one in (row, {**row, "at": "0"})).encode(),
        ".csv": f"{','.join(row)}\n{','.join(row.values())}\n".encode(),
    }

    def make(choose: random.Random) -> tuple[Path, str]:
        ending = choose.choice((".jsonl", ".csv"))
        data, done = (
            json_file(row, choose) if ending == ".jsonl" and choose.random() < 0.6 else damaged(texts[ending], choose)
        )
        path = tmp_path / f"words{ending}"
        path.write_bytes(data)
        return path, done

    fuzz(150, make, lambda path: make_caption_files(path, dataset, tmp_path / "out"))


@pytest.mark.timeout(120)
def test_scene_packages(package: Path, tmp_path: Path) -> None:
    names = [file.name for file in package.glob("*.parquet")]
    tables = {name: pq.read_table(package / name) for name in names}

    def make(choose: random.Random) -> tuple[Path, str]:
        place = copy_of(package, tmp_path / "set")
        if choose.random() < 0.2:
            data, done = json_file(json.loads((package / "package.json").read_text()), choose)
            put(place / "package.json", data)
            return place, f"package.json: {done}"
        name = choose.choice(names)
        if choose.random() < 0.4:
            data, done = damaged((package / name).read_bytes(), choose)
            put(place / name, data)
            return place, f"{name}: {done}"
        table, done = changed_table(tables[name], choose)
        (place / name).unlink()
        pq.write_table(table, place / name)
        return place, f"{name}: {done}"

    def use(path: Path) -> None:
        use_set(path)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        to_nuscenes(PackageTables(open_tree(path)), tmp_path / "out")

    fuzz(20, make, use)


def changed_table(table: pa.Table, choose: random.Random) -> tuple[pa.Table, str]:
    """A table with a null, an odd number or text, a column of another type, without a column or a row."""
    place = choose.randrange(table.num_columns)
    field, values = table.schema.field(place), table.column(place).to_pylist()
    kind = choose.randrange(6)
    if kind == 0:
        return table.remove_column(place), f"without {field.name}"
    if kind == 1 or not values:
        return table.slice(0, 0) if choose.random() < 0.3 else table.slice(1), "fewer rows"
    if kind == 2:
        return table.set_column(place, field.name, pa.array([str(value) for value in values])), f"{field.name} as text"
    row = choose.randrange(len(values))
    for _ in range(5):
        new = choose.choice(
            (
                None,
                float("nan"),
                float("inf"),
                1e300,
                -1,
                0,
                2**31 - 1,
                "",
                "../x",
                "\x1b",
                [0.0] * 3,
                [0.0] * 4,
                [],
                b"x",
            )
        )
        try:
            column = pa.array([*values[:row], new, *values[row + 1 :]], field.type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            continue
        return table.set_column(place, field, column), f"{field.name} of row {row} = {new!r}"
    return table.slice(1), "without its first row"


@pytest.mark.timeout(120)
def test_kept_index(folder: Path, tmp_path: Path) -> None:
    """Whatever happened to what was kept, the same clip comes back: it is noticed, and made anew."""
    copy_of(folder, tmp_path / "set")
    expected = open_dataset(tmp_path / "set")["scene-0103"].clip(0, 2, 2).world_from_ego

    def make(choose: random.Random) -> tuple[Path, str]:
        file = choose.choice(
            sorted(file for file in (tmp_path / "set" / ".dwm").rglob("*") if file.is_file() and file.stat().st_size)
        )
        data, done = damaged(file.read_bytes(), choose)
        put(file, data)
        return tmp_path / "set", f"{file.name}: {done}"

    def use(path: Path) -> None:
        assert np.array_equal(open_dataset(path)["scene-0103"].clip(0, 2, 2).world_from_ego, expected)

    fuzz(60, make, use)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["zip", "deflated", "tar", "tgz"])
def test_archives(kind: str, tmp_path: Path) -> None:
    content = {"v1.0-mini/scene.json": b"[]" * 300, "samples/CAM_FRONT/a.jpg": bytes(range(256)), "x.bin": b"ab" * 500}
    stream = io.BytesIO()
    if kind in ("zip", "deflated"):
        with zipfile.ZipFile(
            stream, "w", zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED
        ) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz" if kind == "tgz" else "w") as archive:
            for name, data in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    path = tmp_path / f"set.{'zip' if kind == 'deflated' else kind}"

    def make(choose: random.Random) -> tuple[Path, str]:
        data, done = damaged(stream.getvalue(), choose)
        path.write_bytes(data)
        return path, done

    def use(path: Path) -> None:
        for salvage in (False, True) if kind != "tgz" else (True,):
            try:
                zip_tar(path, tmp_path / "out.zip", salvage=salvage, threads=1)
            except DwmError as error:
                assert "\n" not in str(error)
        tree = open_tree(path)
        for name in tree.names():
            tree.size(name)
            with tree.open(name) as file:
                file.read()
            if name in content and kind in ("zip", "deflated"):
                assert tree.read(name) == content[name]

    fuzz(120, make, use)


@pytest.mark.timeout(120)
def test_sweeps_and_pictures(folder: Path, tmp_path: Path) -> None:
    names = sorted(file.relative_to(folder).as_posix() for file in (folder / "samples").rglob("*") if file.is_file())

    def make(choose: random.Random) -> tuple[Path, str]:
        place = copy_of(folder, tmp_path / "set")
        name = choose.choice(names)
        data, done = damaged(content(folder / name, choose), choose)
        if name.endswith(".bin") and choose.random() < 0.3:
            data, done = np.array([choose.choice((np.nan, np.inf, 1e38, 0))] * 50, np.float32).tobytes(), "odd numbers"
        put(place / name, data)
        return place, f"{name}: {done}"

    fuzz(20, make, use_set)


def content(path: Path, choose: random.Random) -> bytes:
    """A file's bytes; a picture now and then of another format, mode or size."""
    if path.suffix != ".jpg" or choose.random() < 0.5:
        return path.read_bytes()
    stream = io.BytesIO()
    mode = choose.choice(("L", "1", "P", "RGBA", "I;16", "F", "CMYK"))
    form = {"F": "TIFF", "CMYK": "TIFF"}.get(mode, choose.choice(("PNG", "TIFF")))
    Image.new(mode, choose.choice(((64, 36), (1, 1), (640, 360)))).save(stream, form)
    return stream.getvalue()


@pytest.mark.timeout(120)
def test_films(folder: Path, tmp_path: Path) -> None:
    from dwm.data.films import read_film

    frames = np.random.default_rng(0).integers(0, 255, (8, 32, 48, 3), np.uint8)
    whole = Film(frames, 10).save(tmp_path / "whole.mp4").read_bytes()
    texts = (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        b"#EXTM3U\nhttp://127.0.0.1/x\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
    )

    def make(choose: random.Random) -> tuple[tuple[Any, str, int], str]:
        data, done = (choose.choice(texts), "a text") if choose.random() < 0.1 else damaged(whole, choose)
        name = f"{choose.randrange(10**9)}.{choose.choice(('mp4', 'mkv', 'avi'))}"
        place = tmp_path / "films"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / name).write_bytes(data)
        return (open_tree(place), name, choose.choice((0, 3, 7, 8, 10**6))), done

    fuzz(80, make, lambda given: read_film(*given))
