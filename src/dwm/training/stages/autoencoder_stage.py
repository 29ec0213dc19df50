"""Stages of a picture autoencoder: each starts from the one before and leaves `vae/` in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from dwm.base_models.base import load_autoencoder
from dwm.training.feed.clip_cache import ClipCache
from dwm.training.loop.options import LoopOptions
from dwm.training.loop.step import Callback
from dwm.training.stages.autoencoder import AutoencoderTask, fold_statistics, latent_statistics
from dwm.training.stages.options import AutoencoderStage
from dwm.training.stages.stage import Context

STATISTICS_CLIPS = 24
"""Clips whose latents give each channel's mean and deviation."""


@dataclass(frozen=True)
class AutoencoderTraining:
    """One stage. `before` holds the autoencoder that it starts from; `normalise`: its latents get mean 0 and deviation 1."""

    options: AutoencoderStage
    before: Path
    cache: ClipCache
    seed: int
    normalise: bool

    @property
    def name(self) -> str:
        return self.options.name

    def finished(self, context: Context) -> bool:
        return (context.folder / self.name / "vae").exists()

    def task(self, context: Context) -> AutoencoderTask:
        network = load_autoencoder(self.before).model
        return AutoencoderTask(network, self.cache, self.seed, self.options.pictures, context.device, context.dtype)

    def loop(self, task: AutoencoderTask) -> LoopOptions:
        return self.options.loop

    def callbacks(self, context: Context, task: AutoencoderTask) -> Sequence[Callback]:
        return ()

    def write(self, context: Context, task: AutoencoderTask, averaged: Mapping[str, Tensor]) -> None:
        network = load_autoencoder(self.before).model
        own = {name.removeprefix("autoencoder."): value for name, value in averaged.items()}
        network.load_state_dict({name: own[name] for name in network.state_dict()})
        if self.normalise:
            _normalise_latents(network, self.cache)
        folder = context.folder / self.name
        beside = folder / ".vae-part"
        network.save_pretrained(beside)
        beside.rename(folder / "vae")


@dataclass(frozen=True)
class AutoencoderStages:
    """All stages of an autoencoder that starts in `base`. After the last one that trains it, the encoder stays as it is."""

    options: Sequence[AutoencoderStage]
    folder: Path
    base: Path

    def before(self, number: int) -> Path:
        """The folder that holds the autoencoder as it was before stage `number`."""
        return self.folder / self.options[number - 1].name if number else self.base

    def trainings(self, cache: ClipCache, seed: int) -> list[AutoencoderTraining]:
        return [
            AutoencoderTraining(stage, self.before(number), cache, seed, normalise=not stage.pictures.decoder_only)
            for number, stage in enumerate(self.options)
        ]

    @cached_property
    def encoder(self) -> Path:
        """The folder whose encoder makes the latents."""
        ends = [number + 1 for number, stage in enumerate(self.options) if not stage.pictures.decoder_only]
        return self.before(ends[-1] if ends else 0)

    @property
    def newest(self) -> Path:
        """The folder of the last stage that is finished."""
        numbers = [number for number, stage in enumerate(self.options) if (self.folder / stage.name / "vae").exists()]
        return self.before(numbers[-1] + 1 if numbers else 0)


@torch.no_grad()
def _normalise_latents(network: nn.Module, cache: ClipCache) -> None:
    means = []
    for index in range(0, len(cache), max(1, len(cache) // STATISTICS_CLIPS)):
        frames = cache.clip(index, slice(0, 1), pictures=("frames",)).frames
        assert frames is not None
        means.append(network.encode(frames.flatten(0, 2) * 2 - 1).latent_dist.mean)
    fold_statistics(network, *latent_statistics(torch.cat(means)))
