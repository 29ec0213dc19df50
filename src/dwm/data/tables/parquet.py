"""Parquet read whole, its size known before it is unpacked: a few bytes of it may stand for a billion rows or a long text often."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from dwm.data.tables.columns import unpacked
from dwm.errors import DwmError
from dwm.storage import limits

WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 8}
"""Bytes of a value as it is read: texts as numbers in a dictionary, and as one more beside."""
LONGEST = 256
"""Bytes of a value of fixed length at most."""


def read_parquet(file: io.BufferedIOBase, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table, or some columns of it. Raises DwmError where it lacks one or would take more than `limits.TABLE`, and pyarrow's
    errors where it is none."""
    contents = pq.ParquetFile(file)
    # What the file says of itself is known first: rows that are all alike cost nothing in it.
    limits.check_size(f"{name}: a table", declared(contents.metadata), limits.TABLE)
    if missing := [column for column in columns or () if column not in contents.schema_arrow.names]:
        raise DwmError(f"{name}: lacks the column {missing[0]}")
    texts = [column.path for column in contents.schema if column.physical_type == "BYTE_ARRAY"]
    # Texts stay numbers of a dictionary until it is known how long they are together.
    parquet = pq.ParquetFile(file, read_dictionary=texts, page_checksum_verification=True)
    parts, size = [], 0
    for group in range(parquet.num_row_groups):
        part = parquet.read_row_group(group, columns)
        part.validate(full=True)
        size += sum(unpacked(column) for column in part.columns)
        limits.check_size(f"{name}: a table", size, limits.TABLE)
        parts.append(part)
    table = pa.concat_tables(parts) if parts else parquet.schema_arrow.empty_table()
    return table.cast(pa.schema([_plain(field) for field in table.schema]))


def declared(metadata: pq.FileMetaData) -> int:
    """Bytes that a table says it has, at least."""
    # Not from what it says of each column: asking for a damaged one ends the process within the library.
    width = sum(
        WIDTHS.get(metadata.schema.column(number).physical_type, LONGEST) for number in range(metadata.num_columns)
    )
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    return sum(max(group.total_byte_size, group.num_rows * width) for group in groups)


def _plain(field: pa.Field) -> pa.Field:
    kind = field.type
    if pa.types.is_list(kind):
        return field.with_type(pa.list_(_plain(kind.value_field)))
    return field.with_type(kind.value_type) if pa.types.is_dictionary(kind) else field
