"""A network from nothing, stage by stage: clips, autoencoder, latents, driving network, weights folder.

Each stage has a folder of its own and starts from the averaged weights of the one before. A run that is started again goes
on where it was killed: finished stages are skipped, the one at hand resumes from its last save. It knows no dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from dwm.base_models import BaseModel
from dwm.base_models.base import load_autoencoder, load_text
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.checkpoints.card import WeightsCard
from dwm.checkpoints.folder import write_folder
from dwm.clip import Clip
from dwm.conditions import ConditionOptions
from dwm.data.workers import training_worker_errors
from dwm.devices import default_dtype
from dwm.generation import DrivingPipeline
from dwm.latents.encode import Wanted, encode
from dwm.latents.store import Store, StoredLatents
from dwm.networks import CrossviewTemporalDiT, DiTOptions, zero_extra_blocks, zero_modulation
from dwm.options import Options
from dwm.training.feed.batches import Feed, Stored
from dwm.training.feed.clip_cache import ClipCache, ClipSource, fill
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan
from dwm.training.loop.previews import Previews, first_frames
from dwm.training.loop.step import Callback, Compatibility, LoopOptions
from dwm.training.objectives.driving import ObjectiveOptions
from dwm.training.parallel.ranks import place
from dwm.training.saves import checkpoint
from dwm.training.stages.autoencoder import AutoencoderStageOptions, AutoencoderTask, fold_statistics, latent_statistics
from dwm.training.stages.driving import BatchOptions, DrivingTask, Told
from dwm.training.stages.train import train_together

STATISTICS_CLIPS = 24
"""Clips whose latents give each channel's mean and deviation."""


class AutoencoderStage(Options):
    name: str = Field(..., description="name of the stage's folder")
    loop: LoopOptions = LoopOptions()
    pictures: AutoencoderStageOptions = AutoencoderStageOptions()


class DrivingStage(Options):
    name: str = Field(..., description="name of the stage's folder")
    loop: LoopOptions = LoopOptions()
    batch: BatchOptions = BatchOptions()
    objective: ObjectiveOptions = ObjectiveOptions()


class StagesOptions(Options):
    """All that is trained, in order."""

    size: tuple[int, int] = Field((160, 96), description="width and height of a picture in pixels")
    workers: int = Field(1, gt=0, description="processes that prepare clips")
    base: TinyOptions = TinyOptions()
    network: DiTOptions = DiTOptions()
    conditions: ConditionOptions = ConditionOptions()
    autoencoder: tuple[AutoencoderStage, ...] = Field(
        (), description="stages of the autoencoder; the last may be decoder only"
    )
    driving: tuple[DrivingStage, ...] = Field((), description="stages of the driving network")
    seed: int = Field(0, ge=0, description="of first weights, data order and all noise")
    compatibility: Compatibility = Field("ours", description="reference: sum gradients and count calls as OpenDWM does")
    preview_every: int = Field(500, ge=0, description="steps between two previews; 0: none")
    autocast: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="numbers of matrix products; null: bfloat16 where the device has it"
    )

    def dtype(self) -> torch.dtype:
        """What matrix products are computed in."""
        return default_dtype(torch.device("cpu")) if self.autocast is None else getattr(torch, self.autocast)


@dataclass(frozen=True)
class Looked:
    """What previews are made of: how the weights will be described, and a clip that training never sees."""

    card: WeightsCard
    clip: Clip


