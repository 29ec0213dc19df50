"""`warp_error`: does each frame follow from the one before, as the car's own motion moves the cameras?

Each frame is drawn again from the next one, every patch at the depth at which it fits best, and compared with itself. Flicker,
noise and wrong motion make that error larger than the real clip's, blur and standing pictures smaller: the distance from 1 counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dwm.clip import Clip
from dwm.evaluation.details import mean
from dwm.evaluation.score import Pair, Statistics, Values
from dwm.evaluation.sweep import camera, patch_mean, shrunk, sweep
from dwm.report import ScoreLine, Video
from dwm.report.video import spread_frames

STEPS = 2
"""Pairs of neighbouring frames of a clip that are looked at, spread over it."""
SMALLEST = 2e-3
"""Of an error: half a grey level, which rounding alone makes; a standing car's real error may be less."""


@dataclass(frozen=True)
class WarpError:
    """deviation: mean over clips and views of |log2(generated error / real error)|; ratio: the two errors' geometric mean ratio."""

    deviation: float
    ratio: float
    clips: int

    @property
    def headline(self) -> float:
        return self.deviation

    def line(self) -> ScoreLine:
        meaning = (
            f"Drawn again from the next frame by the car's own motion, a generated frame is ×{self.ratio:.2f} as far off as a real "
            f"one ({self.clips} clips): above 1 it flickers or moves otherwise, below it is smoother than real. By view and clip "
            f"the factor is off by 2^{self.deviation:.2f}; 0 is real."
        )
        return ScoreLine("warp_error", f"{self.deviation:.2f}", meaning)


class WarpErrorScore:
    def keep(self, pair: Pair) -> Statistics:
        return {
            "generated": warp_error(pair.clip, pair.generated).mean(dim=0),
            "real": warp_error(pair.clip, pair.real).mean(dim=0),
        }

    def result(self, statistics: Sequence[Statistics]) -> WarpError:
        return WarpError(mean(self.values(statistics).clips), 2 ** mean(_logs(statistics)), len(statistics))

    def values(self, statistics: Sequence[Statistics]) -> Values:
        deviations = np.abs(_logs(statistics))
        return Values(np.array([mean(row) for row in deviations]), deviations)


def warp_error(clip: Clip, video: Video) -> Float[Tensor, "k v"]:
    """The mean absolute difference (of RGB in 0 … 1) of frames to what the next frames make of them, pair by pair of frames."""
    small = shrunk(video)
    pictures = small.frames[0]
    errors = [
        [_error(clip, pictures[:, view], frame, view, small.size) for view in range(len(video.views))]
        for frame in spread_frames(video.length - 1, STEPS)
    ]
    return torch.tensor(errors)


def _error(clip: Clip, pictures: Float[Tensor, "t 3 h w"], frame: int, view: int, size: tuple[int, int]) -> float:
    moved = sweep(camera(clip, frame, view, size), camera(clip, frame + 1, view, size), size)
    again = moved.warp(pictures[frame + 1][None])[0]
    difference = patch_mean((again - pictures[frame]).abs().mean(dim=1))
    best = torch.where(moved.inside, difference, torch.inf).amin(dim=0)
    inside = moved.inside.any(dim=0)
    return float(best[inside].mean()) if inside.any() else float("nan")


def _logs(statistics: Sequence[Statistics]) -> Float[np.ndarray, "n v"]:
    generated, real = (
        torch.stack([clip[side] for clip in statistics]).double().numpy() for side in ("generated", "real")
    )
    return np.log2(np.maximum(generated, SMALLEST) / np.maximum(real, SMALLEST))
