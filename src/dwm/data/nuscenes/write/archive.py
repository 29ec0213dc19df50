"""Where a set is put: beside its place and renamed when whole, as a folder or as the zips that users of nuScenes have."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dwm.data.nuscenes.write.names import TABLES, Row

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every zip member, so that the same set has the same bytes."""


def write_json(path: Path, content: Mapping[str, Any] | Iterable[Any]) -> int:
    """Plain JSON, one item a line as far as the top level goes; rows are written as they come. Returns how many there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = isinstance(content, Mapping)
    lines = (
        (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
        if pairs
        else map(json.dumps, content)
    )
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("{" if pairs else "[")
        for count, line in enumerate(lines, 1):
            file.write(("\n" if count == 1 else ",\n") + line)
        file.write(("\n" if count else "") + ("}\n" if pairs else "]\n"))
    return count


def write_tables(folder: Path, tables: Mapping[str, Iterable[Row]]) -> None:
    """The thirteen tables of a version into its folder."""
    for name in TABLES:
        write_json(folder / f"{name}.json", tables[name])


def move_into_zip(archive: zipfile.ZipFile, root: Path, paths: Iterable[Path], deflate: bool) -> None:
    """Adds files under their path relative to `root`, in sorted order, and deletes each when it is in."""
    for path in sorted(paths):
        info = zipfile.ZipInfo(path.relative_to(root).as_posix(), EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
        info.external_attr = 0o644 << 16
        info.file_size = path.stat().st_size
        with path.open("rb") as file, archive.open(info, "w") as member:
            shutil.copyfileobj(file, member, 1 << 20)
        path.unlink()


def files_below(*folders: Path) -> list[Path]:
    """Every file under these folders."""
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
