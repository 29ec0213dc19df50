"""Batches of invented clips, for tests that ask how something is computed and not what is seen."""

from __future__ import annotations

import torch

from dwm.clip_batch import ClipBatch


def invented_batch(b: int, t: int, v: int, size: tuple[int, int] = (32, 16)) -> ClipBatch:
    """Layouts of noise; words that differ from clip to clip."""
    generator, (width, height) = torch.Generator().manual_seed(8), size
    poses = torch.eye(4).repeat(b, t, v, 1, 1)
    poses[..., 0, 3] = torch.arange(t, dtype=torch.float32)[:, None]
    layouts = torch.rand(2, b, t, v, 3, height, width, generator=generator)
    words = ("day clear", "night rain")
    return ClipBatch(
        fps=torch.full((b,), 4.0),
        times=torch.zeros(b, t, v),
        intrinsics=torch.eye(3).repeat(b, t, v, 1, 1),
        ego_from_camera=torch.eye(4).repeat(b, t, v, 1, 1),
        world_from_ego=poses,
        image_size=torch.tensor(size).repeat(b, t, v, 1),
        layout_boxes=layouts[0],
        layout_map=layouts[1],
        captions=tuple(((words[clip % 2],) * v,) * t for clip in range(b)),
        crossview_mask=torch.ones(b, v, v, dtype=torch.bool),
        is_uncalibrated=torch.zeros(b, dtype=torch.bool),
    )
