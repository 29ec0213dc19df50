"""A batch of clips → what a driving network is told, doubled for guidance. Never changes the batch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dwm.base_models import TextEmbedding, TextSource
from dwm.clip import ClipBatch
from dwm.conditions.cameras import UNKNOWN, action_ids, camera_ids, view_matrices
from dwm.conditions.options import ConditionOptions
from dwm.devices import send
from dwm.errors import DwmError
from dwm.networks.inputs import Conditions

FRAME_INDEXED = frozenset(("text", "pooled", "layout", "added_ids", "intrinsics_norm", "ego0_from_camera"))


@dataclass(frozen=True)
class Kept:
    """Which clips keep which condition in training; None keeps all. text stays in the processor's memory, which picks the
    words; the others lie where the clips do.
    """

    text: Bool[Tensor, "b"] | None = None
    boxes: Bool[Tensor, "b"] | None = None
    map: Bool[Tensor, "b"] | None = None
    action: Bool[Tensor, "b"] | None = None
    explicit_view: Bool[Tensor, "b"] | None = None


def build_conditions(
    batch: ClipBatch,
    options: ConditionOptions,
    text: TextSource | None,
    *,
    guidance: bool = False,
    negative_prompt: str = "",
    kept: Kept = Kept(),
    latent_frames: int | None = None,
    size: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
    pose_before: Float[Tensor, "b v 4 4"] | None = None,
    gradients: bool = False,
) -> Conditions:
    """The conditions of `batch`, on its device. With `guidance` the first half is unconditional.

    `size` (width, height) of layout pictures where the batch has none; `latent_frames` where a latent stands for several
    frames; `dtype` of the text; `pose_before` the first frame in a stream; `gradients` trains the text encoders.
    """
    picked = latent_times(batch.shape[1], latent_frames)
    embedding = _text(batch, options, text, picked, guidance, negative_prompt, kept.text, gradients)
    ids = _added_ids(batch, options, kept, pose_before)
    intrinsics, cameras = view_matrices(batch, kept.explicit_view) if options.explicit_view_modeling else (None, None)
    flag = torch.zeros(len(batch.fps), dtype=torch.bool, device=batch.fps.device)
    told = Conditions(
        layout=_layout(batch, options, kept, size),
        added_ids=ids,
        intrinsics_norm=intrinsics,
        ego0_from_camera=cameras,
        crossview_mask=batch.crossview_mask,
        disable_crossview=flag | options.disable_crossview,
        disable_temporal=flag | options.disable_temporal,
        any_crossview=not options.disable_crossview,
        any_temporal=not options.disable_temporal,
    )
    if len(picked) != batch.shape[1]:
        told = _map(told, FRAME_INDEXED, lambda value: torch.stack([value[:, frame] for frame in picked], 1))
    if guidance:
        told = _doubled(told, options)
    if embedding is None:
        return told
    pooled = None if embedding.pooled is None else embedding.pooled.to(dtype)
    return replace(told, text=embedding.sequence.to(dtype), pooled=pooled)


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


def _text(
    batch: ClipBatch,
    options: ConditionOptions,
    text: TextSource | None,
    picked: list[int],
    guidance: bool,
    negative_prompt: str,
    kept: Tensor | None,
    gradients: bool,
) -> TextEmbedding | None:
    """(b t v n d) and (b t v p), the negative prompt's half first with guidance."""
    if not options.text:
        return None
    if text is None:
        raise DwmError("the weights are told captions, but no text encoder was loaded; load the base model with text")
    b, t, v = len(batch.fps), len(picked), batch.shape[2]
    keeps = [True] * b if kept is None else kept.tolist()
    prompts = [
        "" if batch.captions is None or not keeps[i] else batch.captions[i][frame][view]
        for i in range(b)
        for frame in picked
        for view in range(v)
    ]
    if guidance:
        prompts = [negative_prompt] * len(prompts) + prompts
    found = text.encode(prompts, gradients).to(batch.fps.device)
    shape = (2 * b if guidance else b, t, v)
    pooled = None if found.pooled is None else found.pooled.unflatten(0, shape)
    return TextEmbedding(found.sequence.unflatten(0, shape), pooled)


def _layout(
    batch: ClipBatch, options: ConditionOptions, kept: Kept, size: tuple[int, int] | None
) -> Float[Tensor, "b t v k H W"] | None:
    parts = []
    if options.boxes:
        parts.append(_pictures(batch, batch.layout_boxes, kept.boxes, options, size))
    if options.map:
        parts.append(_pictures(batch, batch.layout_map, kept.map, options, size))
    return torch.cat(parts, 3) if parts else None


def _pictures(
    batch: ClipBatch,
    pictures: Tensor | None,
    kept: Tensor | None,
    options: ConditionOptions,
    size: tuple[int, int] | None,
) -> Float[Tensor, "b t v 3 H W"]:
    """Layout pictures with the colour of "not given" where they are missing or dropped."""
    colour = options.uncondition_image_color
    if pictures is None:
        known = next((p for p in (batch.layout_boxes, batch.layout_map, batch.frames) if p is not None), None)
        if known is not None:
            height, width = known.shape[-2:]
        elif size is not None:
            width, height = size
        else:
            raise DwmError("the batch has neither layout nor pictures; give the size of the layout that is not given")
        return torch.full((*batch.shape, 3, height, width), colour, device=batch.fps.device)
    if kept is not None:
        pictures = torch.where(send(kept, pictures.device)[:, None, None, None, None, None], pictures, colour)
    if not options.condition_on_all_frames:
        others = torch.full_like(pictures[:, 1:], colour)
        pictures = torch.cat([pictures[:, :1], others], 1)
    return pictures


def _added_ids(
    batch: ClipBatch, options: ConditionOptions, kept: Kept, before: Tensor | None
) -> Float[Tensor, "b t v i"] | None:
    if options.added_time_ids is None:
        return None
    ids = camera_ids(batch, options)
    if options.added_time_ids.endswith("_action"):
        ids = torch.cat([ids, action_ids(batch, kept.action, before)], -1)
    return ids


def _doubled(told: Conditions, options: ConditionOptions) -> Conditions:
    """The same conditions twice; in the first half what guidance leaves out is not given."""
    twice = _map(told, {item.name for item in fields(Conditions)}, lambda value: torch.cat([value, value]))
    assert twice.disable_temporal is not None  # `build` always sets it
    half = len(twice.disable_temporal) // 2
    if twice.layout is not None:
        twice.layout[:half] = options.uncondition_image_color
    if twice.added_ids is not None and (options.added_time_ids or "").endswith("_action"):
        twice.added_ids[:half, ..., -2:] = UNKNOWN
    return twice


def _map(told: Conditions, names, change) -> Conditions:
    changed = {name: change(value) for name in names if isinstance(value := getattr(told, name), Tensor)}
    return replace(told, **changed)
