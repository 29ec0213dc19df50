"""One run in a folder at a time: `held` says who has it. The system lets go of the lock when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dwm.errors import DwmError
from dwm.storage.files import open_own
from dwm.storage.names import CONTROL

NAME = "run.lock"
LARGEST = 4096
WORDS = 120
"""Characters of a command that are told."""


@dataclass(frozen=True)
class Holder:
    """Who holds a folder."""

    process: int
    machine: str
    since: str
    command: str

    @classmethod
    def of_this_process(cls) -> Holder:
        command = " ".join(("dwm", *sys.argv[1:]))[:WORDS]
        return cls(os.getpid(), platform.node(), time.strftime("%Y-%m-%d %H:%M:%S"), command)

    def __str__(self) -> str:
        return f"process {self.process} on {self.machine}, since {self.since}: {self.command}"


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Holds a folder (made if missing) for this process while the block runs. Raises DwmError where another one holds it.

    A lock that a killed process left is taken over. Where a file system knows no locks (some network ones), the holder's name
    alone is compared, which tells a running process of this machine only; a warning says so.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _acquire(folder)
    except OSError as error:
        raise DwmError(f"{folder}: cannot be held for this run ({error.strerror}); choose another --output") from error
    _open.add(file)
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / NAME).unlink()  # before it is let go, so that no other run's is removed
        _open.discard(file)
        os.close(file)
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _acquire(folder: Path) -> int:
    """The descriptor of the lock, which is this process's."""
    path = folder / NAME
    while True:
        file = open_own(path)
        try:
            holder = _holder(path, file)
            if not _lock(path, file, holder):
                raise DwmError(
                    f"{folder}: is in use by another run ({holder or 'unknown'}); wait for it, end it, or choose another --output"
                )
            if _is_at(path, file):
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(asdict(Holder.of_this_process())).encode(), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder ended and removed it meanwhile


def _lock(path: Path, file: int, holder: Holder | None) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        warnings.warn(
            f"{path}: this file system knows no locks; see to it yourself that no other machine writes into the same folder",
            stacklevel=5,
        )
        return holder is None or holder.machine != platform.node() or not _runs(holder.process)


def _holder(path: Path, file: int) -> Holder | None:
    """Who the file says holds it; None where it says nothing. Raises DwmError where it is no lock of ours."""
    text = os.pread(file, LARGEST, 0)
    if not text:
        return None
    try:
        holder = Holder(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise DwmError(f"{path}: is no lock of ours; move it away, or choose another --output") from None
    plain = [CONTROL.sub("?", str(value))[:WORDS] for value in (holder.machine, holder.since, holder.command)]
    return Holder(holder.process if isinstance(holder.process, int) else 0, *plain)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return process > 0


_open: set[int] = set()
"""Descriptors of the locks that are held here."""


def _let_go() -> None:
    """A forked child shares its parent's locks, and might outlive it."""
    while _open:
        with suppress(OSError):
            os.close(_open.pop())


os.register_at_fork(after_in_child=_let_go)
