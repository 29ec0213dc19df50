"""The JSON tables of nuScenes as Arrow tables, read as a stream: a row is checked and gone before the next. Joins nothing."""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import Tree, check_column, limits
from dwm.strict_json import LFS, is_whole, lfs_pointer

TEXT, STAMP, FLAG, WHOLE = pa.string(), pa.float64(), pa.bool_(), pa.int32()
VECTOR, QUATERNION = pa.list_(pa.float64(), 3), pa.list_(pa.float64(), 4)
MATRIX = pa.list_(pa.list_(pa.float64()))

SCHEMAS: dict[str, pa.Schema] = {
    "scene": pa.schema(
        {"token": TEXT, "name": TEXT, "first_sample_token": TEXT, "log_token": TEXT, "description": TEXT}
    ),
    "sample": pa.schema({"token": TEXT, "next": TEXT, "scene_token": TEXT}),
    "sample_data": pa.schema(
        {
            "token": TEXT,
            "sample_token": TEXT,
            "ego_pose_token": TEXT,
            "calibrated_sensor_token": TEXT,
            "timestamp": STAMP,
            "is_key_frame": FLAG,
            "filename": TEXT,
            "width": WHOLE,
            "height": WHOLE,
        }
    ),
    "ego_pose": pa.schema({"token": TEXT, "rotation": QUATERNION, "translation": VECTOR}),
    "calibrated_sensor": pa.schema(
        {"token": TEXT, "sensor_token": TEXT, "rotation": QUATERNION, "translation": VECTOR, "camera_intrinsic": MATRIX}
    ),
    "sensor": pa.schema({"token": TEXT, "channel": TEXT, "modality": TEXT}),
    "sample_annotation": pa.schema(
        {
            "token": TEXT,
            "sample_token": TEXT,
            "instance_token": TEXT,
            "translation": VECTOR,
            "size": VECTOR,
            "rotation": QUATERNION,
        }
    ),
    "instance": pa.schema({"token": TEXT, "category_token": TEXT}),
    "category": pa.schema({"token": TEXT, "name": TEXT}),
    "log": pa.schema({"token": TEXT, "location": TEXT}),
}
"""The fields that are used of the tables that are read; others are left unread."""

PATHS, PARTS = frozenset(("filename", "channel")), frozenset(("location",))
"""Fields that become paths below the data set, or one part of such a path."""
OPTIONAL = frozenset(("width", "height"))
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
MB = 1 << 20


def read_table(
    tree: Tree,
    version: str,
    table: str,
    schema: pa.Schema | None = None,
    keep: Callable[[dict[str, Any]], bool] = lambda row: True,
    chunk: int = 5000,
) -> pa.Table:
    """The used columns (`schema` None: those of `SCHEMAS`) of the rows to `keep`, checked.

    Raises DwmError naming file, row and field of what is wrong.
    """
    name, schema = f"{version}/{table}.json", schema or SCHEMAS[table]
    parts = _parts(filter(keep, rows(tree, name)), chunk)
    batches = [_batch(name, part, schema) for part in parts]
    result = pa.Table.from_batches(batches or [_batch(name, [], schema)], schema).combine_chunks()
    return checked(name, result)


def checked(name: str, table: pa.Table) -> pa.Table:
    """The same table. Raises DwmError for nulls, tokens that are not unique, and numbers that cannot be."""
    for field in table.schema:
        if table[field.name].null_count and field.name not in MAY_BE_EMPTY:
            row = pc.index(pc.is_null(table[field.name]), True).as_py()
            raise DwmError(f"{name}: row {_called(table, row)}: {field.name} is null, not {_words(field.type)}")
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


def _called(table: pa.Table, row: int) -> str:
    """A row by its token where it has one, else by its number."""
    token = table["token"][row].as_py() if "token" in table.column_names else None
    return str(row) if token is None else token


def _parts(content: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(content, size)):
        yield part


