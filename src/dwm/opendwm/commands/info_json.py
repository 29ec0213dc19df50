"""OpenDWM's indexes as JSON: where each member of an archive lies, and each frame of Waymo's records. Reads no member."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dwm.errors import DwmError
from dwm.storage import atomic_write, check_file, open_binary, regular
from dwm.storage.tars import open_tar

SUFFIXES = (".zip", ".tar")
RECORDS = "_with_camera_labels.tfrecord"
LARGEST_RECORD = 1 << 30
TIMESTAMP = 2
"""The field of a Waymo frame that holds its time in µs."""


def write_archive_info(source: Path, target: Path) -> int:
    """{member: [offset of its header (zip) or data (tar), bytes, is a folder]}; returns how many."""
    check_file(target)
    regular(source)
    try:
        found = _zip_members(source) if source.suffix == ".zip" else _tar_members(source)
    except FileNotFoundError:
        raise DwmError(f"{source}: no such file") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise DwmError(f"{source}: not a whole archive ({error}); fetch it again") from None
    _write(target, found)
    return len(found)


def write_dataset_info(source: Path, target: Path, split: str = "") -> Iterator[Path]:
    """One such file for each archive in a folder, into the folder `target`; yields the paths."""
    archives = sorted(path for path in _entries(source) if path.suffix in SUFFIXES and split in path.name)
    if not archives:
        raise DwmError(f"{source}: holds no .zip or .tar" + (f" with {split!r} in its name" if split else ""))
    for archive in archives:
        path = target / f"{archive.stem}.info.json"
        write_archive_info(archive, path)
        yield path


def write_waymo_info(source: Path, target: Path, split: str = "") -> int:
    """{scene: [[time in µs, bytes, offset] of each frame]} of the records in a folder; returns how many scenes."""
    check_file(target)
    files = sorted(path for path in _entries(source) if path.name.endswith(RECORDS) and split in path.name)
    if not files:
        raise DwmError(f"{source}: holds no segment-…{RECORDS}")
    found = {}
    for path in files:
        scene = path.name.removeprefix("segment-").removesuffix(RECORDS)
        with open_binary(path) as file:
            found[scene] = [[_time(file, path, size), size, offset] for offset, size in _records(file, path)]
    _write(target, found)
    return len(found)


def _zip_members(source: Path) -> dict[str, list[Any]]:
    with zipfile.ZipFile(source) as archive:
        return {item.filename: [item.header_offset, item.file_size, item.is_dir()] for item in archive.infolist()}


def _tar_members(source: Path) -> dict[str, list[Any]]:
    with source.open("rb") as file, open_tar(file) as archive:
        return {item.name: [item.offset_data, item.size, item.isdir()] for item in archive}


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DwmError(f"{folder}: no such folder")
    return list(folder.iterdir())


def _records(file: io.BufferedReader, path: Path) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of each record of a TFRecord file: length, its checksum, data, its checksum."""
    end = path.stat().st_size
    place = 0
    while place < end:
        file.seek(place)
        head = file.read(12)
        size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else end
        if size > LARGEST_RECORD or place + 16 + size > end:
            raise DwmError(f"{path}: ends early or is no TFRecord file (at byte {place} of {end}); fetch it again")
        file.seek(place + 12)
        yield place + 12, size
        place += 16 + size


def _time(file: io.BufferedReader, path: Path, size: int) -> int:
    """The time of the frame that begins here, from its protocol buffer: fields before it are stepped over."""
    end = file.tell() + size
    while file.tell() < end:
        key = _varint(file)
        field, kind = key >> 3, key & 7
        if field == TIMESTAMP and kind == 0:
            return _varint(file)
        if kind == 0:
            _varint(file)
        elif kind in (1, 5):
            file.seek(8 if kind == 1 else 4, 1)
        elif kind == 2:
            file.seek(_varint(file), 1)
        else:
            break
    raise DwmError(f"{path}: a record holds no frame of Waymo's (no time)")


def _varint(file: io.BufferedReader) -> int:
    value = shift = 0
    while shift < 64:
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
    return value


def _write(path: Path, values: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
