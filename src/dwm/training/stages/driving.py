"""Trains the driving network: a micro-batch of a feed → latents, conditions, noise, prediction, losses.

It takes batches and knows neither where they came from nor how weights are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dwm.base_models import Autoencoder, Moments, TextEncoder, TextSource
from dwm.conditions import ConditionOptions, build_conditions
from dwm.devices import ahead, autocast
from dwm.diffusion.process import NoiseProcess
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet
from dwm.networks.cost import Shape, operations
from dwm.networks.inputs import Conditions
from dwm.training.feed.batches import DrivingBatch
from dwm.training.loop.task import Losses, Work
from dwm.training.objectives.driving import Draws, Noised, box_weights, draw, losses_of, noised
from dwm.training.objectives.options import ObjectiveOptions

Network = CrossviewTemporalDiT | CrossviewTemporalUNet


@runtime_checkable
class Batches(Protocol):
    """What gives micro-batches by number: see `feed`."""

    def batches(self, start: int, every: int = 1) -> Iterator[DrivingBatch]: ...


@dataclass(frozen=True)
class DrivingSettings:
    """How a driving network is trained: what it is told and asked. noising None: the flow of the objective.

    references_alone: first frames that a video autoencoder also encodes by themselves, to be given.
    """

    conditions: ConditionOptions
    objective: ObjectiveOptions
    noising: NoiseProcess | None = None
    sample_latents: bool = True
    train_text: bool = False
    references_alone: int = 0
    dtype: torch.dtype = torch.float32


class DrivingTask:
    """The driving network, as far as it learns, alone or with its text encoders.

    `text` and `autoencoder` may be left out where batches bring embeddings and latents.
    """

    def __init__(
        self,
        network: Network,
        feed: Batches,
        settings: DrivingSettings,
        text: TextEncoder | None = None,
        autoencoder: Autoencoder | None = None,
        device: torch.device | str = "cpu",
    ):
        self.network, self.feed, self.settings = network, feed, settings
        self.text, self.autoencoder, self.device = text, autoencoder, torch.device(device)
        parts: dict[str, nn.Module] = {"transformer": network.train()}
        if text is not None and settings.train_text:
            parts["text"] = text.train().requires_grad_(True)
        elif text is not None:
            text.eval().requires_grad_(False).to(self.device)
        if autoencoder is not None:
            autoencoder.eval().requires_grad_(False).to(self.device)
        self.module, self.dtype = nn.ModuleDict(parts).to(self.device), settings.dtype
        self._operations: dict[tuple[int, ...], float] = {}

    def batches(self, start: int, every: int = 1) -> Iterator[DrivingBatch]:
        return ahead(self.feed.batches(start, every), self.device)

    def losses(self, batch: DrivingBatch, generator: torch.Generator) -> Losses:
        batch = batch.to(self.device)
        _, inputs = self._inputs(batch, generator)
        return self._compared(batch, inputs)

    def _inputs(self, batch: DrivingBatch, generator: torch.Generator) -> tuple[Draws, Noised]:
        """The random numbers of a micro-batch on the device, and what the network gets by them."""
        settings = self.settings
        latents, references = self._latents(batch, generator)
        draws = draw(latents.shape, settings.objective, generator, settings.conditions, settings.noising)
        return draws, noised(latents, draws, settings.objective, settings.noising, references)

    def _compared(self, batch: DrivingBatch, inputs: Noised) -> Losses:
        """The losses of the network's answer against the target of `inputs`."""
        conditions = self._told(batch, inputs)  # text encoders compute in what they are held in
        with autocast(self.device, self.settings.dtype):
            prepared = self.network.prepare(conditions, inputs.sample.shape)
            predicted = self.network(inputs.sample, inputs.timestep, prepared)
        return losses_of(predicted, inputs, self.settings.objective, self._weight(batch, inputs.sample))

    def _told(self, batch: DrivingBatch, inputs: Noised, guidance: bool = False) -> Conditions:
        """What a network is told of a micro-batch; with `guidance` 2·b clips, the unconditional ones first."""
        settings = self.settings
        source: TextSource | None = batch.text or self.text
        if isinstance(source, TextEncoder) and settings.conditions.text and batch.clips.captions is not None:
            source.say_unread([text for clip in batch.clips.captions for row in clip for text in row])
        conditions = build_conditions(
            batch.clips,
            self._conditions(batch),
            source,
            guidance=guidance,
            keep=inputs.keep,
            latent_frames=inputs.sample.shape[1],
            gradients=settings.train_text,
        )
        apart = conditions.disable_temporal
        alone = torch.cat([inputs.alone, inputs.alone]) if guidance else inputs.alone
        return replace(
            conditions,
            disable_temporal=alone if apart is None else apart | alone,
            any_temporal=conditions.any_temporal and inputs.any_together,
        )

    def work(self, batch: DrivingBatch) -> Work:
        shape = self._latent_shape(batch)
        if shape not in self._operations:
            self._operations[shape] = operations(self.network.options, self._shape(batch, shape))
        return Work(shape[0], self.network.tokens(shape), self._operations[shape])

    def identity(self, batch: DrivingBatch) -> str:
        return ", ".join(batch.origins)

    def blocks(self) -> Sequence[nn.Module]:
        return self.network.blocks()

    def _conditions(self, batch: DrivingBatch) -> ConditionOptions:
        """Alone, a frame or a view has no other to look at."""
        _, t, v = batch.clips.shape
        options = self.settings.conditions
        return options.with_(
            disable_crossview=options.disable_crossview or v == 1, disable_temporal=options.disable_temporal or t == 1
        )

    def _latents(self, batch: DrivingBatch, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Latents, and those that given frames show where they are encoded apart."""
        moments, head = (batch.latents, batch.references) if batch.latents is not None else self._encoded(batch)
        latents = self._sample(moments, generator)
        if head is None:
            return latents, None
        samples = self._sample(head, generator)
        return latents, torch.cat([samples, latents[:, samples.shape[1] :]], 1)

    def _sample(self, moments: Moments, generator: torch.Generator) -> Tensor:
        return moments.sample(generator) if self.settings.sample_latents else moments.mean.float()

    @torch.no_grad()
    def _encoded(self, batch: DrivingBatch) -> tuple[Moments, Moments | None]:
        assert self.autoencoder is not None and batch.clips.frames is not None, "no latents, and nothing to make them"
        frames, alone = batch.clips.frames, self.settings.references_alone
        return self.autoencoder.moments(frames), self.autoencoder.moments(frames[:, :alone]) if alone else None

    def _weight(self, batch: DrivingBatch, latents: Tensor) -> Tensor | None:
        boxes, weight = batch.clips.layout_boxes, self.settings.objective.box_weight
        if weight == 1 or boxes is None:
            return None
        height, width = latents.shape[-2:]
        return box_weights(boxes, (height, width), weight)

    def _latent_shape(self, batch: DrivingBatch) -> tuple[int, ...]:
        if batch.latents is not None:
            return tuple(batch.latents.mean.shape)
        assert self.autoencoder is not None and batch.clips.frames is not None
        b, t, v, _, height, width = batch.clips.frames.shape
        return (b, *self.autoencoder.latent_shape(t, v, (width, height)))

    def _shape(self, batch: DrivingBatch, latents: tuple[int, ...]) -> Shape:
        """What the network sees of a micro-batch."""
        if batch.text is not None:
            text = batch.text.embedding.sequence.shape[1]
        else:
            text = 0 if self.text is None else self.text.length
        pictures = next((p for p in (batch.clips.layout_boxes, batch.clips.layout_map) if p is not None), None)
        b, t, v, _, h, w = latents
        return Shape(b, t, v, h, w, text) if pictures is None else Shape(b, t, v, h, w, text, pictures.shape[-1] // w)
