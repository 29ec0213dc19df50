"""What stands between two key frames: which recorded frame, and where a box is. Arrays only; reads and writes nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from dwm.data.windows import nearest_index

STEPS = 6
"""Frames from one key frame to the next: 2 Hz become 12."""
SHARES: Float[np.ndarray, "5"] = np.arange(1, STEPS) / STEPS
NEARLY_EQUAL = 0.9995
"""Cosine between quaternions above which the chord stands for the arc."""

Grouping = Literal["by_time", "compat"]


def find_gaps(
    group: Int[np.ndarray, "n"], key: Bool[np.ndarray, "n"], sample: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "g 2"]:
    """Rows (sorted by group, then time) of two neighbouring key frames of a group whose samples follow one another."""
    rows = np.flatnonzero(key)
    first, last = rows[:-1], rows[1:]
    follow = (group[first] == group[last]) & (sample[first] + 1 == sample[last])
    return np.stack([first[follow], last[follow]], 1)


def nominal(first: Float[np.ndarray, "g"], last: Float[np.ndarray, "g"]) -> Float[np.ndarray, "g 5"]:
    """The times (µs) that divide each gap evenly."""
    return first[:, None] + SHARES * (last - first)[:, None]


def choose_frames(
    stamps: Float[np.ndarray, "n"], gaps: Int[np.ndarray, "g 2"], grouping: Grouping
) -> Int[np.ndarray, "g 5"]:
    """The five rows that fill each gap.

    by_time: the nearest to the even division, key frames included, the earlier of two equally near. compat: the first five
    sweeps by count, the last one again where there are fewer, the key frame where there is none.
    """
    if grouping == "compat":
        sweeps = gaps[:, 1] - gaps[:, 0] - 1
        return gaps[:, :1] + np.minimum(np.arange(1, STEPS), sweeps[:, None])
    target_times = nominal(stamps[gaps[:, 0]], stamps[gaps[:, 1]])
    indices = np.empty(target_times.shape, np.int64)
    for line, (first, last), times in zip(indices, gaps.tolist(), target_times, strict=True):
        line[:] = first + nearest_index(stamps[first : last + 1], times)
    return indices


def partners(
    instance: Int[np.ndarray, "n"], sample: Int[np.ndarray, "n"], scene_of_sample: Int[np.ndarray, "m"]
) -> Int[np.ndarray, "n"]:
    """For each box the row of the same instance in the scene's next sample, -1 where it is not annotated there."""
    width = len(scene_of_sample) + 1
    names = instance.astype(np.int64) * width + sample
    order = np.argsort(names, kind="stable")
    at = np.minimum(np.searchsorted(names[order], names + 1), max(0, len(names) - 1))
    following = np.minimum(sample + 1, len(scene_of_sample) - 1)
    has_partner = (names[order][at] == names + 1) & (scene_of_sample[following] == scene_of_sample[sample])
    return np.where(has_partner, order[at], -1)


def between_points(first: Float[np.ndarray, "n 3"], last: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 5 3"]:
    """Points that divide straight lines evenly."""
    return first[:, None] + SHARES[:, None] * (last - first)[:, None]


def between_rotations(
    first: Float[np.ndarray, "n 4"], last: Float[np.ndarray, "n 4"], shares: Float[np.ndarray, "k"] = SHARES
) -> Float[np.ndarray, "n k 4"]:
    """Unit quaternions at `shares` of the shorter arcs (by default dividing them evenly); nearly equal ones along the chord.

    All arcs at once: SciPy's `Slerp` knows one path a call, and its rotation vectors take 4 times as long.
    """
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    last = last / np.linalg.norm(last, axis=1, keepdims=True)
    cosine = (first * last).sum(1)
    last, cosine = np.where(cosine[:, None] < 0, -last, last), np.abs(cosine)
    angle = np.arccos(np.minimum(cosine, 1))[:, None]
    chord = (cosine > NEARLY_EQUAL)[:, None]
    sine = np.where(chord, 1, np.sin(angle))
    one = np.where(chord, 1 - shares, np.sin((1 - shares) * angle) / sine)[..., None]
    other = np.where(chord, shares, np.sin(shares * angle) / sine)[..., None]
    mixed = one * first[:, None] + other * last[:, None]
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


def product(one: Float[np.ndarray, "n 4"], other: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Quaternions (w, x, y, z) of turns by `other`, then by `one`."""
    w, x, y, z = one.T
    a, b, c, d = other.T
    return np.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        1,
    )


def turned(rotation: Float[np.ndarray, "n 4"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Each point turned by its unit quaternion (w, x, y, z)."""
    w, axis = rotation[:, :1], rotation[:, 1:]
    across = 2 * np.cross(axis, points)
    return points + w * across + np.cross(axis, across)
