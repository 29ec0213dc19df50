"""One picture seen from another camera at several depths (a plane sweep), from calibration and poses alone. It knows no score.

Cameras of a clip are scaled to the size of the pictures that are compared, which may be smaller than the original ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from dwm.clip import Clip
from dwm.geometry import NEAR, inverse
from dwm.report import Video

DEPTHS = (4.0, 5.0, 6.3, 8.0, 10.0, 13.0, 17.0, 23.0, 32.0, 50.0, 100.0, 1000.0)
"""Metres; their steps are about even in pixels."""
WIDEST = 160
"""Pixels across the pictures that are compared."""
PATCH = 7
"""Pixels in a side of the patches that are compared."""
FLAT = 1e-4
"""Variance of luma within a patch below which there is nothing to compare."""


@dataclass(frozen=True)
class Camera:
    """One picture's calibration in pixels of the compared size, and its pose."""

    intrinsics: Float[np.ndarray, "3 3"]
    world_from_camera: Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Sweep:
    """Where each pixel of one picture lies in another one, if it is `DEPTHS` metres away: as `grid_sample` wants it.

    inside says which of those places lie in the other picture.
    """

    grid: Float[Tensor, "k h w 2"]
    inside: Bool[Tensor, "k h w"]

    def warp(self, pictures: Float[Tensor, "n c H W"]) -> Float[Tensor, "n k c h w"]:
        """Other pictures as this one's camera would see them at each depth."""
        k, (n, c) = len(self.grid), pictures.shape[:2]
        many = pictures[:, None].expand(n, k, *pictures.shape[1:]).flatten(0, 1)
        grid = self.grid[None].expand(n, *self.grid.shape).flatten(0, 1)
        return F.grid_sample(many, grid, padding_mode="border", align_corners=False).view(
            n, k, c, *self.grid.shape[1:3]
        )


def shrunk(video: Video) -> Video:
    """The video with pictures at most `WIDEST` pixels wide, so that a patch means the same at every size."""
    width, height = video.size
    if width <= WIDEST:
        return video
    size = (round(height * WIDEST / width), WIDEST)
    small = F.interpolate(video.frames.flatten(0, 2), size, mode="bilinear", antialias=True, align_corners=False)
    return Video(small.unflatten(0, video.frames.shape[:3]), video.fps, video.views)


def camera(clip: Clip, frame: int, view: int, size: tuple[int, int]) -> Camera:
    """The camera of a picture at `size` (width, height)."""
    rig = clip.rig.at(frame)
    scale = np.array([size[0] / rig.image_size[view][0], size[1] / rig.image_size[view][1], 1.0])
    pose = clip.world_from_ego[frame, view] @ rig.ego_from_camera[view]
    return Camera(rig.intrinsics[view] * scale[:, None], pose)


def sweep(one: Camera, other: Camera, size: tuple[int, int]) -> Sweep:
    """Where the pixels of `one` lie in the picture of `other`; both are of `size` (width, height)."""
    width, height = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(one.intrinsics).T
    points = rays[None] * np.array(DEPTHS)[:, None, None, None]
    move = inverse(other.world_from_camera) @ one.world_from_camera
    there = (points @ move[:3, :3].T + move[:3, 3]) @ other.intrinsics.T
    depth = there[..., 2]
    pixels = there[..., :2] / np.where(np.abs(depth) < NEAR, NEAR, depth)[..., None]
    inside = (depth >= NEAR) & (pixels >= 0).all(-1) & (pixels < np.array(size)).all(-1)
    grid = np.clip(pixels / np.array(size) * 2 - 1, -4, 4)
    return Sweep(torch.from_numpy(grid).float(), torch.from_numpy(inside))


def patch_mean(values: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    """The mean over the patch around each pixel; what lies outside the picture does not count."""
    flat = values.reshape(-1, 1, *values.shape[-2:])
    return F.avg_pool2d(flat, PATCH, 1, PATCH // 2, count_include_pad=False).view(values.shape)


def patch_variance(values: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    return (patch_mean(values.square()) - patch_mean(values).square()).clamp(min=0)


def correlation(a: Float[Tensor, "h w"], b: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    """How alike the patches around each pixel are, whatever their brightness and contrast: -1 … 1; about 0 where one is flat."""
    mean_a, mean_b = patch_mean(a), patch_mean(b)
    spread_b = (patch_mean(b.square()) - mean_b.square()).clamp(min=0)
    together = patch_mean(a * b) - mean_a * mean_b
    return together / (patch_variance(a) * spread_b).sqrt().clamp(min=FLAT)
