"""Folders, and single files, as trees: on this machine, and behind a URL that fsspec knows. Reads only."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fsspec.spec import AbstractFileSystem

from dwm.errors import DwmError
from dwm.storage import limits
from dwm.storage.cache import FOLDER
from dwm.storage.files import open_binary, read_file
from dwm.storage.names import inside
from dwm.storage.source import LocalSource, RemoteSource, Source, as_file, folder_key, reaching, remote, remote_stamp

FOLLOW = "DWM_FOLLOW_LINKS"
"""Names the environment variable with which every link in a data set is followed, wherever it leads."""


def missing(where: str, name: str) -> DwmError:
    return DwmError(f"{where}: holds no {name}; is an archive missing, or the path one level too deep?")


class Folder:
    """A folder and all below it."""

    def __init__(self, path: Path) -> None:
        self.path, self.where, self.beside = path, str(path), path
        self._inside: dict[str, bool] = {}
        """Folders that lie in the set, by name."""

    def exists(self, name: str) -> bool:
        return self._at(name).is_file()

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        return read_file(self._there(name), most)

    def open(self, name: str) -> io.BufferedIOBase:
        return open_binary(self._there(name))

    def _there(self, name: str) -> Path:
        path = self._at(name)
        if not path.exists():
            raise missing(self.where, name)
        return path

    def _at(self, name: str) -> Path:
        """Where a name lies. Raises DwmError for one that leads out of the folder, by itself or by a link."""
        path = self.path / inside(name, self.where)
        folder = name.rpartition("/")[0]
        if folder not in self._inside:
            self._inside[folder] = not folder or self._holds(path.parent)
        if not self._inside[folder] or ("/" in name and path.is_symlink() and not self._holds(path)):
            raise DwmError(
                f"{path}: is a link out of the data set, to {os.path.realpath(path)}; links are followed in its first "
                f"folder only. If you trust this one, set {FOLLOW}=1"
            )
        return path

    def _holds(self, path: Path) -> bool:
        """Whether what a path leads to lies in the set: below it, or below what a link in its first folder leads to."""
        if os.environ.get(FOLLOW, "0") != "0":
            return True
        real = Path(os.path.realpath(path))
        return any(
            real.is_relative_to(os.path.realpath(root)) for root in (self.path, self.path / _first(self.path, path))
        )

    def names(self, prefix: str = "") -> Iterator[str]:
        folder, _, beginning = prefix.rpartition("/")
        base = self.path / folder
        children = [child for child in base.iterdir() if child.name.startswith(beginning)] if base.is_dir() else []
        files = (
            file
            for child in children
            if child.name != FOLDER
            for file in ([child] if child.is_file() else child.rglob("*"))
            if file.is_file()
        )
        return iter(sorted(file.relative_to(self.path).as_posix() for file in files))

    def folders(self, within: str = "") -> set[str]:
        base = self._at(f"{within}_").parent if within else self.path
        children = base.iterdir() if base.is_dir() else ()
        return {child.name for child in children if child.is_dir() and child.name != FOLDER}

    def stamp(self, name: str) -> str:
        if name.endswith("/"):
            folder = self._at(f"{name}_").parent
            return str(folder.stat().st_mtime_ns) if folder.is_dir() else ""
        if not self.exists(name):
            return ""
        status = self._at(name).stat()
        return f"{status.st_size}-{status.st_mtime_ns}"

    def size(self, name: str) -> int:
        with self.open(name) as file:
            return os.fstat(file.fileno()).st_size


def _first(root: Path, path: Path) -> str:
    """The first part of a path below `root`."""
    return path.relative_to(root).parts[0]


class RemoteFolder:
    """A folder (a prefix) behind a URL. It asks anew each time: keep many small files in an archive there."""

    def __init__(self, url: str, endpoint: str | None = None) -> None:
        self.where, self.endpoint = url.rstrip("/"), endpoint
        self.beside = folder_key(self.where, endpoint)
        self.roots = frozenset(entry["name"].rstrip("/").rpartition("/")[2] for entry in self.entries())
        """What its root holds, so that what can only lie in an archive beside it costs no request."""

    def _at(self, name: str = "") -> tuple[AbstractFileSystem, str]:
        if name:
            inside(name, self.where)
        return remote(f"{self.where}/{name}" if name else self.where, self.endpoint)

    def exists(self, name: str) -> bool:
        if name.partition("/")[0] not in self.roots:
            return False
        system, path = self._at(name)
        with reaching(self.where):
            return system.isfile(path)

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        system, path = self._at(name)
        with reaching(f"{self.where}/{name}"):
            try:
                limits.check_size(f"{self.where}/{name}", int(system.size(path) or 0), most)
                return system.cat_file(path)  # type: ignore[return-value]  # of one path: bytes
            except FileNotFoundError as error:
                raise missing(self.where, name) from error

    def open(self, name: str) -> io.BufferedIOBase:
        if not self.exists(name):
            raise missing(self.where, name)
        return as_file(RemoteSource(f"{self.where}/{name}", self.endpoint))

    def names(self, prefix: str = "") -> Iterator[str]:
        system, root = self._at()
        folder, _, _ = prefix.rpartition("/")
        with reaching(self.where):
            paths = system.find(f"{root}/{folder}" if folder else root)
        names = (str(path)[len(root) :].lstrip("/") for path in paths)
        return iter(sorted(name for name in names if name.startswith(prefix)))

    def folders(self, within: str = "") -> set[str]:
        entries = self.entries(within)
        return {entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"}

    def entries(self, within: str = "") -> list[dict]:
        """What lies in the root, or in a folder: name, type, size."""
        system, root = self._at(within.rstrip("/"))
        with reaching(self.where):
            try:
                return system.ls(root, detail=True)
            except FileNotFoundError:
                if not within:
                    raise
                return []

    def stamp(self, name: str) -> str:
        if name.endswith("/"):
            return " ".join(sorted(str(entry["name"]) for entry in self.entries(name)))
        system, path = self._at(name)
        return remote_stamp(system.info(path)) if self.exists(name) else ""

    def size(self, name: str) -> int:
        if not self.exists(name):
            raise missing(self.where, name)
        system, path = self._at(name)
        with reaching(self.where):
            return int(system.size(path))


class Files:
    """Single files by their own names: paths, relative to the working folder, or URLs. Each is opened when it is made."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sources: dict[str, Source] = {
            name: RemoteSource(name) if "://" in name else LocalSource(name) for name in names
        }
        self.where = ", ".join(names)
        self.beside = next(iter(self._sources.values())).beside

    def exists(self, name: str) -> bool:
        return name in self._sources

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        source = self._source(name)
        limits.check_size(name, source.size, most)
        return source.read_at(0, source.size)

    def open(self, name: str) -> io.BufferedIOBase:
        return as_file(self._source(name))

    def names(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(name for name in self._sources if name.startswith(prefix)))

    def folders(self, within: str = "") -> set[str]:
        return set()

    def stamp(self, name: str) -> str:
        return self._sources[name].stamp if self.exists(name) else ""

    def size(self, name: str) -> int:
        return self._source(name).size

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            raise missing(self.where, name)
        return self._sources[name]
