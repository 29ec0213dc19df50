"""Which of the pictures that the tables name are there, where a part of a set was fetched, or key frames only. Reads none."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dwm.data.films import file_of
from dwm.data.tables.indexed import IndexedTables
from dwm.errors import DwmError

ADVICE = "fetch the archives that hold them, or take key frames only (--key-frames; data.train.0.key_frames_only=true)"


@dataclass(frozen=True)
class Window:
    """Frames of one scene: rows of the index by frame and channel; the LiDAR first where it is the clock."""

    scene: int
    fps: float
    channels: tuple[str, ...]
    rows: Int[np.ndarray, "t s"]


def present(tables: IndexedTables, rows: Int[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Whether the file of each row of the index is there, folder by folder."""
    names = [file_of(tables.index.frames["filename"][int(row)].as_py()) for row in rows]
    folders = {folder: set(tables.tree.names(folder)) for folder in {f"{posixpath.dirname(name)}/" for name in names}}
    return np.array([name in folders[f"{posixpath.dirname(name)}/"] for name in names], bool)


def with_pictures(tables: IndexedTables, windows: Sequence[Window]) -> list[Window]:
    """The windows of which all pictures are there, with a warning that counts the others.

    Raises DwmError where none is left.
    """
    cameras = [window.rows[:, _cameras(tables, window)] for window in windows]
    rows = np.unique(np.concatenate([part.ravel() for part in cameras])) if cameras else np.zeros(0, int)
    there = present(tables, rows)
    if there.all():
        return list(windows)
    missing = set(rows[~there].tolist())
    whole = [window for window, part in zip(windows, cameras, strict=True) if missing.isdisjoint(part.ravel().tolist())]
    summary = (
        f"{tables.tree.where}: {len(windows) - len(whole)} of {len(windows)} windows lack pictures "
        f"({len(missing)} of {len(rows)} files are not there, the first {_name(tables, rows[~there][0])})"
    )
    if not whole:
        raise DwmError(f"{summary}; {ADVICE}")
    warnings.warn(f"{summary} and are left out", stacklevel=3)
    return whole


@dataclass(frozen=True)
class Choice:
    """What a clip takes of one camera: rows of its frames in the index, and the place in them for each frame of the clip.

    distance: from each frame's time to each row's, µs.
    """

    rows: Int[np.ndarray, "n"]
    indices: Int[np.ndarray, "t"]
    distance: Float[np.ndarray, "t n"]


def nearest_present(tables: IndexedTables, scene: str, cameras: Sequence[Choice]) -> list[Int[np.ndarray, "t"]]:
    """For each camera the places of the nearest pictures that are there, with one warning where these are not the ones meant."""
    if all(_is_there(tables, row) for camera in cameras for row in camera.rows[np.unique(camera.indices)]):
        return [camera.indices for camera in cameras]
    there = [present(tables, camera.rows) for camera in cameras]
    missing, total = sum(int((~mask).sum()) for mask in there), sum(len(mask) for mask in there)
    nearest = [
        row
        for camera, mask in zip(cameras, there, strict=True)
        for row in camera.rows[camera.indices]
        if not mask.all()
    ]
    first = next(_name(tables, row) for row in nearest if not _is_there(tables, row))
    choice_indices, furthest = [], 0.0
    for camera, mask in zip(cameras, there, strict=True):
        # A camera without any: tables alone serve for boxes, map and cameras.
        indices = np.where(mask, camera.distance, np.inf).argmin(1) if mask.any() else camera.indices
        furthest = max(furthest, float(camera.distance[np.arange(len(indices)), indices].max()) / 1000)
        choice_indices.append(indices)
    stand = f"; the nearest that are stand for them, up to {furthest:.0f} ms from their time" if missing < total else ""
    warnings.warn(f"{scene}: {missing} of {total} pictures are not there (as {first}){stand}", stacklevel=4)
    return choice_indices


def _is_there(tables: IndexedTables, row: int) -> bool:
    return tables.tree.exists(file_of(_name(tables, row)))


def _cameras(tables: IndexedTables, window: Window) -> list[int]:
    kinds = dict(
        zip(tables.index.channels["channel"].to_pylist(), tables.index.channels["modality"].to_pylist(), strict=True)
    )
    cameras = [index for index, channel in enumerate(window.channels) if kinds[channel] == "camera"]
    return cameras or list(range(len(window.channels)))  # a LiDAR alone: its sweeps


def _name(tables: IndexedTables, row: int) -> str:
    return tables.index.frames["filename"][int(row)].as_py()
