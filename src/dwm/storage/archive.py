"""A zip or tar archive as a tree: its table of members, kept and mapped where it is large, and ranged reads. Reads only."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any

from dwm.errors import DwmError
from dwm.storage import limits, tars, zips
from dwm.storage.cache import cache_folder, kept_tables
from dwm.storage.folder import missing
from dwm.storage.members import STORED, Member, Members, check_bounds
from dwm.storage.source import LocalSource, Source, as_file

SUFFIXES = (".zip", ".tar")
KEPT_FROM = 5000
"""Members from which on the table of a local archive is kept on disk; reading a smaller one takes no time."""
STREAMED_FROM = 32 << 20
"""Bytes from which on a deflated member is inflated as it is read instead of at once."""
FORMAT = "members 1"


class Archive:
    """A zip (stored, deflated; zip64) or plain tar archive."""

    def __init__(self, source: Source, members: Members | None = None) -> None:
        self.source, self.where = source, source.name
        self.is_tar = source.name.endswith((".tar", ".tgz", ".tar.gz"))
        self.beside = source.beside
        if members is None:
            members = self._members(
                _count(source) if isinstance(source, LocalSource) and not self.is_tar else KEPT_FROM
            )
        self.members = members

    def __reduce__(self) -> tuple[Any, ...]:
        # The table is not sent to other processes: they map the same file, or read a small directory again.
        return Archive, (self.source,)

    def _members(self, count: int) -> Members:
        read = tars.read_members if self.is_tar else zips.read_members
        if count < KEPT_FROM or (self.is_tar and self.source.size < 1 << 24):
            return read(self.source)
        name = f"{self.where.rpartition('/')[2]}.members"
        key = f"{FORMAT} {self.source.stamp}"
        tables, _ = kept_tables(cache_folder(self.beside), name, key, lambda: {"members": read(self.source).table})
        return Members(tables["members"])

    def exists(self, name: str) -> bool:
        return self.members.find(name) is not None

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        member = self._find(name)
        check_bounds(self.where, member, self.source.size)
        limits.check_size(f"{self.where}: member {name}", member.size, most)
        return (tars if self.is_tar else zips).read_member(self.source, member)

    def open(self, name: str) -> io.BufferedIOBase:
        member = self._find(name)
        if self.is_tar:
            check_bounds(self.where, member, self.source.size)
            return as_file(self.source, member.offset, member.size)
        if member.method == STORED:
            return as_file(self.source, zips.data_offset(self.source, member), member.size)
        if member.size < STREAMED_FROM:
            return io.BytesIO(zips.read_member(self.source, member))
        check_bounds(self.where, member, self.source.size)
        stored = as_file(self.source, zips.data_offset(self.source, member), member.stored)
        return io.BufferedReader(Inflating(stored, member, self.where), 1 << 18)

    def names(self, prefix: str = "") -> Iterator[str]:
        return self.members.names(prefix)

    def folders(self, within: str = "") -> set[str]:
        return self.members.folders(within)

    def stamp(self, name: str) -> str:
        is_there = next(self.names(name), None) is not None if name.endswith("/") else self.exists(name)
        return self.source.stamp if is_there else ""

    def size(self, name: str) -> int:
        return self._find(name).size

    def _find(self, name: str) -> Member:
        member = self.members.find(name)
        if member is None:
            raise missing(self.where, name)
        return member


def _count(source: Source) -> int:
    try:
        return zips.count_members(source)
    except DwmError:
        return 0  # said again, in full, by the reading


class Inflating(io.RawIOBase):
    """A deflated member as a file that is inflated while it is read; going back begins anew. Length and checksum are verified
    by who reads it to its end."""

    def __init__(self, stored: io.BufferedReader, member: Member, where: str) -> None:
        self.stored, self.member, self.where = stored, member, where
        self._begin()

    def _begin(self) -> None:
        self.stored.seek(0)
        self.inflate, self.position, self.crc = zlib.decompressobj(-15), 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.member.size}[whence])
        if target < self.position:
            self._begin()
        while self.position < target and self.read(min(1 << 20, target - self.position)):
            pass
        return self.position

    def readinto(self, buffer: Any) -> int:
        data = b""
        try:
            while not data and not self.inflate.eof:
                packed = self.inflate.unconsumed_tail or self.stored.read(1 << 18)
                if not packed:
                    break
                data = self.inflate.decompress(packed, len(buffer))
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        self.position, self.crc = self.position + len(data), zlib.crc32(data, self.crc)
        if self.position > self.member.size:
            raise self._damaged("it is longer than it claims")
        if not data and len(buffer) and (self.position, self.crc) != (self.member.size, self.member.crc):
            raise self._damaged("its checksum differs")
        buffer[: len(data)] = data
        return len(data)

    def _damaged(self, reason: str) -> DwmError:
        return DwmError(f"{self.where}: member {self.member.name} is damaged ({reason}); fetch the archive again")
