"""The plain numbers of how pictures look answer to what they are named for."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from dwm.evaluation.picture_quality import frame_change, psnr, sharpness
from dwm.report import Video


def video(frames: torch.Tensor) -> Video:
    return Video(frames, 4.0, tuple(f"view {number}" for number in range(frames.shape[2])))


@pytest.fixture
def stripes() -> torch.Tensor:
    return (torch.arange(32) // 4 % 2).float().expand(1, 2, 3, 3, 16, 32) * 0.6 + 0.2


def test_blur_lowers_sharpness_and_noise_lifts_it(stripes):
    blurred = F.avg_pool2d(stripes.flatten(0, 2), 3, 1, 1, count_include_pad=False).view_as(stripes)
    noisy = stripes + 0.1 * torch.randn(stripes.shape, generator=torch.Generator().manual_seed(0))
    assert sharpness(video(blurred)) < 0.6 * sharpness(video(stripes)) < 0.6 * sharpness(video(noisy))


def test_a_still_does_not_change_and_a_jump_does(stripes):
    jump = torch.cat([stripes[:, :1], stripes[:, 1:] + 0.1], 1)
    assert frame_change(video(stripes)) == frame_change(video(stripes[:, :1])) == 0
    assert frame_change(video(jump)) == pytest.approx(0.1, abs=1e-6)


def test_psnr_is_that_of_the_mean_square_error(stripes):
    assert psnr(video(stripes + 0.1), video(stripes)) == pytest.approx(20, abs=1e-3)
    assert psnr(video(stripes), video(stripes)) == math.inf
