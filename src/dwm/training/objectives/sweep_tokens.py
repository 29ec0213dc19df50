"""What the generators of sweeps are trained on: hidden tokens, and noisy latents, both told boxes and map from above."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dwm.conditions.birdseye_layout import drop
from dwm.errors import DwmError
from dwm.networks.lidar.tokens import HIDDEN
from dwm.training.objectives.options import SweepObjective

PICTURE_CHANNELS = 3
SMOOTHING = 0.1


@dataclass(frozen=True)
class HiddenTokens:
    """Ids (b * t, n) with `HIDDEN` in place of what is to be found."""

    ids: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Task:
    """Of every clip how many first frames are known (b), and whether frames are pictures on their own (b, 1)."""

    known: Tensor
    single: Tensor


def keep_draws(b: int, layout: Tensor | None, objective: SweepObjective, generator: torch.Generator) -> list[Tensor]:
    """Of boxes and map which clips keep them, (b) each; a layout of three channels has but one of both."""
    ratios = (objective.keep_boxes, objective.keep_map)
    count = 0 if layout is None else layout.shape[2] // PICTURE_CHANNELS
    if count > len(ratios):
        raise DwmError(f"the layout has {count * PICTURE_CHANNELS} channels; boxes and map have 3 each")
    return [torch.rand(b, generator=generator) < ratio for ratio in ratios[:count]]


def dropped(layout: Tensor | None, keeps: list[Tensor], flattened: bool = False) -> Tensor | None:
    """The layout (b, t, c, H, W) without what is not kept; `flattened` drops it in the first b of all frames alone."""
    if layout is None:
        return None
    parts = []
    for part, keep in zip(layout.split(PICTURE_CHANNELS, dim=2), keeps, strict=True):
        keep = keep.to(part.device)
        parts.append(drop(part.flatten(0, 1), keep).view(part.shape) if flattened else drop(part, keep))
    return torch.cat(parts, dim=2)


def draw_hidden(
    ids: Tensor, objective: SweepObjective, generator: torch.Generator, others: torch.Generator
) -> HiddenTokens:
    """Ids (b, t, n) of which one share, drawn for all, is hidden; known first frames stay as they are."""
    b, t, n = ids.shape
    prediction = bool(torch.rand(1, generator=others) < objective.prediction) and t > 1
    known = torch.randint(1, objective.most_known + 1, (b,), generator=generator)
    known = known.clamp_max(t) if prediction else torch.zeros_like(known)
    ratio = torch.cos(torch.rand(1, generator=generator) * math.pi / 2)
    stay = int(n * (1 - ratio))
    open_frames = torch.arange(t)[None] >= known[:, None]
    hidden = torch.zeros(b, t, n, dtype=torch.bool)
    order = torch.rand(int(open_frames.sum()), n, generator=generator).argsort(dim=1)
    hidden[open_frames] = torch.ones(len(order), n, dtype=torch.bool).scatter(1, order[:, :stay], False)
    hidden = hidden.flatten(0, 1).to(ids.device)
    return HiddenTokens(ids.flatten(0, 1).masked_fill(hidden, HIDDEN), hidden)


def token_loss(logits: Tensor, ids: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy over the hidden tokens (n, tokens), and the share of them that the network has right."""
    each = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none", label_smoothing=SMOOTHING)
    weight = hidden.flatten().to(each)
    count = weight.sum() + 1e-5
    right = (logits.argmax(-1) == ids).flatten().to(each)
    return (each * weight).sum() / count, (right * weight).sum() / count


def draw_task(b: int, t: int, objective: SweepObjective, generator: torch.Generator) -> Task:
    """Clips of single pictures have no known frame, all others 1 to `most_known`."""
    generation = torch.rand(b, 1, generator=generator) < objective.generation
    single = generation & (torch.rand(b, 1, generator=generator) < objective.single)
    known = torch.randint(1, objective.most_known + 1, (b,), generator=generator)
    return Task(known.masked_fill(single[:, 0], 0).clamp_max(t), single)


def known_frames(task: Task, t: int) -> Tensor:
    """(b, t)."""
    return torch.arange(t)[None] < task.known[:, None]


def latent_loss(predicted: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference of latents (b, t, c, h, w) over the frames that are not known (b, t)."""
    weight = (~known).to(predicted)[..., None, None, None].expand_as(predicted)
    return ((predicted.float() - target.float()).square() * weight).sum() / weight.sum().clamp_min(1)
