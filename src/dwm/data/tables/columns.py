"""Columns of Arrow tables: their types, and the checks that hold for them wherever they come from. Reads and writes nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from dwm.errors import DwmError
from dwm.storage import check_column

TEXT, STAMP, FLAG, WHOLE = pa.string(), pa.float64(), pa.bool_(), pa.int32()
VECTOR, QUATERNION = pa.list_(pa.float64(), 3), pa.list_(pa.float64(), 4)
MATRIX = pa.list_(pa.list_(pa.float64()))

PATHS, PARTS = frozenset(("filename", "channel")), frozenset(("location",))
"""Fields that become paths below the data set, or one part of such a path."""
MAY_BE_EMPTY = frozenset(("description", "camera_intrinsic", "prev", "next", "visibility_token"))
"""Columns where a null, or nothing, means that there is none."""
QUATERNION_TOLERANCE = 1e-3
LARGEST: dict[str, tuple[float, str]] = {
    "translation": (1e8, "m"),
    "size": (1e4, "m"),
    "timestamp": (2.0**62, "µs"),
    "time": (2.0**62, "µs"),
    "width": (65_535, "pixels"),
    "height": (65_535, "pixels"),
}
"""What numbers cannot go beyond: no place on earth is further, no picture larger; behind them sums overflow."""


def checked(name: str, table: pa.Table) -> pa.Table:
    """The same table. Raises DwmError for nulls, tokens that are not unique, and numbers that cannot be."""
    for field in table.schema:
        if table[field.name].null_count and field.name not in MAY_BE_EMPTY:
            row = pc.index(pc.is_null(table[field.name]), True).as_py()
            raise DwmError(f"{name}: row {_row_name(table, row)}: {field.name} is null, not {in_words(field.type)}")
    _check_tokens(name, table)
    for column in PATHS & set(table.column_names):
        check_column(name, table, column)
    for column in PARTS & set(table.column_names):
        check_column(name, table, column, single=True)
    for field in table.schema:
        if pa.types.is_fixed_size_list(field.type):
            _check_numbers(name, table, field.name, vectors(table, field.name))
        elif field.name in LARGEST and field.type != TEXT:
            values = table[field.name].cast(pa.float64()).to_numpy()
            _check_numbers(name, table, field.name, values.reshape(-1, 1))
    return table


def _row_name(table: pa.Table, row: int) -> str:
    """A row by its token where it has one, else by its number."""
    token = table["token"][row].as_py() if "token" in table.column_names else None
    return str(row) if token is None else token


def in_words(kind: pa.DataType) -> str:
    names = {
        VECTOR: "three numbers",
        QUATERNION: "four numbers",
        MATRIX: "a matrix",
        TEXT: "text",
        FLAG: "true or false",
    }
    return names.get(kind, "a number")


def _check_tokens(name: str, table: pa.Table) -> None:
    if "token" not in table.column_names:
        return
    tokens = table["token"]
    if pc.count_distinct(tokens).as_py() < len(tokens):
        counts = pc.value_counts(tokens.combine_chunks())
        twice = counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))]
        raise DwmError(f"{name}: token {twice} stands there more than once; tokens must be unique")


def _check_numbers(name: str, table: pa.Table, column: str, values: Float[np.ndarray, "n k"]) -> None:
    bad = ~np.isfinite(values).all(1)
    words = "is not finite"
    if not bad.any() and column in LARGEST:
        most, unit = LARGEST[column]
        bad, words = (np.abs(values) > most).any(1), f"goes beyond {most:g} {unit}"
    if not bad.any() and column == "rotation":
        bad = np.abs(np.linalg.norm(values, axis=1) - 1) > QUATERNION_TOLERANCE
        words = "is not a unit quaternion (w, x, y, z)"
    if not bad.any() and column == "size":
        bad, words = (values <= 0).any(1), "(width, length, height) is not positive"
    if bad.any():
        row = int(np.argmax(bad))
        row_values = values[row].tolist()
        value = row_values if len(row_values) > 1 else row_values[0]
        raise DwmError(f"{name}: row {_row_name(table, row)}: {column} {value} {words}; correct the table")


def vectors(table: pa.Table, column: str) -> np.ndarray:
    """A column of fixed-size lists as (rows, length), without copying."""
    values = table[column]
    width = values.type.list_size
    chunk = values.chunk(0) if values.num_chunks else pa.array([], values.type)
    return chunk.flatten().to_numpy().reshape(-1, width)


def numbers(table: pa.Table, column: str) -> np.ndarray:
    """A column of numbers, without copying (of flags: a copy)."""
    values = table[column]
    return values.chunk(0).to_numpy(zero_copy_only=False) if values.num_chunks == 1 else values.to_numpy()


def unpacked(column: pa.ChunkedArray) -> int:
    """Bytes of a column once its texts are no longer numbers of a dictionary."""
    return sum(_unpacked(chunk) for chunk in column.chunks)


def _unpacked(values: pa.Array) -> int:
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return 8 * len(values) + _unpacked(values.flatten())
    if not pa.types.is_dictionary(values.type):
        return values.nbytes
    lengths = pc.binary_length(values.dictionary).cast(pa.int64()).take(values.indices)
    return 8 * len(values) + (pc.sum(lengths).as_py() or 0)
