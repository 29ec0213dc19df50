"""Plain numbers of how pictures look: how sharp, how much they change from frame to frame, how near to the originals."""

from __future__ import annotations

import math

from dwm.report import Video


def sharpness(video: Video) -> float:
    """The gradient energy: mean squared difference of neighbouring pixels, across plus down. Blur lowers it, noise lifts it."""
    pictures = video.frames
    return float(pictures.diff(dim=-1).square().mean() + pictures.diff(dim=-2).square().mean())


def frame_change(video: Video) -> float:
    """The mean absolute difference between a frame and the next. Motion and shimmer both count; 0 for single frames."""
    return float(video.frames.diff(dim=1).abs().mean()) if video.length > 1 else 0.0


def psnr(video: Video, original: Video) -> float:
    """The peak signal-to-noise ratio over all pictures, dB."""
    error = float((video.frames - original.frames).double().square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)
