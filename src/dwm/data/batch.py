"""Clips → `ClipBatch`: loads and resizes pictures, draws layouts, joins words. Draws nothing itself and reads no file format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dwm.clip import Clip
from dwm.clip_batch import ClipBatch, as_floats
from dwm.data.captions import words
from dwm.data.crossview import crossview_mask
from dwm.data.layout import draw_boxes, draw_map
from dwm.data.options import CaptionOptions, LayoutOptions
from dwm.data.sweeps import merge_lidar
from dwm.errors import DwmError

Size = tuple[int, int]
Load = Callable[[int, int, Size | None], np.ndarray]
"""A picture (h, w, 3) of a frame and view at a size."""
Draw = Callable[[Clip, int, int, Size | None, LayoutOptions], np.ndarray]


def collate(
    clips: Sequence[Clip],
    size: Size | None = None,
    layout: LayoutOptions | None = LayoutOptions(),
    pictures: bool = True,
    captions: CaptionOptions = CaptionOptions(),
    random: Sequence[np.random.RandomState] | None = None,
) -> ClipBatch:
    """Clips of one length and view count as one batch, pictures and layouts at `size` (width, height; None: as they are).

    `layout` None leaves layout pictures out, `pictures` False the photographs. `random`, one state per clip, is needed where
    `captions` orders or drops by chance. Raises DwmError where clips differ in shape.
    """
    states = [None] * len(clips) if random is None else random
    return merge([prepare(clip, size, layout, pictures, captions, s) for clip, s in zip(clips, states, strict=True)])


def prepare(
    clip: Clip,
    size: Size | None = None,
    layout: LayoutOptions | None = LayoutOptions(),
    pictures: bool = True,
    captions: CaptionOptions = CaptionOptions(),
    random: np.random.RandomState | None = None,
    as_bytes: bool = False,
) -> ClipBatch:
    """One clip as a batch of one; what a loader's worker does, which leaves pictures `as_bytes` until `ClipBatch.to`."""
    t = clip.length
    texts = None if clip.captions is None else (words(clip.captions, captions, random),)
    draw = partial(_pictures, clip, size, as_bytes)
    photographs = clip.pictures.load if pictures and clip.pictures is not None else None
    boxes = partial(_draw_layout, draw_boxes, clip, layout) if layout is not None and clip.boxes is not None else None
    lanes = partial(_draw_layout, draw_map, clip, layout) if layout is not None and clip.map is not None else None
    return ClipBatch(
        fps=torch.tensor([clip.fps], dtype=torch.float32),
        times=_relative_ms(clip),
        intrinsics=_per_frame(clip.rig.intrinsics, t, clip.rig.changes).float(),
        ego_from_camera=_per_frame(clip.rig.ego_from_camera, t, clip.rig.changes).float(),
        world_from_ego=torch.from_numpy(np.asarray(clip.world_from_ego, np.float32))[None],
        image_size=_per_frame(clip.rig.image_size, t, clip.rig.changes).long(),
        frames=draw(photographs),
        layout_boxes=draw(boxes),
        layout_map=draw(lanes),
        captions=texts,
        crossview_mask=crossview_mask(clip),
        scenes=(clip.scene,),
    )


def merge(batches: Sequence[ClipBatch]) -> ClipBatch:
    """Batches of one shape as one; a layout that only some clips have is black for the others."""
    if not batches:
        raise DwmError("a batch needs at least one clip; found none")
    first = batches[0]
    for batch in batches[1:]:
        if batch.shape[1:] != first.shape[1:]:
            raise DwmError(
                f"clips of one batch differ in (frames, views): {first.scenes[:1]} has {first.shape[1:]}, "
                f"{batch.scenes[:1]} has {batch.shape[1:]}; cut windows of one length and view list"
            )
    joined: dict[str, Any] = {
        item.name: _join(item.name, batches)
        for item in fields(ClipBatch)
        if item.name not in ("captions", "scenes", "lidar")
    }
    captions = None
    texts = [batch.captions for batch in batches if batch.captions is not None]
    if len(texts) == len(batches):
        captions = tuple(clip for words in texts for clip in words)
    sweeps = [batch.lidar for batch in batches if batch.lidar is not None]
    lidar = merge_lidar(sweeps) if len(sweeps) == len(batches) else None
    names = tuple(name for batch in batches for name in batch.scenes)
    return ClipBatch(captions=captions, scenes=names, lidar=lidar, **joined)


def _join(name: str, batches: Sequence[ClipBatch]) -> Tensor | None:
    values = [getattr(batch, name) for batch in batches]
    tensors = [value for value in values if value is not None]
    if not tensors:
        return None
    if len(tensors) < len(values):
        if not name.startswith("layout"):
            lacking = batches[next(i for i, value in enumerate(values) if value is None)]
            raise DwmError(f"clip {lacking.scenes[0]}: has no {name} while other clips of the batch do")
        values = [torch.zeros_like(tensors[0][:1]) if value is None else value for value in values]
    if len({value.shape[1:] for value in values}) > 1:
        raise DwmError(
            f"clips of one batch differ in the shape of {name}: {sorted({tuple(v.shape) for v in values})}; give a size"
        )
    return values[0] if len(values) == 1 else torch.cat(values)


def _relative_ms(clip: Clip) -> Float[Tensor, "1 t v"]:
    """Whole ms since the first frame of the first sensor (the LiDAR where there is one), rounded half up as published."""
    start = clip.times[0, 0] if clip.lidar is None else clip.lidar.times[0]
    return torch.from_numpy(np.floor_divide(clip.times - start + 500, 1000).astype(np.float32))[None]


def _per_frame(value: np.ndarray, frames: int, per_frame: bool) -> Tensor:
    """(1, t, v, …) of what a rig holds for a clip of so many frames."""
    each = torch.from_numpy(np.ascontiguousarray(value))
    return each[None] if per_frame else each.expand(1, frames, *value.shape)


def _draw_layout(draw: Draw, clip: Clip, layout: LayoutOptions, frame: int, view: int, size: Size | None) -> np.ndarray:
    return draw(clip, frame, view, size, layout)


def _pictures(clip: Clip, size: Size | None, as_bytes: bool, load: Load | None) -> Tensor | None:
    """(1, t, v, 3, h, w) of all pictures of a clip, each written to its place as it comes; None where nothing gives any."""
    if load is None:
        return None
    (t, v), pixels_read = clip.times.shape, None
    for i in range(t):
        for j in range(v):
            picture = load(i, j, size)
            if pixels_read is None:
                pixels_read = np.empty((1, t, v, *picture.shape), np.uint8)
            if picture.shape != pixels_read.shape[3:]:
                raise DwmError("the views' pictures differ in size; give a size (width, height) to resize them to")
            pixels_read[0, i, j] = picture
    pixels = torch.from_numpy(pixels_read).permute(0, 1, 2, 5, 3, 4)
    return pixels if as_bytes else as_floats(pixels)
