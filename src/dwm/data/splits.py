"""The official lists of scene names: train (detect + track), val, test, mini_train, mini_val; and lists of one's own."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from dwm.errors import DwmError, nearest
from dwm.storage import limits, read_file

Split = str | Path | Iterable[str] | None
"""An official name, a file of scene names, or a list of them; None: all scenes."""
SPLITS = ("train", "train_detect", "train_track", "val", "test", "mini_train", "mini_val")


@cache
def official(split: str) -> frozenset[str]:
    """The scene names of an official split. `train` is `train_detect` and `train_track` together."""
    if split == "train":
        return official("train_detect") | official("train_track")
    numbers = json.loads((files("dwm.data") / "splits.json").read_text())[split]
    names = set()
    for span in numbers.split():
        first, _, last = span.partition("-")
        names.update(f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
    return frozenset(names)


def scene_names(
    split: str | Path | Iterable[str], there: Collection[str], own: Mapping[str, Collection[str]] | None = None
) -> frozenset[str]:
    """The names that an official split, a text file (one name a line) or a list stands for. `own`: a format's official splits
    (None: nuScenes').

    `known` are the names of the data set's scenes. It may hold a part of an official split, but a list of one's own means what
    it says: raises DwmError for a name in it that is not known.
    """
    if isinstance(split, str | Path):
        if own is None and str(split) in SPLITS:
            return official(str(split))
        if own is not None and str(split) in own:
            return frozenset(own[str(split)])
        where, names = f"split {split}", _listed(Path(split), tuple(SPLITS if own is None else own))
    else:
        where, names = "split", list(split)
    if not names:
        raise DwmError(f"{where}: names no scenes; write one name a line")
    unknown = [name for name in dict.fromkeys(names) if name not in there]
    if unknown:
        raise DwmError(
            f"{where}: {unknown[0]!r} is no scene of this data set{nearest(unknown[0], there)} "
            f"({len(unknown)} of {len(set(names))} names are unknown, {len(there)} scenes are there)"
        )
    return frozenset(names)


def _listed(path: Path, splits: Sequence[str] = SPLITS) -> list[str]:
    """The names in a text file; empty lines and what follows a # are left out."""
    if not path.is_file():
        raise DwmError(
            f"split {path}: is neither official ({', '.join(splits)}) nor a file of scene names{nearest(str(path), splits)}"
        )
    try:
        lines = read_file(path, limits.ROW).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DwmError(f"split {path}: cannot be read as a text file of scene names ({error})") from error
    return [name for line in lines if (name := line.partition("#")[0].strip())]
