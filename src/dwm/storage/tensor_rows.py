"""Rows of tensors in safetensors files, read by position: a row costs its own bytes, in a file here or behind a URL."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from dwm.errors import DwmError
from dwm.storage.source import LocalSource, RemoteSource, Source
from dwm.strict_json import parse_json

LARGEST_HEADER = 1 << 20
DTYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


@dataclass(frozen=True)
class Rows:
    """A tensor of a file; its rows are its first axis."""

    source: Source
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """Rows first … first + count − 1 (None: all that follow)."""
        count = self.shape[0] - first if count is None else count
        if first < 0 or first + count > self.shape[0]:
            raise IndexError(f"rows {first}…{first + count} of {self.shape[0]}")
        size = prod(self.shape[1:]) * self.dtype.itemsize
        data = self.source.read_at(self.offset + first * size, count * size)
        if len(data) != count * size:
            raise DwmError(f"{self.source.name}: ends early; remove it and encode again")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


def open_rows(path: str) -> dict[str, Rows]:
    """The tensors of a safetensors file by name. Raises DwmError where it is none, or is cut short."""
    source = RemoteSource(path) if "://" in path else LocalSource(path)
    try:
        length = int.from_bytes(source.read_at(0, 8), "little")
        if not 2 <= length <= min(LARGEST_HEADER, source.size):
            raise ValueError(f"a header of {length} bytes")
        header = parse_json(source.read_at(8, length).rstrip(b" "), "its header")
        rows = {name: _rows(source, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, DwmError) as error:
        raise DwmError(f"{path}: is no whole safetensors file ({error}); remove it and encode again") from None
    return rows


def _rows(source: Source, start: int, entry: dict) -> Rows:
    dtype, shape = DTYPES[entry["dtype"]], tuple(int(length) for length in entry["shape"])
    first, last = (int(offset) for offset in entry["data_offsets"])
    if not shape or min(shape) < 0 or first < 0 or last - first != prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} in {last - first} bytes")
    if start + last > source.size:
        raise ValueError(f"{source.size} bytes of {start + last}")
    return Rows(source, start + first, shape, dtype)
