"""Whether an output can be written, asked before the work begins. The doors of all verbs ask here; nothing is written or made."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from dwm.errors import DwmError
from dwm.storage.files import kind_of


def check_file(path: str | Path) -> Path:
    """The path of a file to write: not there yet, or a regular file, in a folder that can be written. Raises DwmError."""
    path = Path(path)
    if (mode := _mode(path)) is not None and not stat.S_ISREG(mode):
        fix = (
            "name the file itself" if stat.S_ISDIR(mode) else "it would be replaced by a file: choose another --output"
        )
        raise DwmError(f"{path}: is {kind_of(mode)}; {fix}")
    _check_parent(path)
    return path


def check_folder(path: str | Path, names: Iterable[str] = (), empty: bool = False) -> Path:
    """The path of a folder to write into: not there yet, or a folder in which each of `names` is free or a regular file.

    `empty`: it may hold nothing. Raises DwmError.
    """
    path = Path(path)
    mode = _mode(path)
    if mode is None:
        _check_leads_somewhere(path, path)
        _check_parent(path)
        return path
    if not stat.S_ISDIR(mode):
        raise DwmError(f"{path}: is {kind_of(mode)}, not a folder; choose another --output")
    if empty and any(path.iterdir()):
        raise DwmError(f"{path}: is not an empty folder; choose another --output or remove it first")
    _check_writable(path, path)
    for name in names:
        check_file(path / name)
    return path


def check_output(path: str | Path, empty: bool = False) -> Path:
    """The same for an output that may be a folder or a `.zip`."""
    return check_file(path) if Path(path).suffix == ".zip" else check_folder(path, empty=empty)


def _mode(path: Path) -> int | None:
    """The mode of what is there, links followed; None where nothing is."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DwmError(f"{path}: cannot be written ({reason}); choose another --output") from error


def _check_parent(path: Path) -> None:
    for parent in path.absolute().parents:
        if (mode := _mode(parent)) is None:
            _check_leads_somewhere(parent, path)
            continue
        if not stat.S_ISDIR(mode):
            raise DwmError(
                f"{path}: cannot be written: {parent} is {kind_of(mode)}, not a folder; choose another --output"
            )
        _check_writable(parent, path)
        return


def _check_leads_somewhere(folder: Path, path: Path) -> None:
    if folder.is_symlink():  # to nothing, so that no folder can be made in its place
        raise DwmError(
            f"{path}: cannot be written: {folder} is a link to {os.readlink(folder)}, which is not there; make that folder, or "
            "choose another --output"
        )


def _check_writable(folder: Path, path: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DwmError(f"{path}: cannot be written: {folder} may not be changed; choose another --output")
