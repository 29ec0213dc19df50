"""Writing so that a file is either whole or not there: beside its place, then renamed. It knows nothing of what is written."""

from __future__ import annotations

import glob
import os
import platform
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dwm.errors import DwmError
from dwm.storage.output import check_file, check_folder

MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
"""Of several that write into one folder: each clears away only what its own processes left."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name in the same folder (made if missing) and renames it to `path` when the block ends well.

    Whatever ends the block early leaves nothing behind and an older file untouched; what a killed process left is cleared by
    the next that writes the same file. Raises DwmError for what the system refuses (a full disk, no permission, a file where
    a folder should be), and where `path` is a folder, a device, a pipe or a socket, none of which is replaced.
    """
    path = check_file(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(path)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` and renames it to `path` when the block ends well; else it is removed.

    Raises DwmError where `path` holds something already, and for what the system refuses.
    """
    path = check_folder(path, empty=True)
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        _clear_abandoned(path)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def working_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder beside `path` for what goes into that file; removed at the end, or, where the process is killed, by the next
    that writes the same file."""
    folder = _temporary(Path(path))
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise _refused(Path(path), error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{MACHINE}-{os.getpid()}-{secrets.token_hex(4)}.part")


def _clear_abandoned(path: Path) -> None:
    """Removes what processes of this machine that were killed left of `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{MACHINE}-*.part"):
        writer = left.name.split("-")[-2]
        if writer.isdigit() and not _runs(int(writer)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _refused(path: Path, error: OSError) -> DwmError:
    if error.filename and not Path(os.fsdecode(error.filename)).absolute().is_relative_to(path.parent.absolute()):
        return DwmError(f"{os.fsdecode(error.filename)}: cannot be used ({error.strerror}); {path} was not written")
    return DwmError(f"{path}: cannot be written ({error.strerror or error}); free space, or choose another --output")
