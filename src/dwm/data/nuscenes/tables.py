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

from dwm.data.tables.columns import STAMP, checked, in_words
from dwm.data.tables.relations import RELATIONS
from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import Tree, limits
from dwm.strict_json import LFS, is_whole, lfs_pointer

OPTIONAL = frozenset(("width", "height"))
MB = 1 << 20


def read_table(
    tree: Tree,
    version: str,
    table: str,
    schema: pa.Schema | None = None,
    keep: Callable[[dict[str, Any]], bool] = lambda row: True,
    chunk: int = 5000,
) -> pa.Table:
    """The used columns (`schema` None: those of `RELATIONS`) of the rows to `keep`, checked.

    Raises DwmError naming file, row and field of what is wrong.
    """
    name, schema = f"{version}/{table}.json", schema or RELATIONS[table]
    parts = _parts(filter(keep, rows(tree, name)), chunk)
    batches = [_batch(name, part, schema) for part in parts]
    result = pa.Table.from_batches(batches or [_batch(name, [], schema)], schema).combine_chunks()
    return checked(name, result)


def _parts(content: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(content, size)):
        yield part


def rows(tree: Tree, name: str, block: int = 1 << 20) -> Iterator[dict[str, Any]]:
    """The objects of a file that holds one JSON array, one after another, without holding the file.

    Not ijson's work: its C library takes 0.8 to 1.05 of the time, but makes half a character a "?" without a word and has no bound
    for the size of a row.
    """
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
            raise DwmError(f"{name}: {_misfit(part, field)}, not {in_words(field.type)}") from error
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
