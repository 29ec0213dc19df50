"""The table of an archive's members: where each lies, sorted by name, in Arrow columns that workers can share.

A million members take about 100 MB here (and none of a process's own when mapped from a file), against a gigabyte as objects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import limits

STORED, DEFLATED = 0, 8
SCHEMA = pa.schema(
    [
        ("name", pa.large_string()),
        ("offset", pa.int64()),
        ("stored", pa.int64()),
        ("size", pa.int64()),
        ("method", pa.uint16()),
        ("crc", pa.uint32()),
    ]
)


@runtime_checkable
class Readable(Protocol):
    """What is read from front to back; it need not be a whole file object."""

    def read(self, size: int, /) -> bytes: ...


@runtime_checkable
class Seekable(Readable, Protocol):
    """What also goes to a place."""

    def seek(self, position: int, /) -> int: ...

    def tell(self) -> int: ...


class Member(NamedTuple):
    """One file of an archive: `stored` bytes that become `size`. offset is of its header in a zip, of its data in a tar."""

    name: str
    offset: int
    stored: int
    size: int
    method: int = STORED
    crc: int = 0


class SortedNames:
    """Sorted names as a sequence for `bisect`, without making them all Python strings."""

    def __init__(self, column: pa.LargeStringArray) -> None:
        _, ends, text = column.buffers()
        self.length, self.text = len(column), memoryview(text or b"")
        self.ends = memoryview(ends or bytes(8)).cast("q")[column.offset :]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> bytes:
        return bytes(self.text[self.ends[index] : self.ends[index + 1]])

    def find(self, name: str) -> int | None:
        """The place of a name, or None."""
        key = name.encode()
        index = bisect_left(self, key)
        return index if index < self.length and self[index] == key else None


class Members:
    """Looks members up by name. Of equal names in one archive the last written wins, as in every unzipper."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._names = SortedNames(table.column("name").chunk(0) if table.num_rows else pa.array([], pa.large_string()))

    @classmethod
    def of(cls, rows: Iterator[Member], what: str = "members", chunk: int = 8192) -> Members:
        """Builds the table from members in the archive's order, without holding them all as objects."""
        rows, columns = iter(rows), [[] for _ in SCHEMA]
        parts = iter(lambda: list(islice(rows, chunk)), [])
        for part in track(parts, what, unit=f"× {chunk} members"):
            for column, values, kind in zip(columns, zip(*part, strict=True), SCHEMA.types, strict=True):
                column.append(pa.array(values, kind))
        if not columns[0]:
            return cls(SCHEMA.empty_table())
        # Names are most of the table, so that it is put together and sorted column by column: only one is held twice.
        names, *others = (pa.concat_arrays(columns.pop(0)) for _ in SCHEMA)
        keyed = pa.table({"name": names, "row": np.arange(len(names))})
        order = pc.sort_indices(keyed, sort_keys=[("name", "ascending"), ("row", "ascending")])
        del keyed
        names = names.take(order)
        last = np.ones(len(names), bool)
        last[:-1] = pc.not_equal(names[:-1], names[1:]).to_numpy(zero_copy_only=False)
        if not last.all():
            order, names = order.filter(pa.array(last)), names.filter(pa.array(last))
        return cls(pa.table([names, *(column.take(order) for column in others)], schema=SCHEMA))

    def __len__(self) -> int:
        return self.table.num_rows

    def find(self, name: str) -> Member | None:
        """The member of this name, or None."""
        index = self._names.find(name)
        if index is None:
            return None
        return Member(*(self.table.column(column)[index].as_py() for column in SCHEMA.names))

    def names(self, prefix: str = "") -> Iterator[str]:
        """The sorted names that begin with `prefix`."""
        key = prefix.encode()
        for index in range(bisect_left(self._names, key), len(self._names)):
            if not (name := self._names[index]).startswith(key):
                return
            yield name.decode()

    def folders(self, within: str = "") -> set[str]:
        """The folders in the root, or within a folder, found by leaping from one to the next."""
        prefix, names = within.encode(), set()
        index = bisect_left(self._names, prefix)
        while index < len(self._names) and (name := self._names[index]).startswith(prefix):
            folder, slash, _ = name[len(prefix) :].partition(b"/")
            if slash:
                names.add(folder.decode())
            # "0" follows "/" in the order of names.
            index = bisect_left(self._names, prefix + folder + b"0", index + 1) if slash else index + 1
        return names


def check_bounds(archive: str, member: Member, archive_size: int) -> None:
    """Raises DwmError where a member claims more than its archive holds or than deflate can hold: before memory is taken."""
    if member.offset + member.stored > archive_size:
        raise DwmError(
            f"{archive}: member {member.name} claims {member.stored} bytes beyond the archive's end; fetch it again"
        )
    if min(member.offset, member.stored, member.size) < 0:
        raise DwmError(f"{archive}: member {member.name} claims a negative size; fetch the archive again")
    if member.size > (member.stored if member.method == STORED else 1040 * member.stored + 64):
        raise DwmError(
            f"{archive}: member {member.name} claims {member.size} bytes from {member.stored}; the archive is damaged"
        )
    if member.size > max(limits.bound(limits.RATIO_FROM), limits.RATIO * member.stored) and member.method != STORED:
        raise DwmError(
            f"{archive}: member {member.name} would become {limits.words(member.size)} from {limits.words(member.stored)}, more "
            f"than {limits.RATIO} times as much; if it is sound, raise the bound with "
            f"{limits.VARIABLE}={limits.words(member.size, up=True)}"
        )
