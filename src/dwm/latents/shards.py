"""A folder of safetensors shards whose rows are found by key. Read here or behind a URL; written beside, then renamed.

Shards are named by the keys that they hold, so that several processes can write into one folder and a run that was stopped
goes on: what is there is known by its keys. It knows neither latents nor text.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from safetensors.torch import save, save_file
from torch import Tensor

from dwm.data.digests import key_of
from dwm.errors import DwmError
from dwm.storage import atomic_write
from dwm.storage.source import reaching, remote
from dwm.storage.tensor_rows import Rows, open_rows

SUFFIX = ".safetensors"
OPEN_AT_ONCE = 128
"""Files that a process keeps open."""
READERS = 16
"""Threads that read the keys of remote shards."""


class Shards:
    """The rows of all shards of a folder, of one shape each; cheap to hand to another process."""

    def __init__(self, where: str):
        self.where = where.rstrip("/")
        self.paths = shard_paths(self.where)
        self._open: OrderedDict[int, dict[str, Rows]] = OrderedDict()
        if "://" in self.where and len(self.paths) > 1:
            with ThreadPoolExecutor(READERS) as pool:
                keys = list(pool.map(_keys, self.paths))
        else:
            keys = [_keys(path) for path in self.paths]
        every = np.concatenate([np.zeros((0, 2), np.int64), *keys])
        shard = np.repeat(np.arange(len(keys), dtype=np.int32), [len(part) for part in keys])
        row = np.concatenate([np.zeros(0, np.int32), *(np.arange(len(part), dtype=np.int32) for part in keys)])
        order = np.lexsort((every[:, 1], every[:, 0]))
        self._first, self._second = every[order, 0], every[order, 1]
        self._shard, self._row = shard[order], row[order]

    def __len__(self) -> int:
        return len(self._first)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": OrderedDict()}

    def _index(self, keys: Int[np.ndarray, "n 2"]) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        if not len(self):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        index = np.minimum(np.searchsorted(self._first, keys[:, 0]), len(self) - 1)
        return index, (self._first[index] == keys[:, 0]) & (self._second[index] == keys[:, 1])

    def has(self, keys: Int[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
        """Which of the keys have a row."""
        return self._index(keys)[1]

    def read(self, name: str, keys: Int[np.ndarray, "n 2"]) -> np.ndarray:
        """The rows of tensor `name`, in the order of `keys`, which must all be there; neighbours are read together."""
        index, there = self._index(keys)
        if not there.all():
            raise KeyError(int(np.flatnonzero(~there)[0]))
        shard, row = self._shard[index], self._row[index]
        order = np.lexsort((row, shard))
        runs = np.flatnonzero((np.diff(shard[order]) != 0) | (np.diff(row[order]) > 1)) + 1
        values: np.ndarray | None = None
        for run in np.split(order, runs):
            first = row[run[0]]
            rows = self._rows(int(shard[run[0]]), name).read(int(first), int(row[run[-1]] - first) + 1)
            if values is None:
                values = np.empty((len(keys), *rows.shape[1:]), rows.dtype)
            values[run] = rows[row[run] - first]
        assert values is not None
        return values

    def row_shape(self, name: str) -> tuple[int, ...]:
        """The shape of one row."""
        return self._rows(0, name).shape[1:]

    def _rows(self, shard: int, name: str) -> Rows:
        if shard in self._open:
            self._open.move_to_end(shard)
        else:
            self._open[shard] = open_rows(self.paths[shard])
            if len(self._open) > OPEN_AT_ONCE:
                self._open.popitem(last=False)
        if name not in self._open[shard]:
            raise DwmError(f"{self.paths[shard]}: holds no {name}; remove it and encode again")
        return self._open[shard][name]


def shard_paths(where: str) -> list[str]:
    """The shards of a folder or URL, by name; none where it does not exist."""
    system, root = remote(where)
    with reaching(where):
        paths = [str(path) for path in system.ls(root, detail=False)] if system.isdir(root) else []
    shards = sorted(path for path in paths if _is_shard(path))
    return [system.unstrip_protocol(path) for path in shards] if "://" in where else shards


def write_shard(where: str, keys: Int[np.ndarray, "n 2"], tensors: Mapping[str, Tensor]) -> str:
    """Writes rows as one shard and returns its path. The same keys give the same name."""
    name = key_of(np.ascontiguousarray(keys).tobytes()).hex() + SUFFIX
    content = {"keys": torch.from_numpy(keys.copy()), **tensors}
    target = f"{where.rstrip('/')}/{name}"
    if "://" not in where:
        with atomic_write(Path(target)) as beside:
            save_file(content, beside)
        return target
    system, path = remote(target)
    folder, _, _ = path.rpartition("/")
    beside = f"{folder}/.{name}.{secrets.token_hex(4)}.part"
    try:
        system.makedirs(folder, exist_ok=True)
        system.pipe_file(beside, save(content))
        system.mv(beside, path)
    except OSError as error:
        raise DwmError(f"{target}: cannot be written ({error}); free space, or choose another store") from error
    return target


def _keys(path: str) -> Int[np.ndarray, "n 2"]:
    tensors = open_rows(path)
    if "keys" not in tensors or tensors["keys"].dtype != np.int64 or tensors["keys"].shape[1:] != (2,):
        raise DwmError(f"{path}: holds no keys; is it a shard of a store?")
    keys = tensors["keys"]
    if any(rows.shape[0] != keys.shape[0] for rows in tensors.values()):
        raise DwmError(f"{path}: its tensors differ in length; remove it and encode again")
    return keys.read()


def _is_shard(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith(SUFFIX) and not name.startswith(".")
