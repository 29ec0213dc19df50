"""What a generation's shortcuts are worth on its own clip: how near the exact pictures, how much faster. Knows no weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dwm.devices import synchronize
from dwm.evaluation.picture_quality import psnr
from dwm.generation.shortcuts import Shortcuts
from dwm.report import Video


@dataclass(frozen=True)
class Worth:
    """psnr: dB of the pictures over those of the exact run. Seconds of both runs: of a processor's time, which other programs
    change little; of the clock on a device."""

    shortcuts: str
    psnr: float
    seconds: float
    exact_seconds: float

    def line(self) -> str:
        return (
            f"{self.shortcuts} against the exact run: PSNR {self.psnr:.1f} dB, {self.exact_seconds / self.seconds:.2f} times as "
            f"fast ({self.seconds:.1f} for {self.exact_seconds:.1f} s)"
        )


def worth_of(
    shortcuts: Shortcuts, short: Callable[[], Video], exact: Callable[[], Video], device: torch.device
) -> tuple[Video, Worth]:
    """The video that `short` generates, and how it compares with the one of `exact`."""
    video, seconds = _timed(short, device)
    reference, exact_seconds = _timed(exact, device)
    return video, Worth(shortcuts.named(), psnr(video, reference), seconds, exact_seconds)


def _timed(work: Callable[[], Video], device: torch.device) -> tuple[Video, float]:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronize(device)
    started = clock()
    video = work()
    synchronize(device)
    return video, clock() - started
