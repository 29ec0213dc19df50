"""A tree in which sweeps that a format stores in its own way are files as all others: five float32 a point. Knows no tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dwm.data.tables.made_files import ConvertedFiles
from dwm.storage import Tree

Decode = Callable[[bytes, str], Float32[np.ndarray, "n 5"]]


@dataclass(frozen=True)
class SweepTree(ConvertedFiles):
    """Sweeps are shown as `….bin`: x, y, z in metres, intensity, ring.

    decode: the points of a file's bytes; it is told the name for its errors. Picklable where that is a plain function.
    """

    decode: Decode

    def convert(self, data: bytes, name: str) -> bytes:
        return self.decode(data, name).tobytes()


def sweep_tree(tree: Tree, folder: str, ending: str, decode: Decode) -> SweepTree:
    """A tree whose sweeps lie below folders called `folder` in files that end in `ending`."""
    return SweepTree(tree, folder, ending, ".bin", decode)
