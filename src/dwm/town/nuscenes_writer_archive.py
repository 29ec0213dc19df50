"""Where a set is put: beside its place and renamed when whole, as a folder or as the zips that users of nuScenes have."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dwm.errors import DwmError

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every zip member, so that the same set has the same bytes."""


@contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """Yields an empty folder beside `output` and renames it when the block ends well; else it is removed.

    Raises DwmError if `output` holds something already, or for what the system refuses (a full disk, no permission).
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DwmError(f"{output}: is not an empty folder; choose another --output or remove it first")
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, output)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DwmError(f"{output}: cannot be written ({reason}); free space, or choose another --output") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
