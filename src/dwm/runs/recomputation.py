"""Whether a training stage must compute its blocks again in the backward pass: from the estimate of its memory. Trains nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from dwm.checkpoints.locations import base_model_folder
from dwm.config.checks import AUTOENCODER_FACTOR
from dwm.config.cost import SD3_TOKENS, text_tokens
from dwm.config.recipe import Recipe
from dwm.devices import memory
from dwm.networks.cost import Shape, training_cost
from dwm.runs.feed import buckets
from dwm.screen import say
from dwm.training.parallel.ranks import Ranks
from dwm.training.stages.options import DrivingStage

ROOM = 1.25
"""What activations may take over the count: norms in float32, pieces that an allocator cannot use."""
FULL = 0.9
"""Share of the free memory that is planned with."""


@dataclass(frozen=True)
class Recomputation:
    """What a micro-batch needs on a device without recomputation, in bytes, and what is free there."""

    stage: str
    needed: int
    free: int

    @property
    def needful(self) -> bool:
        return self.needed > FULL * self.free

    def line(self) -> str:
        """For the log."""
        what = f"{self.needed / 1e9:.1f} GB without recomputation, {self.free / 1e9:.1f} GB free"
        how = "blocks are computed again in the backward pass" if self.needful else "nothing is computed twice"
        return f"{self.stage}: {what}: {how}"


def recomputes(
    run: Recipe,
    stage: DrivingStage,
    dtype: torch.dtype,
    device: torch.device,
    beside: Iterable[nn.Module | None],
    ranks: Ranks,
) -> bool:
    """Whether a stage's blocks are computed again, as it asks or as its memory must, which the first process says. `beside`:
    what lies on the device with the network. Every process of a run must ask."""
    if (asked := stage.loop.parallel.recompute) is not None:
        return asked
    free = memory(device).free
    if device.type == "cpu":
        free //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    held = sum(tensor.nbytes for part in beside if part is not None for tensor in (*part.parameters(), *part.buffers()))
    shards = stage.loop.parallel.shape(ranks.count)[1] if stage.loop.parallel.mode == "fsdp" else 1
    plan = recomputation(run, stage, dtype, free, held, shards)
    if ranks.first:
        say(plan.line())
    return ranks.any(plan.needful)[0]


def recomputation(
    run: Recipe, stage: DrivingStage, dtype: torch.dtype, free: int, held: int = 0, shards: int = 1
) -> Recomputation:
    """Of a stage that computes in `dtype` where `free` bytes are free and `held` are taken; its weights lie in `shards` pieces."""
    moments = 1.0 if stage.loop.optimizer.kind == "muon" else 2.0
    options = run.driving_network().without_recomputation()
    cost = training_cost(options, largest(run, stage), dtype, False, moments, stage.loop.ema_decay > 0)
    weights = (cost.weights + cost.gradients + cost.optimizer + cost.average) // shards
    return Recomputation(stage.name, held + weights + int(ROOM * cost.activations), free)


def largest(run: Recipe, stage: DrivingStage) -> Shape:
    """The largest micro-batch of a stage."""
    views, factor, folder = (
        stage.batch.views or run.data.views,
        AUTOENCODER_FACTOR,
        base_model_folder(run.base_model or "town"),
    )
    bucket = max(buckets(run.data, stage.batch), key=lambda one: one.tokens(one.cut or views))
    width, height = bucket.size
    text = text_tokens(folder) if folder.is_dir() else SD3_TOKENS
    return Shape(bucket.clips, bucket.frames, bucket.cut or views, height // factor, width // factor, text, factor)
