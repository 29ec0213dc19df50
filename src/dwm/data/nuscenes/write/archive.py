"""Where a set is put: beside its place and renamed when whole, as a folder or as the zips that users of nuScenes have."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every zip member, so that the same set has the same bytes."""


def write_json(path: Path, content: Any) -> None:
    """Plain JSON, one item a line as far as the top level goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        if isinstance(content, list):
            file.write("[\n" + ",\n".join(json.dumps(row) for row in content) + "\n]\n")
        else:
            pairs = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
            file.write("{\n" + ",\n".join(pairs) + "\n}\n")


def move_into_zip(archive: zipfile.ZipFile, root: Path, paths: Iterable[Path], deflate: bool) -> None:
    """Adds files under their path relative to `root`, in sorted order, and deletes each when it is in."""
    for path in sorted(paths):
        info = zipfile.ZipInfo(path.relative_to(root).as_posix(), EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
        info.external_attr = 0o644 << 16
        archive.writestr(info, path.read_bytes())
        path.unlink()


def files_below(*folders: Path) -> list[Path]:
    """Every file under these folders."""
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
