"""A tree in which sweeps that a format stores in its own way are files as all others: five float32 a point. Knows no tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dwm.data.tables.made_files import MadeFiles

SHOWN = ".bin"
"""How the names of sweeps end here, whatever they end in where they lie."""


@dataclass(frozen=True)
class SweepTree(MadeFiles):
    """Below folders called `folder`, files that end in `ending` are shown as `….bin`: x, y, z in metres, intensity, ring.

    decode: the points of a file's bytes; it is told the name for its errors. Picklable where that is a plain function.
    """

    folder: str
    ending: str
    decode: Callable[[bytes, str], Float32[np.ndarray, "n 5"]]

    def names(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(map(self._shown, self.base.names(prefix.removesuffix(SHOWN)))))

    def is_made(self, name: str) -> bool:
        return name.endswith(SHOWN) and self.folder in name

    def stored(self, name: str) -> str:
        return name.removesuffix(SHOWN) + self.ending if self.is_made(name) else name

    def make(self, name: str, most: int) -> bytes:
        stored = self.stored(name)
        return self.decode(self.base.read(stored, most), stored).tobytes()

    def _shown(self, name: str) -> str:
        return name.removesuffix(self.ending) + SHOWN if name.endswith(self.ending) and self.folder in name else name
