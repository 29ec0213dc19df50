"""The data sets of published runs: where they lie by default, which views they give and how their captions are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dwm.config.data import Rate, SourceOptions
from dwm.data import CaptionOptions

TOLD = CaptionOptions(align_keys=("time", "weather"))
TRAINED = TOLD.with_(reorder=True, drop_rates={"environment": 0.04, "objects": 0.08, "image_description": 0.16})
"""Words of training: parts in random order, some left out."""
EVERY = ((10.0, 0.1),)
"""Windows of 10 frames a second, one from each frame."""
GREY = 32 / 255
"""Grey level of layout pictures where a set has none."""


def _mask(rows: str) -> tuple[tuple[bool, ...], ...]:
    return tuple(tuple(mark == "x" for mark in row) for row in rows.split())


RING = _mask("xx...x xxx... .xxx.. ..xxx. ...xxx x...xx")
"""Six cameras around a car, each of which sees itself and its neighbours."""
ROW = _mask("xx. xxx .xx")
APART = tuple(tuple(row == column for column in range(6)) for row in range(6))
"""Six views that have nothing to do with each other."""

NUSCENES = SourceOptions(
    path="data/nuscenes", version="interp_12Hz_trainval", key_frames_only=True, crossview_mask=RING
)
PLAIN_NUSCENES = SourceOptions(path="data/nuscenes", version="v1.0-trainval", crossview_mask=RING)
WAYMO = SourceOptions(
    kind="waymo",
    path="data/waymo",
    # Five cameras; the front one once more stands alone in the sixth place.
    views=("CAM_SIDE_LEFT", "CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_SIDE_RIGHT", "CAM_FRONT"),
    crossview_mask=_mask("xx.... xxx... .xxx.. ..xxx. ...xx. .....x"),
)
ARGOVERSE = SourceOptions(
    kind="argoverse",
    path="data/argoverse",
    views=tuple(
        f"cameras/ring_{camera}"
        for camera in ("front_left", "front_right", "side_right", "rear_right", "rear_left", "side_left")
    ),
    crossview_mask=RING,
)
OPENDV = SourceOptions(
    kind="opendv",
    path="data/opendv",
    views=tuple(f"clip_{number}" for number in range(6)),
    clips_as_views=6,
    lidar_clock=False,
    crossview_mask=APART,
)
SETS = {"n": NUSCENES, "v": PLAIN_NUSCENES, "w": WAYMO, "a": ARGOVERSE, "o": OPENDV}
"""By a letter, as mixes are named: n nuScenes at 12 Hz, v as published (2 Hz), w Waymo, a Argoverse, o OpenDV."""


def training_sets(
    letters: str, frames: int, rates: Sequence[Rate] = EVERY, **changes: Any
) -> tuple[SourceOptions, ...]:
    """Sets to train on; `changes` are for all of them but OpenDV, whose clips are cut as they are."""
    return tuple(_training_set(letter, frames, tuple(rates), changes) for letter in letters)


def held_out_sets(letters: str, frames: int, **changes: Any) -> tuple[SourceOptions, ...]:
    """Sets to look at: a window every 20 seconds, captions as they are."""
    return tuple(_held_out_set(letter, frames, changes) for letter in letters)


def _training_set(letter: str, frames: int, rates: tuple[Rate, ...], changes: dict[str, Any]) -> SourceOptions:
    split = "train" if letter in "nvo" else None
    source = SETS[letter].with_(frames=frames, split=split, words=TRAINED)
    if letter != "o":
        return source.with_(rates=rates, **changes)
    words = TRAINED.with_(align_keys=(), seed=5)
    return source.with_(rates=((10.0, 5.0),), words=words, left_out=("izhGt1GnGFk",))


def _held_out_set(letter: str, frames: int, changes: dict[str, Any]) -> SourceOptions:
    split = "val" if letter in "nvo" else None
    source = SETS[letter].with_(frames=frames, split=split, rates=((10.0, 20.0),), words=TOLD)
    if letter in "nv":
        source = source.with_(check_times=False)
    return source.with_(words=CaptionOptions(), rates=((10.0, 75.0),)) if letter == "o" else source.with_(**changes)
