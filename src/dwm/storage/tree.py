"""One name space over folders and archives: `open_tree`. Names use `/`, from the root of the tree. Never writes or parses."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from dwm.errors import DwmError, nearest
from dwm.storage.members import STORED, Member
from dwm.storage.source import LocalSource, Source, as_file
from dwm.storage.zips import data_offset, read_member, read_members


class Tree(Protocol):
    """Files by name, read only; picklable, and safe to share over fork."""

    where: str
    """What the user knows it by, for messages."""

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes:
        """The whole file. Raises DwmError where it is missing or damaged."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The file as a seekable stream, for what is too large to read at once."""
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """The names that begin with `prefix`, sorted."""
        ...

    def folders(self) -> set[str]:
        """The names of the folders in the root; quick where `names` would walk through everything."""
        ...

    def stamp(self, name: str) -> str:
        """Changes when the file does; empty where it is missing."""
        ...


def open_tree(path: str | Path | Sequence[str | Path]) -> Tree:
    """A folder, an archive, a folder of archives, or several of these as one tree.

    Of equal names the later part wins; what lies unpacked in a folder wins over the archives beside it.
    """
    if not isinstance(path, str | Path):
        return union([open_tree(part) for part in path])
    path = Path(path)
    if path.is_dir():
        archives = sorted(child for child in path.iterdir() if child.suffix == ".zip" and child.is_file())
        return union([*(Archive(LocalSource(child)) for child in archives), Folder(path)], str(path))
    if not path.exists():
        beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DwmError(f"{path}: does not exist{nearest(path.name, beside)}")
    return Archive(LocalSource(path))


class Folder:
    """A folder and all below it."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)

    def exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> BinaryIO:
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
            file for child in children for file in ([child] if child.is_file() else child.rglob("*")) if file.is_file()
        )
        return iter(sorted(file.relative_to(self.path).as_posix() for file in found))

    def folders(self) -> set[str]:
        return {child.name for child in self.path.iterdir() if child.is_dir()}

    def stamp(self, name: str) -> str:
        if not self.exists(name):
            return ""
        status = (self.path / name).stat()
        return f"{status.st_size}-{status.st_mtime_ns}"


class Archive:
    """A zip archive."""

    def __init__(self, source: Source) -> None:
        self.source, self.where = source, source.name
        self.members = read_members(source)

    def exists(self, name: str) -> bool:
        return self.members.find(name) is not None

    def read(self, name: str) -> bytes:
        return read_member(self.source, self._find(name))

    def open(self, name: str) -> BinaryIO:
        member = self._find(name)
        if member.method == STORED:
            return as_file(self.source, data_offset(self.source, member), member.size)
        return io.BytesIO(read_member(self.source, member))

    def names(self, prefix: str = "") -> Iterator[str]:
        return self.members.names(prefix)

    def folders(self) -> set[str]:
        return self.members.folders()

    def stamp(self, name: str) -> str:
        return self.source.stamp if self.exists(name) else ""

    def _find(self, name: str) -> Member:
        member = self.members.find(name)
        if member is None:
            raise missing(self.where, name)
        return member


class Union:
    """Several trees as one; of equal names the last tree's wins."""

    def __init__(self, trees: Sequence[Tree], where: str) -> None:
        self.trees, self.where = tuple(reversed(trees)), where

    def exists(self, name: str) -> bool:
        return any(tree.exists(name) for tree in self.trees)

    def read(self, name: str) -> bytes:
        return self._holder(name).read(name)

    def open(self, name: str) -> BinaryIO:
        return self._holder(name).open(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted({name for tree in self.trees for name in tree.names(prefix)}))

    def folders(self) -> set[str]:
        return set().union(*(tree.folders() for tree in self.trees))

    def stamp(self, name: str) -> str:
        return next((stamp for tree in self.trees if (stamp := tree.stamp(name))), "")

    def _holder(self, name: str) -> Tree:
        for tree in self.trees:
            if tree.exists(name):
                return tree
        raise missing(self.where, name)


def union(trees: Sequence[Tree], where: str | None = None) -> Tree:
    """Several trees as one, or the only one as it is."""
    if not trees:
        raise DwmError("no folder or archive was given")
    return trees[0] if len(trees) == 1 else Union(trees, where or " + ".join(tree.where for tree in trees))


def missing(where: str, name: str) -> DwmError:
    return DwmError(f"{where}: holds no {name}; is an archive missing, or the path one level too deep?")
