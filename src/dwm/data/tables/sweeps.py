"""A tree in which sweeps that a format stores in its own way are files as all others: five float32 a point. Knows no tables."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dwm.storage import Tree, limits

SHOWN = ".bin"
"""How the names of sweeps end here, whatever they end in where they lie."""


@dataclass(frozen=True)
class SweepTree:
    """Below folders called `folder`, files that end in `ending` are shown as `….bin`: x, y, z in metres, intensity, ring.

    decode: the points of a file's bytes; it is told the name for its errors. Picklable where that is a plain function.
    """

    base: Tree
    folder: str
    ending: str
    decode: Callable[[bytes, str], Float32[np.ndarray, "n 5"]]

    @property
    def where(self) -> str:
        return self.base.where

    @property
    def beside(self):
        return self.base.beside

    def exists(self, name: str) -> bool:
        return self.base.exists(self._stored(name))

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        stored = self._stored(name)
        data = self.base.read(stored, most)
        return self.decode(data, stored).tobytes() if self._is_sweep(name) else data

    def open(self, name: str) -> io.BufferedIOBase:
        return io.BytesIO(self.read(name)) if self._is_sweep(name) else self.base.open(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(map(self._shown, self.base.names(prefix.removesuffix(SHOWN)))))

    def folders(self, within: str = "") -> set[str]:
        return self.base.folders(within)

    def stamp(self, name: str) -> str:
        return self.base.stamp(self._stored(name))

    def size(self, name: str) -> int:
        return len(self.read(name)) if self._is_sweep(name) else self.base.size(name)

    def _is_sweep(self, name: str) -> bool:
        return name.endswith(SHOWN) and self.folder in name

    def _stored(self, name: str) -> str:
        return name.removesuffix(SHOWN) + self.ending if self._is_sweep(name) else name

    def _shown(self, name: str) -> str:
        return name.removesuffix(self.ending) + SHOWN if name.endswith(self.ending) and self.folder in name else name