def rows(tree: Tree, name: str, block: int = 1 << 20) -> Iterator[dict[str, Any]]:
    """The objects of a file that holds one JSON array, one after another, without holding the file."""
    decode, scan = codecs.getincrementaldecoder("utf-8-sig")(), json.JSONDecoder().raw_decode
    with tree.open(name) as file, contextlib.closing(track(range(tree.size(name) // MB + 1), name, unit="MB")) as line:
        text, at, row, ended, read, begun = "", 0, 0, False, 0, False
        while True:
            at = _skip(text, at, " \t\r\n," if begun else " \t\r\n")
            try:
                if at == len(text):
                    raise json.JSONDecodeError("no more", text, at)
                if not begun:
                    begun, at = True, at + 1  # that it is a [ was seen when the file's first bytes came
                    continue
                if text[at] == "]":
                    if text[at + 1 :].strip() or file.read(block).strip():
                        raise DwmError(f"{name}: goes on behind the end of its table; fetch it again")
                    return
                value, at = scan(text, at)
            except RecursionError:
                raise DwmError(f"{name}: row {row} is nested too deep; fetch the table again") from None
            except json.JSONDecodeError as error:
                if ended:
                    raise DwmError(
                        f"{name}: is no whole JSON table: it breaks off in row {row}; fetch it again"
                    ) from error
                data = file.read(block)
                ended = not data
                for _ in range((read + len(data)) // MB - read // MB):
                    next(line, None)
                read += len(data)
                limits.check_size(f"{name}: row {row}", len(text) - at, limits.ROW)
                try:
                    text, at = text[at:] + decode.decode(data, ended), 0
                except UnicodeDecodeError as wrong:
                    raise DwmError(
                        f"{name}: is not UTF-8 text near row {row} ({wrong.reason}); save it as UTF-8"
                    ) from wrong
                if data.startswith(LFS):
                    raise DwmError(f"{name}: {lfs_pointer()}") from None
                if read == len(data) and text.lstrip()[:1] not in ("[", ""):
                    raise DwmError(
                        f"{name}: begins with {text.lstrip()[:8]!r}, not with [ as a nuScenes table does"
                    ) from error
                block = max(block, len(text))
                continue
            except ValueError as error:  # a number of thousands of digits
                raise DwmError(f"{name}: row {row}: {str(error).partition(';')[0]}; correct the table") from None
            if not isinstance(value, dict):
                raise DwmError(f"{name}: row {row} is {type(value).__name__}, not an object; is this a nuScenes table?")
            yield value
            row += 1


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def text_of(name: str, row: dict[str, Any], field: str) -> str:
    """A text of a row that is used as it is read. Raises DwmError where it is none."""
    value = row.get(field)
    if not isinstance(value, str) or not is_whole(value):
        raise DwmError(
            f"{name}: row {_short(row.get('token'))}: {field} is {_short(value)}, not text; correct the table"
        )
    return value


def _batch(name: str, part: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        try:
            values = [row[field.name] for row in part]
        except KeyError as error:
            if field.name not in OPTIONAL:
                row = next(row for row in part if field.name not in row)
                raise DwmError(f"{name}: row {row.get('token', row)!s:.80} lacks the field {field.name}") from error
            values = [row.get(field.name) or 0 for row in part]
        try:
            columns.append(_array(values, field.type))
        except UNFIT as error:
            raise DwmError(f"{name}: {_misfit(part, field)}, not {_words(field.type)}") from error
    return pa.record_batch(columns, schema=schema)


UNFIT = (pa.ArrowException, ValueError, TypeError, OverflowError)
"""What Arrow raises for a value that is not of a column's type: of another kind, too large, half a character."""


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == STAMP and any(type(value) is int and 1 << 53 < value < 1 << 63 for value in values):
        values = list(map(float, values))  # ns since 1970: exact they need not be, as they are refused
    if not pa.types.is_fixed_size_list(kind) or not values:
        return pa.array(values, kind)
    try:  # several times as quick as Arrow's own way through nested lists
        if set(map(len, values)) == {kind.list_size}:
            flat = np.fromiter(chain.from_iterable(values), np.float64, len(values) * kind.list_size)
            return pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)
    except (TypeError, ValueError, OverflowError):
        pass
    return pa.array(values, kind)  # says what does not fit


def _misfit(part: list[dict[str, Any]], field: pa.Field) -> str:
    for row in part:
        try:
            pa.array([row.get(field.name)], field.type)
        except UNFIT:
            return f"row {row.get('token', '?')!s:.80}: {field.name} is {_short(row.get(field.name))}"
    return f"a value of {field.name} is out of range"


def _short(value: Any) -> str:
    try:
        return json.dumps(value)[:60]
    except (ValueError, RecursionError):  # a number of thousands of digits, lists within lists
        return f"{type(value).__name__} without end"


def _words(kind: pa.DataType) -> str:
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
        found = values[row].tolist()
        shown = found if len(found) > 1 else found[0]
        raise DwmError(f"{name}: row {_called(table, row)}: {column} {shown} {words}; correct the table")


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
