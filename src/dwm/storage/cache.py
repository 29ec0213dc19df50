"""What is computed from large files and kept as Arrow tables: mapped into memory, so that all processes share one copy.

Built once, under a lock, and built anew when the key (what it was computed from) changes. Knows nothing of what the tables mean.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from platformdirs import user_cache_path

from dwm.errors import DwmError
from dwm.progress import note
from dwm.storage import seal
from dwm.storage.atomic import atomic_folder
from dwm.storage.files import open_own
from dwm.storage.names import OWN

FOLDER = OWN
"""Name of the folder, beside the data, in which tables are kept; trees do not list it."""

Tables = Mapping[str, pa.Table]


def cache_folder(beside: str | Path) -> Path:
    """Where to keep what was computed from files in the folder `beside`: there, or, where that may not be written, is a URL, or
    $DWM_CACHE is set, in the user's cache ($DWM_CACHE, else the system's place: ~/.cache/dwm on Linux)."""
    if not _is_url(beside) and not os.environ.get("DWM_CACHE"):
        folder = Path(beside) / FOLDER
        if folder.is_symlink():
            warnings.warn(
                f"{folder}: is a link, so that nothing is kept there; remove it, or name another place with DWM_CACHE",
                stacklevel=2,
            )
        elif _may_write(folder if folder.exists() else Path(beside)):
            return folder
    root = os.environ.get("DWM_CACHE") or user_cache_path("dwm", appauthor=False)
    where = str(beside) if _is_url(beside) else os.path.realpath(beside)
    return Path(root) / _digest(where)


def _may_write(folder: Path) -> bool:
    """Whether the folder lets itself be written: its owner may have forbidden it to everyone, which even root should respect."""
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def kept_tables(folder: Path, name: str, key: str, build: Callable[[], Tables]) -> tuple[Tables, Path | None]:
    """The tables called `name` in a cache folder for this key, and where they lie; built if they are not there.

    Where nothing can be written they stay in memory, with a warning, and the place is None.
    """
    entry = folder / f"{name}-{_digest(key)}"
    if (tables_read := load_tables(entry)) is not None:
        return tables_read, entry
    tables = None
    try:
        with _locked(folder, name):
            if (tables_read := load_tables(entry)) is not None:
                return tables_read, entry
            tables = build()
            _save(entry, tables)
            _remove_older(folder, name, entry)
    except (OSError, DwmError) as error:
        if tables is None and isinstance(error, DwmError):
            raise
        reason = getattr(error.__cause__ or error, "strerror", None) or error.__cause__ or error
        warnings.warn(
            f"{folder}: what was computed cannot be kept ({reason}), so that it is computed at every start; "
            "make room there, or name another place with DWM_CACHE",
            stacklevel=2,
        )
        return tables if tables is not None else build(), None
    return load_tables(entry) or tables, entry


def load_tables(entry: Path) -> Tables | None:
    """The tables of a folder, mapped; None where it is not there, or not what was written (see `seal`)."""
    if entry.is_symlink() or not entry.is_dir():
        return None
    try:
        files = seal.sealed(entry)
        if not all(stat.S_ISREG(file.lstat().st_mode) for file in files):
            return None  # a link or a pipe is not what was kept here
        if not (remembered := seal.is_known(entry, files)) and not seal.is_whole(entry):
            return None
        tables = {file.stem: _map(file) for file in files}
        if not remembered:
            for table in tables.values():
                table.validate(full=True)  # else a forged one could lead outside of its own memory
            seal.remember(entry, files)
        return tables
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def _map(file: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _save(entry: Path, tables: Tables) -> None:
    if entry.is_symlink():
        entry.unlink()  # the link, not what it leads to
    shutil.rmtree(entry, ignore_errors=True)
    with atomic_folder(entry) as folder:
        for name, table in tables.items():
            with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table.combine_chunks())
        seal.write(folder)


def _remove_older(folder: Path, name: str, entry: Path) -> None:
    """What was computed from earlier versions of the same files. Processes that have it mapped keep it until they end."""
    digits = "[0-9a-f]" * DIGITS
    for other in (*folder.glob(f"{name}-{digits}"), *folder.glob(f"{name}.part-*-{digits}")):
        if other != entry:
            shutil.rmtree(other, ignore_errors=True)


@dataclass(frozen=True)
class KeptParts:
    """What a long build of the tables called `name` has read so far: one that was stopped goes on behind its last part.

    A part is the tables of so many items of a list, from the end of the part before. The whole tables, once kept, replace them.
    """

    folder: Path
    name: str
    key: str

    def load(self) -> Iterator[tuple[int, Tables]]:
        """The parts in their order, each with the number of its items."""
        first, count = 0, 1
        while count:
            count, tables = next(self._parts_from(first), (0, {}))
            if count:
                yield count, tables
            first += count

    def keep(self, first: int, count: int, tables: Tables) -> None:
        """The tables of items `first` to `first + count`. Where nothing can be written nothing is kept."""
        with suppress(OSError, DwmError):
            _save(self.folder / f"{self.name}.part-{first}-{count}-{_digest(self.key)}", tables)

    def _parts_from(self, first: int) -> Iterator[tuple[int, Tables]]:
        for entry in self.folder.glob(f"{self.name}.part-{first}-*-{_digest(self.key)}"):
            count = entry.name.split("-")[-2]
            if re.fullmatch("[1-9][0-9]{0,8}", count) and (tables := load_tables(entry)) is not None:
                yield int(count), tables


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    file = open_own(folder / f"{name}.lock")
    try:
        with suppress(OSError):  # a file system without locks: two builds are slow, not wrong
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note(f"{name}: another process is computing it; waiting for that")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


DIGITS = 16


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _is_url(path: str | Path) -> bool:
    return isinstance(path, str) and "://" in path
