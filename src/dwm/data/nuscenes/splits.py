"""The official lists of scene names: train (detect + track), val, test, mini_train, mini_val; and lists of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

from dwm.errors import DwmError, nearest

SPLITS = ("train", "train_detect", "train_track", "val", "test", "mini_train", "mini_val")


@cache
def official(split: str) -> frozenset[str]:
    """The scene names of an official split. `train` is `train_detect` and `train_track` together."""
    if split == "train":
        return official("train_detect") | official("train_track")
    numbers = json.loads((files(__package__) / "splits.json").read_text())[split]
    names = set()
    for span in numbers.split():
        first, _, last = span.partition("-")
        names.update(f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
    return frozenset(names)


def scene_names(split: str | Path | Iterable[str]) -> frozenset[str]:
    """The names that an official split, a text file (one name a line) or a list stands for."""
    if not isinstance(split, str | Path):
        return frozenset(split)
    if str(split) in SPLITS:
        return official(str(split))
    path = Path(split)
    if not path.is_file():
        raise DwmError(
            f"split {split}: is neither official ({', '.join(SPLITS)}) nor a file of scene names{nearest(str(split), SPLITS)}"
        )
    return frozenset(path.read_text().split())
