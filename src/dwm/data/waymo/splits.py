"""Waymo's official splits, which are folders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
"""By the names that `--split` takes."""


def splits_of(folder: str, scenes: Sequence[str]) -> Mapping[str, Collection[str]]:
    """The scenes of each split where all lie in one folder (or the path of one)."""
    name = folder.rstrip("/").rpartition("/")[2]
    return {split: list(scenes) if place == name else [] for split, place in FOLDERS.items()}
