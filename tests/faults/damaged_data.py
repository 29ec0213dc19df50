"""Ways to damage a data set, and what reading it whole then says. As a script: many of them, in a table.

python tests/faults/damaged_data.py DATA [--count 200] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dwm.data import open_dataset
from dwm.errors import DwmError
from dwm.storage import zip_tar

FORMS = ("folder", "zip", "deflated zip", "zips", "tar", "tgz")
NOTICED, UNNOTICED, BUG = "one line", "nothing", "a trace"


def read_whole(path: Path) -> None:
    """Reads everything of the first frames of a data set that a network is told of."""
    for scene in open_dataset(path):
        clip = scene.clip(0, 1, 2)
        for view in range(len(clip.views)):
            clip.pictures.load(0, view)
        if clip.lidar is not None:
            clip.lidar.points[0]
        assert clip.map is not None and clip.captions is not None


def pack(folder: Path, names: list[str], path: Path, form: str) -> list[Path]:
    """The files as archives of one form; a folder stays as it is. What can be damaged of it."""
    path.mkdir()
    if form == "folder":
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, path / name)
        return [path / name for name in names]
    if form in ("tar", "tgz"):
        with tarfile.open(path / f"set.{form}", "w:gz" if form == "tgz" else "w") as archive:
            for name in names:
                archive.add(folder / name, name)
        return [path / f"set.{form}"]
    parts = {"set.zip": names}
    if form == "zips":
        parts = {
            "v1.0-mini_meta.zip": [name for name in names if not name.startswith("samples/")],
            "v1.0-mini01_blobs.zip": [name for name in names if name.startswith("samples/CAM_FRONT")],
            "v1.0-mini02_blobs.zip": [name for name in names if re.match("samples/(?!CAM_FRONT)", name)],
        }
    for part, held in parts.items():
        method = zipfile.ZIP_DEFLATED if form == "deflated zip" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path / part, "w", method) as archive:
            for name in held:
                archive.write(folder / name, name)
    return [path / part for part in parts]


def result_of(path: Path, form: str) -> tuple[str, str]:
    """How reading a data set ends, and the line that it gives."""
    try:
        if form == "tgz":
            zip_tar(path / "set.tgz", path / "set.zip")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_whole(path)
    except DwmError as error:
        line = str(error)
        return (NOTICED if "\n" not in line else BUG), line.replace(f"{path}/", "").replace(str(path), "DATA")
    except Exception as error:
        return BUG, f"{type(error).__name__}: {error}"
    return UNNOTICED, ""


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)


def edit(path: Path, change: Callable[[list[dict]], object]) -> None:
    """Changes the rows of a table."""
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def put(row: dict, **values: object) -> None:
    row.update(values)


def table(name: str, change: Callable[[list[dict]], object]) -> tuple[str, Callable[[Path], None]]:
    return "folder", lambda path: edit(path / "v1.0-mini" / f"{name}.json", change)


def moved(form: str, source: str, target: str) -> tuple[str, Callable[[Path], None]]:
    return form, lambda path: (path / source).replace(path / target)


def written(form: str, name: str, content: bytes) -> tuple[str, Callable[[Path], None]]:
    def write(path: Path) -> None:
        (path / name).unlink()
        (path / name).write_bytes(content)

    return form, write


def locked(path: Path) -> None:
    """Marks the first member as encrypted, in its header and in the directory."""
    data = bytearray((path / "set.zip").read_bytes())
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(magic) + at] |= 1
    (path / "set.zip").write_bytes(data)


def bomb(path: Path) -> None:
    """Lets the first member claim four gigabytes."""
    data = bytearray((path / "set.zip").read_bytes())
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = b"\xfe\xff\xff\xff"
    (path / "set.zip").write_bytes(data)


def swap(path: Path) -> None:
    (path / "v1.0-mini01_blobs.zip").replace(path / "x")
    (path / "v1.0-mini02_blobs.zip").replace(path / "v1.0-mini01_blobs.zip")
    (path / "x").replace(path / "v1.0-mini02_blobs.zip")


FAULTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "blob archives under each other's names": ("zips", swap),
    "a blob archive in the place of another": moved("zips", "v1.0-mini02_blobs.zip", "v1.0-mini01_blobs.zip"),
    "a blob archive in the place of the tables'": moved("zips", "v1.0-mini01_blobs.zip", "v1.0-mini_meta.zip"),
    "a zip named .tar": moved("zip", "set.zip", "set.tar"),
    "a tar named .zip": moved("tar", "set.tar", "set.zip"),
    "a packed tar named .tar": moved("tgz", "set.tgz", "set.tar"),
    "a packed tar named .zip": moved("tgz", "set.tgz", "set.zip"),
    "a web page in a zip's place": written("zip", "set.zip", b"<!DOCTYPE html><title>Sign in</title>"),
    "an empty zip": written("zip", "set.zip", b""),
    "a zip of zeros": written("zip", "set.zip", bytes(100_000)),
    "a tar of zeros": written("tar", "set.tar", bytes(100_000)),
    "a flipped bit in a stored picture": ("zips", lambda path: flip(path / "v1.0-mini01_blobs.zip", 300)),
    "a flipped bit in a deflated table": ("deflated zip", lambda path: flip(path / "set.zip", 120)),
    "an encrypted member": ("zip", locked),
    "a member that claims four gigabytes": ("zip", bomb),
    "a token twice in sample": table("sample", lambda rows: rows.append(dict(rows[0]))),
    "a token twice in sample_data": table("sample_data", lambda rows: rows.append(dict(rows[0]))),
    "a token twice in sample_annotation": table("sample_annotation", lambda rows: rows.append(dict(rows[0]))),
    "a token twice in instance": table("instance", lambda rows: rows.append(dict(rows[0]))),
    "a token that another table lacks": table("sample_data", lambda rows: put(rows[0], ego_pose_token="none")),
    "a sample that is not there": table("scene", lambda rows: put(rows[0], first_sample_token="none")),
    "a focal length of zero": table(
        "calibrated_sensor", lambda rows: [put(row, camera_intrinsic=[[0] * 3] * 3) for row in rows if row["camera_intrinsic"]]
    ),
    "a quaternion of length two": table("ego_pose", lambda rows: put(rows[0], rotation=[2, 0, 0, 0])),
    "a pose that is NaN": table("ego_pose", lambda rows: put(rows[0], translation=[float("nan"), 0, 0])),
    "a pose of two numbers": table("ego_pose", lambda rows: put(rows[0], translation=[1, 2])),
    "a box without size": table("sample_annotation", lambda rows: put(rows[0], size=[0, 1, 1])),
    "a row without a field": table("sample_data", lambda rows: rows[0].pop("timestamp")),
    "a table that is an object": written("folder", "v1.0-mini/scene.json", b'{"token": "x"}'),
    "a table in UTF-16": written("folder", "v1.0-mini/log.json", '[{"token": "x"}]'.encode("utf-16")),
    "captions in Latin-1": written("folder", "captions.json", '{"a": "Straße"}'.encode("latin-1")),
    "a picture that is text": (
        "folder", lambda path: next(path.glob("samples/CAM_FRONT/*.jpg")).write_bytes(b"not a picture")
    ),
    "a picture that is missing": ("folder", lambda path: next(path.glob("samples/CAM_FRONT/*.jpg")).unlink()),
}  # fmt: skip
"""Faults by name: the form of the data set, and what is done to it."""


def named(folder: Path, faults: Mapping[str, tuple[str, Callable]] = FAULTS) -> Iterator[tuple[str, str, str]]:
    """(fault, how reading ended, line) of each."""
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, (form, spoil)) in enumerate(faults.items()):
            place = Path(temporary) / str(number)
            pack(folder, held(folder), place, form)
            spoil(place)
            yield name, *result_of(place, form if (place / "set.tgz").exists() else "")


def held(folder: Path) -> list[str]:
    """The files of a data set that are read, or stand for those."""
    found = sorted(
        file.relative_to(folder).as_posix()
        for part in ("v1.0-mini", "samples", "expansion")
        for file in (folder / part).rglob("*")
        if file.is_file()
    )
    return found + [name for name in ("captions.json", "caption_times.json") if (folder / name).exists()]


def truncations(
    folder: Path, count: int, seed: int, forms: tuple[str, ...] = FORMS
) -> Iterator[tuple[str, str, int, str, str]]:
    """(form, file, bytes left, how it ended, line) of random truncations of a data set's files and archives."""
    choose = random.Random(seed)
    names = held(folder)
    with tempfile.TemporaryDirectory() as temporary:
        whole = {form: pack(folder, names, Path(temporary) / form, form) for form in forms}
        for number in range(count):
            form = forms[number % len(forms)]
            victim = choose.choice(whole[form])
            data = victim.read_bytes()
            # A tar goes on with zeros behind its end, which nobody misses.
            left = choose.randrange(len(data.rstrip(b"\0") if form == "tar" else data))
            place = Path(temporary) / "cut"
            shutil.copytree(Path(temporary) / form, place, copy_function=_link, ignore=shutil.ignore_patterns(".dwm"))
            cut = place / victim.relative_to(Path(temporary) / form)
            cut.unlink()
            cut.write_bytes(data[:left])
            yield form, cut.relative_to(place).as_posix(), left, *result_of(place, form)
            shutil.rmtree(place)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    for fault, ended, line in named(wanted.data):
        print(f"{fault} | {ended} | {line}")
    counts, shown = Counter(), {}
    for form, file, left, ended, line in truncations(wanted.data, wanted.count, wanted.seed):
        counts[form, ended] += 1
        kind = re.sub(r"[0-9]+(\.[0-9]+)?", "#", line)
        shown.setdefault((form, ended, kind[:60] if ended == NOTICED else file), f"{file} at {left}: {line}")
    for (form, ended), count in sorted(counts.items()):
        print(f"{form:14} {ended:10} {count:4}")
    for (form, ended, _), line in sorted(shown.items()):
        print(f"{form} | {ended} | {line}")


if __name__ == "__main__":
    main()
