"""Feather files (Arrow's own format, packed or not), their size known before they are unpacked. Knows no tables of ours."""

from __future__ import annotations

import struct

import pyarrow as pa

from dwm.data.tables.columns import unpacked
from dwm.errors import DwmError
from dwm.storage import limits
from dwm.strict_json import LFS, lfs_pointer

MAGIC = b"ARROW1"
HEAD = 8
"""Bytes before the first message: the magic word, filled up."""
DICTIONARY, RECORDS = 2, 3
"""Kinds of messages that hold columns."""


def read_feather(data: bytes, name: str, schema: pa.Schema, most: int = limits.ROW) -> pa.Table:
    """The columns of `schema`, of its types, without nulls. Raises DwmError for what is none, is cut off, lacks a column, or would
    take more than `most` bytes."""
    if data.startswith(LFS):
        raise DwmError(f"{name}: {lfs_pointer()}")
    if not data.startswith(MAGIC):
        raise DwmError(f"{name}: is no feather file ({len(data)} bytes); fetch it again")
    if not data.endswith(MAGIC):
        raise DwmError(f"{name}: ends early (byte {len(data)}); fetch it again")
    stream = pa.py_buffer(data)[HEAD:]
    try:
        limits.check_size(f"{name}: a table", _declared(stream), most)
        # What was measured is what is read: not what the list at the file's end points to.
        table = pa.ipc.open_stream(stream).read_all()
        table.validate(full=True)
        if missing := [column for column in schema.names if column not in table.column_names]:
            raise DwmError(f"{name}: lacks the column {missing[0]}; it needs {', '.join(schema.names)}")
        table = table.select(schema.names)
        limits.check_size(f"{name}: a table", sum(map(unpacked, table.columns)), most)
        table = table.cast(schema).combine_chunks()
    except (pa.ArrowException, ValueError, OSError, struct.error, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DwmError(f"{name}: is no whole feather file ({reason}); fetch it again") from error
    if blank := next((column for column in schema.names if table[column].null_count), None):
        raise DwmError(f"{name}: the column {blank} has nulls; fetch it again")
    return table


def _declared(stream: pa.Buffer) -> int:
    """Bytes that all columns say they have, unpacked."""
    total, reader = 0, pa.ipc.MessageReader.open_stream(stream)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return total
        total += _of_message(message.metadata, message.body)


def _of_message(metadata: pa.Buffer, body: pa.Buffer | None) -> int:
    """The format's Message: version, kind, what it holds, …; of rows: their number, nodes, buffers (offset, bytes), packing."""
    root = _Flat(metadata.to_pybytes(), 0).follow(0)
    kind = root.byte(1)
    if kind not in (DICTIONARY, RECORDS):
        return 0
    rows = root.child(2) if kind == RECORDS else root.child(2).child(1)
    is_packed, total = rows.has(3), 0
    for offset, size in rows.pairs(2):
        length = struct.unpack_from("<q", body or b"", offset)[0] if size and is_packed else -1
        total += size if length < 0 else length
    return max(total, 8 * rows.long(0))


class _Flat:
    """A table of a flat buffer: its fields by number."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def _at(self, form: str, position: int) -> int:
        if position < 0:
            raise ValueError("a link leads out of it")
        return struct.unpack_from(form, self.data, position)[0]

    def follow(self, position: int) -> _Flat:
        return _Flat(self.data, position + self._at("<I", position))

    def _field(self, number: int) -> int | None:
        table = self.position - self._at("<i", self.position)
        inside = 4 + 2 * number < self._at("<H", table)
        offset = self._at("<H", table + 4 + 2 * number) if inside else 0
        return self.position + offset if offset else None

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def byte(self, number: int) -> int:
        return 0 if (position := self._field(number)) is None else self._at("<B", position)

    def long(self, number: int) -> int:
        return 0 if (position := self._field(number)) is None else self._at("<q", position)

    def child(self, number: int) -> _Flat:
        if (position := self._field(number)) is None:
            raise ValueError("a message is empty")
        return self.follow(position)

    def pairs(self, number: int) -> list[tuple[int, int]]:
        """A vector of pairs of whole numbers."""
        if (position := self._field(number)) is None:
            return []
        vector = self.follow(position).position
        count = self._at("<I", vector)
        if vector + 4 + 16 * count > len(self.data):
            raise ValueError("a list is longer than its message")
        return [struct.unpack_from("<qq", self.data, vector + 4 + 16 * row) for row in range(count)]
