"""Which frames make a clip: windows by index or by time over channels that tick on their own. Knows only time stamps (µs)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

Stamps = Float[np.ndarray, "_"]


def nearest_index(stamps: Stamps, instants: Float[np.ndarray, "*k"]) -> Int[np.ndarray, "*k"]:
    """The index of the stamp nearest to each wanted time; the earlier of two equally near; the end outside the range."""
    right = np.clip(np.searchsorted(stamps, instants), 1, max(1, len(stamps) - 1))
    left = right - 1
    right = np.minimum(right, len(stamps) - 1)
    return np.where(stamps[right] - instants < instants - stamps[left], right, left)


def typical_step(stamps: Stamps) -> float:
    """µs from one picture to the next: the mean, which jitter and nominal times do not shift; the median where some are missing."""
    steps = np.diff(stamps)
    median = float(np.median(steps))
    return float(steps.mean()) if steps.max() < 1.9 * median else median


def unevenness(stamps: Stamps, fps: float) -> str | None:
    """How unevenly frames at `fps` fall on pictures with these times, in words; None where fps divides their rate."""
    if fps <= 0 or len(stamps) < 2:
        return None
    step, target_step = typical_step(stamps), 1e6 / fps
    share = target_step / max(step, 1e-3)
    if step <= 0 or (share > 0.5 and abs(share - round(share)) <= 0.03 * share):
        return None
    low, high = np.floor(share) * step / 1000, np.ceil(share) * step / 1000
    lie = "some pictures come twice, the others" if low == 0 else f"frames lie {low:.0f} or"
    return (
        f"{fps:g} fps do not divide the {1e6 / step:.3g} pictures a second that were recorded: {lie} {high:.0f} ms apart "
        f"instead of {target_step / 1000:.0f}"
    )


def frame_windows(
    stamps: Sequence[Stamps],
    keys: Sequence[Bool[np.ndarray, "_"]],
    length: int,
    fps: float,
    stride: float,
    check: bool = True,
    reference_oddity: bool = False,
) -> Int[np.ndarray, "w t s"]:
    """Windows of `length` frames over channels s, of which the first is the clock; an index into each channel's stamps.

    fps 0: by index; a window starts at every `stride`-th frame of the clock (0: at its key frames), the others at their
    nearest. fps > 0: the frames nearest to start + i / fps; starts are `stride` seconds apart (0: at the clock's key frames,
    each channel from its own nearest key frame). `check` drops windows where a frame lies further than half a frame from its
    time. `reference_oddity`: with fps > 0 and stride 0 OpenDWM begins every window at the first key frame.
    """
    if any(len(channel) == 0 for channel in stamps):
        return np.zeros((0, length, len(stamps)), np.int64)
    if fps == 0:
        return _by_index(stamps, keys, length, int(stride))
    starts = _starts(stamps, keys, length, fps, stride, reference_oddity)
    instants = starts[:, None, :] + (np.arange(length) * (1e6 / fps))[None, :, None]
    indices = np.stack([nearest_index(channel, instants[..., s]) for s, channel in enumerate(stamps)], -1)
    if check:
        off = np.stack([np.abs(channel[indices[..., s]] - instants[..., s]) for s, channel in enumerate(stamps)], -1)
        indices = indices[(off <= 0.5e6 / fps).all((1, 2))]
    return indices


def _by_index(
    stamps: Sequence[Stamps], keys: Sequence[Bool[np.ndarray, "_"]], length: int, stride: int
) -> Int[np.ndarray, "w t s"]:
    clock = np.arange(0, len(stamps[0]), stride) if stride else np.flatnonzero(keys[0])
    starts = [clock]
    for channel, key in zip(stamps[1:], keys[1:], strict=True):
        choice = np.arange(len(channel)) if stride else np.flatnonzero(key)
        if len(choice) == 0:
            return np.zeros((0, length, len(stamps)), np.int64)
        starts.append(choice[nearest_index(channel[choice], stamps[0][clock])])
    first = np.stack(starts, -1)
    fits = (first + length <= [len(channel) for channel in stamps]).all(-1)
    return first[fits][:, None, :] + np.arange(length)[None, :, None]


def _starts(
    stamps: Sequence[Stamps],
    keys: Sequence[Bool[np.ndarray, "_"]],
    length: int,
    fps: float,
    stride: float,
    reference_oddity: bool,
) -> Float[np.ndarray, "w s"]:
    limit = stamps[0][-1] - 1e6 * length / fps
    if stride > 0:
        count = int(np.floor((limit - stamps[0][0]) / (1e6 * stride) + 1e-9)) + 1
        clock = stamps[0][0] + 1e6 * stride * np.arange(max(0, count))
        return np.repeat(clock[:, None], len(stamps), 1)
    ticks = [channel[key] for channel, key in zip(stamps, keys, strict=True)]
    if any(len(channel) == 0 for channel in ticks):
        return np.zeros((0, len(stamps)))
    clock = ticks[0][ticks[0] <= limit]
    if reference_oddity:
        clock = np.full_like(clock, ticks[0][0])
    return np.stack([channel[nearest_index(channel, clock)] for channel in ticks], -1)
