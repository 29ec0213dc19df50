"""Trains the driving network on stored latents: which frames and views of which clips make a batch, and its loss.

It takes clips from a cache and knows neither where they came from nor how weights are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from dwm.base_models import TextEncoder
from dwm.clip import ClipBatch
from dwm.conditions import ConditionOptions, build_conditions
from dwm.data import merge
from dwm.devices import autocast
from dwm.networks import CrossviewTemporalDiT
from dwm.options import Options
from dwm.training.clips import ClipCache
from dwm.training.loop import step_generator
from dwm.training.objective import ObjectiveOptions, box_weights, draw, flow_loss, noised
from dwm.training.task import Losses, Work

LAYOUTS = ("layout_boxes", "layout_map")


class BatchOptions(Options):
    """What a micro-batch is made of."""

    clips: int = Field(1, gt=0, description="clips, or parts of clips, in a micro-batch")
    frames: int = Field(1, gt=0, description="consecutive frames of each")
    views: int | None = Field(None, description="views of each, drawn at random; null: all")
    train_text: bool = Field(False, description="train the text encoders with the network")
    share: float = Field(1.0, gt=0, le=1, description="share of the cache's clips that is used")


@dataclass(frozen=True)
class DrivingBatch:
    """Clips with their layouts, and the latents of their pictures."""

    clips: ClipBatch
    latents: Float[Tensor, "b t v c h w"]


class DrivingTask:
    """The driving network, alone or with its text encoders, on clips of a cache."""

    def __init__(
        self,
        network: CrossviewTemporalDiT,
        text: TextEncoder,
        cache: ClipCache,
        conditions: ConditionOptions,
        objective: ObjectiveOptions,
        batch: BatchOptions,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ):
        self.network, self.text, self.cache, self.seed = network, text, cache, seed
        self.device = torch.device("cpu")
        self.objective, self.batch, self.dtype = objective, batch, dtype
        self.single_view = batch.views == 1
        self.conditions = conditions.with_(
            disable_crossview=conditions.disable_crossview or self.single_view,
            disable_temporal=conditions.disable_temporal or batch.frames == 1,
        )
        parts = {"transformer": network.train().requires_grad_(True)}
        if batch.train_text:
            parts["text"] = text.train().requires_grad_(True)
        else:
            text.eval().requires_grad_(False)
        self.module = nn.ModuleDict(parts)

    def batches(self, start: int, every: int = 1) -> Iterator[DrivingBatch]:
        number = start
        while True:
            yield self._batch(number)
            number += every

    def losses(self, batch: DrivingBatch, generator: torch.Generator) -> Losses:
        draws = draw(batch.latents.shape, self.objective, generator, self.conditions.explicit_view_modeling)
        inputs = noised(batch.latents, draws, self.objective)
        told = build_conditions(
            batch.clips, self.conditions, self.text, kept=inputs.kept, gradients=self.batch.train_text
        )
        told = replace(told, disable_temporal=told.disable_temporal | inputs.alone)
        with autocast(batch.latents.device, self.dtype):
            prepared = self.network.prepare(told, batch.latents.shape)
            velocity = self.network(inputs.sample, inputs.timestep, prepared)
        weight = None
        if self.objective.box_weight > 1 and batch.clips.layout_boxes is not None:
            weight = box_weights(batch.clips.layout_boxes, batch.latents.shape[-2:], self.objective.box_weight)
        return Losses(flow_loss(velocity, batch.latents, inputs, self.objective, weight))

    def work(self, batch: DrivingBatch) -> Work:
        return Work(clips=len(batch.latents))

    def identity(self, batch: DrivingBatch) -> str:
        return ", ".join(batch.clips.scenes)

    def blocks(self) -> Sequence[nn.Module]:
        names = ("transformer_blocks", "crossview_transformer_blocks", "temporal_transformer_blocks")
        return [block for name in names for block in getattr(self.network, name, ())]

    def _batch(self, number: int) -> DrivingBatch:
        generator = step_generator(self.seed + 1, number)
        used = max(1, int(len(self.cache) * self.batch.share))
        first = number * self.batch.clips
        parts, latents = [], []
        for index in data_order(used, self.seed, range(first, first + self.batch.clips)):
            start = _draw(self.cache.frames - self.batch.frames + 1, generator)
            frames = slice(start, start + self.batch.frames)
            views = slice(None)
            if self.batch.views is not None:
                left = _draw(self.cache.views - self.batch.views + 1, generator)
                views = slice(left, left + self.batch.views)
            parts.append(self.cache.clip(index, frames, views, LAYOUTS))
            latents.append(self.cache.latents(index, frames, views))
        return DrivingBatch(merge(parts), torch.cat(latents))


def data_order(count: int, seed: int, places: range) -> list[int]:
    """Which of `count` clips stand at `places` of the endless order: each epoch is a permutation of its own."""
    permutations: dict[int, Int[Tensor, "n"]] = {}
    order = []
    for place in places:
        epoch = place // count
        if epoch not in permutations:
            permutations[epoch] = torch.randperm(count, generator=step_generator(seed, -1 - epoch))
        order.append(int(permutations[epoch][place % count]))
    return order


def _draw(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))
