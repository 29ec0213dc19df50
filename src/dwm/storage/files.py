"""Opening the user's files to read them: regular files only, and no more of them than their kind may have.

A pipe would wait for ever, a device has no end. What is ours (locks, kept tables) is opened without following links.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import suppress
from pathlib import Path

from dwm.errors import DwmError
from dwm.storage import limits

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a link"),
)


def kind_of(mode: int) -> str:
    """What a file is, in words."""
    return next((words for test, words in KINDS if test(mode)), "a file")


def open_file(path: str | Path) -> int:
    """A descriptor of a regular file for reading. Raises DwmError for anything else, without waiting for it."""
    try:
        check_regular(path, os.stat(path))  # a device may act on being opened, so that it is not even tried
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        check_regular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_binary(path: str | Path) -> io.BufferedReader:
    """A regular file for reading, as Python's own."""
    return os.fdopen(open_file(path), "rb")


def read_file(path: str | Path, most: int = limits.FILE) -> bytes:
    """The whole of a regular file. Raises DwmError where it is larger than its kind may be, or is none."""
    with open_binary(path) as file:
        limits.check_size(str(path), os.fstat(file.fileno()).st_size, most)
        try:
            data = file.read(limits.bound(most) + 1)
        except OSError as error:
            raise unreadable(path, error) from error
    limits.check_size(str(path), len(data), most)  # those of /proc say that they are empty
    return data


def regular(path: str | Path, most: int | None = None) -> Path:
    """The same path, for a library that opens it itself. Raises DwmError where it is no regular file, or too large."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    check_regular(path, status)
    if most is not None:
        limits.check_size(str(path), status.st_size, most)
    return Path(path)


def check_regular(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DwmError(f"{path}: is {kind_of(status.st_mode)}, not a file; check the path")


def unreadable(path: str | Path, error: OSError | ValueError) -> DwmError:
    """The line for a file that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return DwmError(f"{path}: no such file; check the path")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return DwmError(f"{path}: cannot be read ({reason}); check the path")


def open_own(path: Path) -> int:
    """A descriptor of a file of ours, made if missing: no link is followed, and what it holds stays.

    Raises OSError where it is a link, is no regular file, or has another name elsewhere.
    """
    with suppress(FileNotFoundError):
        _check_own(path, os.lstat(path))  # a device may act on being opened
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        _check_own(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_own(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(
            errno.EINVAL, f"{path.name} is {kind_of(status.st_mode)}, not a file of ours: remove it", str(path)
        )
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, f"{path.name} has another name elsewhere, so it is not ours: remove it", str(path))
