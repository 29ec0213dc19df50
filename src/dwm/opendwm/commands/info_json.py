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
from dwm.storage.source import RemoteSource, as_file, reaching, remote
from dwm.storage.tars import open_tar

SUFFIXES = (".zip", ".tar")
RECORDS = "_with_camera_labels.tfrecord"
LARGEST_RECORD = 1 << 30
TIMESTAMP = 2
"""The field of a Waymo frame that holds its time in µs."""


def write_archive_info(source: str | Path, target: Path, endpoint: str | None = None) -> int:
    """{member: [offset of its header (zip) or data (tar), bytes, is a folder]}; returns how many.

    `source` may be a URL; `endpoint` is the address of its S3 service.
    """
    check_file(target)
    try:
        with _opened(source, endpoint) as file:
            members = _zip_members(file) if str(source).endswith(".zip") else _tar_members(file)
    except FileNotFoundError:
        raise DwmError(f"{source}: no such file") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise DwmError(f"{source}: not a whole archive ({error}); fetch it again") from None
    _write(target, members)
    return len(members)


def write_dataset_info(
    source: str | Path, target: Path, split: str = "", endpoint: str | None = None
) -> Iterator[Path]:
    """One such file for each archive in a folder, into the folder `target`; yields the paths."""
    archives = [path for path in _entries(source, endpoint) if path.endswith(SUFFIXES) and split in _name(path)]
    if not archives:
        raise DwmError(f"{source}: holds no .zip or .tar" + (f" with {split!r} in its name" if split else ""))
    for archive in archives:
        path = target / f"{_name(archive).rpartition('.')[0]}.info.json"
        write_archive_info(archive, path, endpoint)
        yield path


def write_waymo_info(source: str | Path, target: Path, split: str = "", endpoint: str | None = None) -> int:
    """{scene: [[time in µs, bytes, offset] of each frame]} of the records in a folder; returns how many scenes."""
    check_file(target)
    files = [path for path in _entries(source, endpoint) if path.endswith(RECORDS) and split in _name(path)]
    if not files:
        raise DwmError(f"{source}: holds no segment-…{RECORDS}")
    scenes = {}
    for path in files:
        scene = _name(path).removeprefix("segment-").removesuffix(RECORDS)
        with _opened(path, endpoint) as file:
            scenes[scene] = [[_time(file, path, size), size, offset] for offset, size in _records(file, path)]
    _write(target, scenes)
    return len(scenes)


def below(settings: Path | None, path: str) -> tuple[str, str | None]:
    """Where `path` lies by a file of OpenDWM's `configs/fs` (None: as it stands), and the address of its S3 service."""
    from dwm.opendwm.runs import FilesRun, read_run

    if settings is None:
        return path, None
    files = read_run(settings)
    if not isinstance(files, FilesRun):
        raise DwmError(f"{settings}: is a run; -fs takes a description of where files lie (configs/fs/*.json)")
    if files.archives:
        raise DwmError(
            f"{settings}: reads members of {len(files.archives)} archives, which hold no archives; give the file system "
            "around them"
        )
    whole = path if files.path == "." else f"{files.path.rstrip('/')}/{path}"
    return (f"s3://{whole.lstrip('/')}" if files.endpoint else whole), files.endpoint


def _zip_members(file: io.BufferedReader) -> dict[str, list[Any]]:
    with zipfile.ZipFile(file) as archive:
        return {item.filename: [item.header_offset, item.file_size, item.is_dir()] for item in archive.infolist()}


def _tar_members(file: io.BufferedReader) -> dict[str, list[Any]]:
    with open_tar(file) as archive:
        return {item.name: [item.offset_data, item.size, item.isdir()] for item in archive}


def _opened(source: str | Path, endpoint: str | None) -> io.BufferedReader:
    if "://" in str(source):
        return as_file(RemoteSource(str(source), endpoint))
    regular(Path(source))
    return open_binary(Path(source))


def _entries(folder: str | Path, endpoint: str | None) -> list[str]:
    """The whole names of what lies in a folder, sorted."""
    if "://" in str(folder):
        with reaching(str(folder)):
            system, path = remote(str(folder), endpoint)
            scheme = str(folder).partition("://")[0]
            return sorted(f"{scheme}://{name}" for name in system.ls(path, detail=False))
    if not Path(folder).is_dir():
        raise DwmError(f"{folder}: no such folder")
    return sorted(map(str, Path(folder).iterdir()))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _records(file: io.BufferedReader, path: str) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of each record of a TFRecord file: length, its checksum, data, its checksum."""
    end = file.seek(0, 2)
    offset = 0
    while offset < end:
        file.seek(offset)
        head = file.read(12)
        size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else end
        if size > LARGEST_RECORD or offset + 16 + size > end:
            raise DwmError(f"{path}: ends early or is no TFRecord file (at byte {offset} of {end}); fetch it again")
        file.seek(offset + 12)
        yield offset + 12, size
        offset += 16 + size


def _time(file: io.BufferedReader, path: str, size: int) -> int:
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
            length = _varint(file)
            if length > end - file.tell():
                break
            file.seek(length, 1)
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
