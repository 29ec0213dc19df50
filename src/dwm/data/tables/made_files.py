"""A tree over another one, some of whose files are made when they are read: from parts of larger files, or in another form."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dwm.storage import Tree, limits


@dataclass(frozen=True)
class MadeFiles(ABC):
    """What such trees share; all other names are those of `base`. A subclass is picklable where its fields are."""

    base: Tree

    @abstractmethod
    def is_made(self, name: str) -> bool: ...

    @abstractmethod
    def stored(self, name: str) -> str:
        """The file of `base` that a name's content lies in."""

    @abstractmethod
    def make(self, name: str, most: int) -> bytes:
        """The content of a made file; at most `most` bytes are read at once."""

    @abstractmethod
    def names(self, prefix: str = "") -> Iterator[str]: ...

    @property
    def where(self) -> str:
        return self.base.where

    @property
    def beside(self) -> str | Path:
        return self.base.beside

    def exists(self, name: str) -> bool:
        """A made file where its own is: what lies within that is counted when it is read."""
        return self.base.exists(self.stored(name))

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        if not self.is_made(name):
            return self.base.read(name, most)
        data = self.make(name, most)
        limits.check_size(name, len(data), most)
        return data

    def open(self, name: str) -> io.BufferedIOBase:
        return io.BytesIO(self.read(name)) if self.is_made(name) else self.base.open(name)

    def folders(self, within: str = "") -> set[str]:
        return self.base.folders(within)

    def stamp(self, name: str) -> str:
        return self.base.stamp(self.stored(name))

    def size(self, name: str) -> int:
        return len(self.read(name)) if self.is_made(name) else self.base.size(name)


@dataclass(frozen=True)
class ConvertedFiles(MadeFiles):
    """Files whose names hold `folder` and end in `ending` are shown as ones that end in `shown`, with another content."""

    folder: str
    ending: str
    shown: str

    @abstractmethod
    def convert(self, data: bytes, name: str) -> bytes:
        """The content that is shown of a stored file's; `name` is for errors."""

    def names(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(map(self._shown, self.base.names(prefix.removesuffix(self.shown)))))

    def is_made(self, name: str) -> bool:
        return name.endswith(self.shown) and self.folder in name

    def stored(self, name: str) -> str:
        return name.removesuffix(self.shown) + self.ending if self.is_made(name) else name

    def make(self, name: str, most: int) -> bytes:
        stored = self.stored(name)
        return self.convert(self.base.read(stored, most), stored)

    def _shown(self, name: str) -> str:
        return (
            name.removesuffix(self.ending) + self.shown if name.endswith(self.ending) and self.folder in name else name
        )
