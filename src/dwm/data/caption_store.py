"""Large caption files as Arrow tables that all processes map: as JSON objects those of nuScenes trainval take 220 MB in each.

They look like the two files' objects; what a caption says is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dwm.conventions import CAPTION_KEYS
from dwm.errors import DwmError
from dwm.storage import SortedNames, Tree, cache_folder, kept_tables, load_tables

KEPT_FROM = 4 << 20
"""Bytes from which on a caption file is kept as a table; reading a smaller one takes no time."""
FORMAT = "captions 1"
TEXT, WORDS = pa.large_string(), pa.string()
CAPTIONS = pa.schema({"key": TEXT, **dict.fromkeys(CAPTION_KEYS, WORDS)})
TIMES = pa.schema({"key": TEXT, "times": pa.list_(pa.int64())})


class KeptMapping(Mapping[str, Any]):
    """One file's object by its sorted keys. `place` is where its table lies, for other processes to map it too."""

    def __init__(self, table: pa.Table, folder: Path | None) -> None:
        self.table, self.folder = table, folder
        self._keys = SortedNames(table["key"].chunk(0) if len(table) else pa.array([], TEXT))

    def __getitem__(self, key: str) -> Any:
        row = self._keys.find(key)
        if row is None:
            raise KeyError(key)
        return self._value(row)

    def _value(self, row: int) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[str]:
        return iter(self.table["key"].to_pylist())

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is None:
            return type(self), (self.table, None)
        return _mapped, (type(self), self.folder)


class KeptCaptions(KeptMapping):
    """Parts of captions by "scene token|channel|µs"; None for an entry that is not an object of texts."""

    def _value(self, row: int) -> Mapping[str, str] | None:
        words = {part: self.table[part][row].as_py() for part in CAPTION_KEYS}
        return None if None in words.values() else words


class KeptTimes(KeptMapping):
    """The µs that have captions by "scene token|channel"."""

    def _value(self, row: int) -> Sequence[int]:
        return self.table["times"][row].as_py()


NAMES: dict[type, str] = {KeptCaptions: "captions", KeptTimes: "times"}


def kept_captions(
    tree: Tree,
    name: str,
    times: str,
    read: Callable[[], Mapping[str, Any]],
    read_times: Callable[[], Mapping[str, Any]],
) -> tuple[KeptCaptions, KeptTimes]:
    """Both files, kept: `read` and `read_times` give their objects where they have to be read.

    Raises DwmError for times that are not numbers.
    """
    key = f"{FORMAT} {tree.stamp(name)} {tree.stamp(times)}"
    tables, folder = kept_tables(
        cache_folder(tree.beside),
        f"{name.replace('/', '_')}.kept",
        key,
        lambda: {"captions": _captions(read()), "times": _times(times, read_times())},
    )
    return KeptCaptions(tables["captions"], folder), KeptTimes(tables["times"], folder)


def _mapped(kind: type[KeptMapping], folder: Path) -> KeptMapping:
    tables = load_tables(folder)
    if tables is None:
        raise DwmError(f"{folder}: the captions were removed while they were in use; open the data set again")
    return kind(tables[NAMES[kind]], folder)


def _captions(content: Mapping[str, Any]) -> pa.Table:
    keys = sorted(content, key=str.encode)
    entries = [_words(content[key]) for key in keys]
    columns = [pa.array(words, WORDS) for words in zip(*entries, strict=True)] or [[]] * len(CAPTION_KEYS)
    return pa.table([pa.array(keys, TEXT), *columns], schema=CAPTIONS)


def _words(entry: Any) -> list[str | None]:
    """The parts of an entry; nothing at all where it is not an object of texts, so that whoever asks for it is told."""
    words = [entry.get(part, "") for part in CAPTION_KEYS] if isinstance(entry, dict) else [None]
    return words if all(isinstance(word, str) for word in words) else [None] * len(CAPTION_KEYS)


def _times(name: str, content: Mapping[str, Any]) -> pa.Table:
    keys = sorted(content, key=str.encode)
    try:
        stamps = pa.array([content[key] for key in keys], TIMES.types[1])
        if stamps.null_count or stamps.flatten().null_count:
            raise ValueError("null")
        return pa.table([pa.array(keys, TEXT), stamps], schema=TIMES)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise DwmError(f"{name}: is not an object of lists of times in µs by scene and camera ({error})") from error