class Run:
    """A run's folder and its parts. Every method does its work once and returns what is there if it was done before."""

    def __init__(
        self, options: StagesOptions, folder: Path, callbacks: Sequence[Callback] = (), looked: Looked | None = None
    ):
        self.options, self.folder, self.callbacks, self.looked = options, folder, tuple(callbacks), looked
        self.here = place()

    def clips(self, source: ClipSource | None = None) -> ClipCache:
        """The clips to train on; `source` is read where some are missing."""
        if source is not None:
            fill(self.folder / "clips", source, self.options.size, workers=self.options.workers)
        return ClipCache(self.folder / "clips")

    def base(self, words: Sequence[str] = ()) -> Path:
        """The untrained base model, whose tokenizers know `words` as whole tokens."""
        folder = self.folder / "base"
        if not folder.exists():
            create_tiny_base_model(folder, words, self.options.seed, self.options.base)
        return folder

    def train_autoencoder(self, cache: ClipCache, resume: bool = True, upto: int | None = None) -> None:
        """Trains the autoencoder's stages; after the first one its latents are normalised and its encoder stays as it is."""
        for number, stage in enumerate(self.options.autoencoder[:upto]):
            if self._vae(stage.name).exists():
                continue
            network = load_autoencoder(self.vae_before(number)).model
            task = AutoencoderTask(network, cache, self.options.seed, stage.pictures)
            weights = train_together(task, stage.loop, self.folder / stage.name, resume, self.callbacks)
            if self.here.first:
                network = load_autoencoder(self.vae_before(number)).model
                parts = nn.ModuleDict({**task.module, "autoencoder": network})
                parts.load_state_dict(weights)
                if number == 0:
                    _normalise_latents(network, cache)
                _save_vae(network, self._vae(stage.name))
            self.here.barrier()

    @property
    def store(self) -> Store:
        """Where the latents of all clips lie: those of the first autoencoder stage's encoder."""
        return Store.of(self.folder / "store", self.folder / "base", self.vae_before(1))

    def encode(self, cache: ClipCache) -> None:
        """Stores the latents of all clips; those that are stored are kept."""
        encode([cache], Wanted([cache.size]), self.store, load_autoencoder(self.vae_before(1)), None)

    def feed(self, cache: ClipCache, stage: DrivingStage) -> Feed:
        """The micro-batches of a stage of the driving network."""
        batch, loop = stage.batch, stage.loop
        used = np.arange(max(1, int(len(cache) * batch.share)))
        plan = Plan([(used, [Bucket(cache.size, batch.frames, batch.clips)])], loop.accumulate, loop.seed)
        stored = Stored(StoredLatents(self.store, [cache.size], batch.sample_latents))
        return Feed([cache], Joined.of([len(cache)]), plan, loop.seed, batch.views, stored)

    def train_driving(self, cache: ClipCache, resume: bool = True, upto: int | None = None) -> CrossviewTemporalDiT:
        """Trains the driving network's stages one after the other and returns it with averaged weights."""
        network, text = self.network(0)
        for number, stage in enumerate(self.options.driving[:upto]):
            if (self.folder / stage.name / "weights.safetensors").exists():
                continue
            network, text = self.network(number)
            told = told_by(self.options.conditions, stage, self.options.dtype())
            task = DrivingTask(network, self.feed(cache, stage), told, text)
            callbacks = (*self.callbacks, *self._previews(network, text, stage))
            kept = nn.ModuleDict({"transformer": network, "text": text})
            train_stage(task, stage, self.folder / stage.name, resume, callbacks, kept, self.options.compatibility)
        return self.network(len(self.options.driving[:upto]))[0]

    def network(self, stages_done: int) -> tuple[CrossviewTemporalDiT, nn.Module]:
        """The driving network and the text encoders as they are after so many of its stages."""
        text = load_text(self.folder / "base")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.options.seed)
            network = CrossviewTemporalDiT(self.options.network)
        if stages_done == 0:
            zero_modulation(network)
            zero_extra_blocks(network)
        else:
            path = self.folder / self.options.driving[stages_done - 1].name / "weights.safetensors"
            checkpoint.load_weights(nn.ModuleDict({"transformer": network, "text": text}), path)
        return network, text

    def vae_before(self, stage: int) -> Path:
        """The folder that holds the autoencoder as it was before its stage `stage`."""
        return self.folder / self.options.autoencoder[stage - 1].name if stage else self.folder / "base"

    def export(self, card: WeightsCard, target: Path, driving_stages: int | None = None) -> None:
        """Writes the weights folder in half precision: averaged network, text encoders, the newest autoencoder."""
        count = len(self.options.driving) if driving_stages is None else driving_stages
        network, text = self.network(count)
        write_folder(target, card, network, self._parts(text))

    def _parts(self, text: nn.Module) -> BaseModel:
        """The base model as far as it is trained: these text encoders, the newest autoencoder."""
        done = [number for number, stage in enumerate(self.options.autoencoder) if self._vae(stage.name).exists()]
        autoencoder = load_autoencoder(self.vae_before(done[-1] + 1 if done else 0))
        base = BaseModel.load(self.folder / "base", text=False, autoencoder=False)
        return BaseModel(base.folder, base.scheduler, text, autoencoder)

    def _previews(self, network: CrossviewTemporalDiT, text: nn.Module, stage: DrivingStage) -> tuple[Callback, ...]:
        if self.looked is None or not self.options.preview_every:
            return ()
        pipe = DrivingPipeline(network, self._parts(text), self.looked.card)
        clip = first_frames(self.looked.clip, stage.batch.frames)
        return (Previews(pipe, clip, self.options.preview_every),)

    def _vae(self, stage: str) -> Path:
        return self.folder / stage / "vae"


def told_by(conditions: ConditionOptions, stage: DrivingStage, dtype: torch.dtype) -> Told:
    """What a stage tells and asks its network."""
    batch = stage.batch
    return Told(conditions, stage.objective, None, batch.sample_latents, batch.train_text, dtype=dtype)


def train_stage(
    task: DrivingTask,
    stage: DrivingStage,
    folder: Path,
    resume: bool,
    callbacks: Sequence[Callback],
    kept: nn.Module,
    compatibility: Compatibility = "ours",
) -> None:
    """Trains one stage to its end and writes `kept`, with averaged weights where they were trained, to
    `folder`/weights.safetensors. Every process of a run must call it."""
    with training_worker_errors(getattr(task.feed, "workers", 0)):
        averaged = train_together(task, stage.loop, folder, resume, callbacks, compatibility)
    here = place()
    if here.first:
        checkpoint.save_weights({**kept.state_dict(), **averaged}, folder / "weights.safetensors")
    here.barrier()


def train(
    options: StagesOptions,
    source: ClipSource,
    words: Sequence[str],
    card: WeightsCard,
    output: Path,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    preview: Clip | None = None,
) -> Path:
    """Everything from clips to a weights folder, `output/weights`, which is returned. Goes on where it was stopped.

    `preview`: a clip that is generated every `options.preview_every` steps of the driving network's stages.
    """
    run = Run(options, output, callbacks, None if preview is None else Looked(card, preview))
    with run.here.first_alone():
        cache = run.clips(source)
        run.base(words)
    run.train_autoencoder(cache, resume)
    with run.here.first_alone():
        run.encode(cache)
    run.train_driving(cache, resume)
    if run.here.first:
        run.export(card, output / "weights")
    run.here.barrier()
    return output / "weights"


@torch.no_grad()
def _normalise_latents(network: nn.Module, cache: ClipCache) -> None:
    means = []
    for index in range(0, len(cache), max(1, len(cache) // STATISTICS_CLIPS)):
        frames = cache.clip(index, slice(0, 1), pictures=("frames",)).frames
        assert frames is not None
        means.append(network.encode(frames.flatten(0, 2) * 2 - 1).latent_dist.mean)
    fold_statistics(network, *latent_statistics(torch.cat(means)))


def _save_vae(network: nn.Module, folder: Path) -> None:
    beside = folder.with_name(".vae-part")
    network.save_pretrained(beside)
    beside.rename(folder)
