"""A batch of clips → what a driving network is told, doubled for guidance. Never changes the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dwm.base_models import TextSource
from dwm.clip_batch import ClipBatch
from dwm.conditions.camera import Camera, ExplicitView
from dwm.conditions.condition import Condition, Request
from dwm.conditions.layout import Boxes, Map
from dwm.conditions.motion import Action
from dwm.conditions.options import ConditionOptions
from dwm.conditions.text import Text
from dwm.errors import DwmError
from dwm.networks.inputs import Conditions

CONDITIONS: list[Condition] = [Text(), Boxes(), Map(), Camera(), Action(), ExplicitView()]
"""Every condition. In this order training draws who keeps them, and channels of one field stand one after another."""


def build_conditions(
    batch: ClipBatch,
    options: ConditionOptions,
    text: TextSource | None,
    *,
    guidance: bool = False,
    negative_prompt: str = "",
    keep: Mapping[str, Bool[Tensor, "b"]] | None = None,
    latent_frames: int | None = None,
    size: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
    pose_before: Float[Tensor, "b v 4 4"] | None = None,
    gradients: bool = False,
) -> Conditions:
    """The conditions of `batch`, on its device. With `guidance` the first half is unconditional.

    `keep`: which clips keep which condition, by name, all where it says nothing; that of text stays in the processor's memory,
    which picks the words. `size` (width, height) of layout pictures where the batch has none; `latent_frames` where a latent
    stands for several frames; `dtype` of the text; `pose_before` the first frame in a stream; `gradients` trains the text
    encoders.
    """
    request = Request(
        batch,
        options,
        tuple(latent_times(batch.shape[1], latent_frames)),
        text,
        keep or {},
        guidance,
        negative_prompt,
        size,
        dtype,
        pose_before,
        gradients,
    )
    return Conditions(**_encoded(request), **_attention(request))


def drawn_names(options: ConditionOptions) -> tuple[str, ...]:
    """The conditions for which training draws who keeps them, in the order of the draws."""
    return tuple(condition.name for condition in CONDITIONS if condition.is_drawn(options))


def dropped_together() -> tuple[str, ...]:
    """The conditions that a clip may lose all at once."""
    return tuple(condition.name for condition in CONDITIONS if condition.dropped_with_all)


def latent_times(frames: int, latent_frames: int | None) -> list[int]:
    """The frames whose conditions a latent gets: all, or the first of the group of frames that each latent stands for."""
    if latent_frames is None or latent_frames == frames:
        return list(range(frames))
    alone = frames % 2
    groups = latent_frames - alone
    if groups < 1 or (frames - alone) % groups:
        raise DwmError(
            f"{frames} frames cannot be shared out to {latent_frames} latents; give 1 + 4k frames for 1 + k latents"
        )
    return [*range(alone), *range(alone, frames, (frames - alone) // groups)]


def _encoded(request: Request) -> dict[str, Any]:
    """What the conditions say, by field, the channels of several one after another."""
    parts: dict[str, list[Tensor]] = {}
    axes: dict[str, int] = {}
    for condition in CONDITIONS:
        if condition.is_used(request.options):
            axes |= condition.fields
            for name, value in condition.encode(request).items():
                parts.setdefault(name, []).append(value)
    return {
        name: tensors[0] if len(tensors) == 1 else torch.cat(tensors, axes[name]) for name, tensors in parts.items()
    }


def _attention(request: Request) -> dict[str, Any]:
    """Which views see each other, and which blocks are left out."""
    batch, options = request.batch, request.options
    count = len(batch.fps) * (2 if request.guidance else 1)
    flag = torch.zeros(count, dtype=torch.bool, device=batch.fps.device)
    mask = batch.crossview_mask
    return {
        "crossview_mask": mask if mask is None or not request.guidance else torch.cat([mask, mask]),
        "disable_crossview": flag | options.disable_crossview,
        "disable_temporal": flag | options.disable_temporal,
        "any_crossview": not options.disable_crossview,
        "any_temporal": not options.disable_temporal,
    }
