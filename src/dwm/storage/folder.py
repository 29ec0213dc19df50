"""Folders as trees: on this machine, and behind a URL that fsspec knows. Reads only."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

from fsspec.spec import AbstractFileSystem

from dwm.errors import DwmError
from dwm.storage.cache import FOLDER
from dwm.storage.source import RemoteSource, as_file, folder_key, reaching, remote, remote_stamp


def missing(where: str, name: str) -> DwmError:
    return DwmError(f"{where}: holds no {name}; is an archive missing, or the path one level too deep?")


class Folder:
    """A folder and all below it."""

    def __init__(self, path: Path) -> None:
        self.path, self.where, self.beside = path, str(path), path

    def exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> io.BufferedIOBase:
        try:
            return (self.path / name).open("rb")
        except FileNotFoundError as error:
            raise missing(self.where, name) from error
        except OSError as error:
            raise DwmError(f"{self.path / name}: cannot be read ({error.strerror})") from error

    def names(self, prefix: str = "") -> Iterator[str]:
        folder, _, beginning = prefix.rpartition("/")
        base = self.path / folder
        children = [child for child in base.iterdir() if child.name.startswith(beginning)] if base.is_dir() else []
        found = (
            file
            for child in children
            if child.name != FOLDER
            for file in ([child] if child.is_file() else child.rglob("*"))
            if file.is_file()
        )
        return iter(sorted(file.relative_to(self.path).as_posix() for file in found))

    def folders(self) -> set[str]:
        return {child.name for child in self.path.iterdir() if child.is_dir() and child.name != FOLDER}

    def stamp(self, name: str) -> str:
        if not self.exists(name):
            return ""
        status = (self.path / name).stat()
        return f"{status.st_size}-{status.st_mtime_ns}"

    def size(self, name: str) -> int:
        with self.open(name) as file:
            return os.fstat(file.fileno()).st_size


class RemoteFolder:
    """A folder (a prefix) behind a URL. It asks anew each time: keep many small files in an archive there."""

    def __init__(self, url: str, endpoint: str | None = None) -> None:
        self.where, self.endpoint = url.rstrip("/"), endpoint
        self.beside = folder_key(self.where, endpoint)
        self.roots = frozenset(entry["name"].rstrip("/").rpartition("/")[2] for entry in self.entries())
        """What its root holds, so that what can only lie in an archive beside it costs no request."""

    def _at(self, name: str = "") -> tuple[AbstractFileSystem, str]:
        return remote(f"{self.where}/{name}" if name else self.where, self.endpoint)

    def exists(self, name: str) -> bool:
        if name.partition("/")[0] not in self.roots:
            return False
        system, path = self._at(name)
        with reaching(self.where):
            return system.isfile(path)

    def read(self, name: str) -> bytes:
        system, path = self._at(name)
        with reaching(f"{self.where}/{name}"):
            try:
                return system.cat_file(path)
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
            found = system.find(f"{root}/{folder}" if folder else root)
        names = (path[len(root) :].lstrip("/") for path in found)
        return iter(sorted(name for name in names if name.startswith(prefix)))

    def folders(self) -> set[str]:
        return {
            entry["name"].rstrip("/").rpartition("/")[2] for entry in self.entries() if entry["type"] == "directory"
        }

    def entries(self) -> list[dict]:
        """What lies in the root: name, type, size."""
        system, root = self._at()
        with reaching(self.where):
            return system.ls(root, detail=True)

    def stamp(self, name: str) -> str:
        system, path = self._at(name)
        return remote_stamp(system.info(path)) if self.exists(name) else ""

    def size(self, name: str) -> int:
        if not self.exists(name):
            raise missing(self.where, name)
        system, path = self._at(name)
        with reaching(self.where):
            return int(system.size(path))
