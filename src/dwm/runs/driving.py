"""From a recipe to what the stages of its driving network share: first weights, base model, feed, previews and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from dwm.base_models import BaseModel
from dwm.checkpoints import WeightsCard
from dwm.checkpoints.published import LoadReport, load_published
from dwm.checkpoints.published import load_base as load_published_base
from dwm.clip import Clip
from dwm.config.recipe import Recipe
from dwm.data.readers import Reader
from dwm.diffusion.process import Ddpm
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.networks.kinds import kind_of
from dwm.runs.base import base_folder, frames_per_latent, load_base
from dwm.runs.clips import training_readers, validation_clips
from dwm.runs.feed import stage_feed, stored_of
from dwm.runs.fetch import IN_TRAINING, require
from dwm.runs.recomputation import recomputes
from dwm.screen import say
from dwm.training.feed.batches import Feed, Stored
from dwm.training.loop.previews import Previews, Scoring, first_frames
from dwm.training.loop.step import Callback, Moment
from dwm.training.parallel.ranks import current_ranks
from dwm.training.stages.driving import DrivingSettings, Network
from dwm.training.stages.driving_stage import DrivingMaterial
from dwm.training.stages.options import DrivingStage

SCORED_CLIPS = 8
"""Held-out clips that are scored on the way where a run does not say how many."""


@dataclass(frozen=True)
class Parts:
    """What stands around the network while it trains: the base model, without what the store gives; the store; the data."""

    base: BaseModel
    stored: Stored
    readers: Callable[[], Sequence[Reader]]


def load_parts(run: Recipe) -> Parts:
    """The parts of a run on a base model's folder."""
    stages = run.driving_stages()
    stored = stored_of(run, base_folder(run), any(stage.batch.sample_latents for stage in stages))
    text = run.conditions.text and stored.texts is None
    base = load_base(run, text=text, autoencoder=stored.latents is None)
    return Parts(base, stored, lambda: training_readers(run.data))


def driving_material(
    run: Recipe, card: WeightsCard, parts: Parts, device: torch.device, preview: Clip | None = None
) -> DrivingMaterial:
    """What the stages of a run on a base model share. `preview`: a clip that is generated on the way."""
    for stage in run.driving_stages():
        if stage.batch.train_text and run.base_model is not None:
            raise DwmError(
                f"{stage.name}: batch.train_text: a base model's text encoders stay as they are; set it to false"
            )

    def watchers(stage: DrivingStage, network: Network, base: BaseModel) -> tuple[Callback, ...]:
        clip = preview if run.base_model is not None or preview is None else first_frames(preview, stage.batch.frames)
        previews = _previews(run, card, base, network, clip, device)
        return (*previews, *_scoring(run, card, base, network, stage.batch.frames))

    return DrivingMaterial(
        start=partial(_started, run),
        blank=partial(blank_network, run),
        base=parts.base,
        feed=lambda stage: run_feed(run, stage, parts, device),
        settings=lambda stage, dtype: driving_settings(run, stage, dtype, parts.base.scheduler),
        watchers=watchers,
        recomputes=lambda stage, base, context: recomputes(
            run, stage, context.dtype, context.device, (base.text, base.autoencoder), context.ranks
        ),
    )


def run_feed(run: Recipe, stage: DrivingStage, parts: Parts, device: torch.device) -> Feed:
    """The micro-batches of a stage; pinned where there is a device to copy to."""
    return stage_feed(run, stage, parts.readers(), parts.stored, pin=device.type == "cuda")


def driving_settings(run: Recipe, stage: DrivingStage, dtype: torch.dtype, scheduler: dict) -> DrivingSettings:
    """What a stage tells and asks its network. `scheduler`: the base model's, which SD 2.1 predicts by."""
    batch, per_latent = stage.batch, frames_per_latent(run)
    return DrivingSettings(
        run.conditions,
        stage.objective.in_latents(per_latent) if per_latent > 1 else stage.objective,
        Ddpm.create(scheduler) if run.network.process == "ddpm" else None,
        batch.sample_latents,
        batch.train_text,
        run.training.references_alone if per_latent > 1 else 0,
        dtype,
    )


def blank_network(run: Recipe) -> Network:
    """The driving network with first numbers, which depend on the seed alone."""
    options = run.driving_network()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        return kind_of(options).network()(options).to(getattr(torch, run.weights_dtype))


def start_network(run: Recipe) -> tuple[Network, LoadReport | None]:
    """The driving network with the weights that the run starts from; what they lack begins at random numbers."""
    if run.weights is None:
        return blank_network(run), None
    options = run.driving_network()
    weights = Path(run.weights)
    folder = weights / "transformer" if (weights / "transformer").is_dir() else weights
    require(folder, "weights", run.name or "config", IN_TRAINING["weights"])
    load = load_published if run.weights_strict else load_published_base
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        return load(options, folder, getattr(torch, run.weights_dtype))


def _started(run: Recipe) -> Network:
    network, report = start_network(run)
    if report is not None and current_ranks().first:
        say(f"{run.weights}: {report}")
    return network


@dataclass(frozen=True)
class _LoadedPreviews:
    """Previews of a run that has not the whole base model in memory: the first process loads it for each, and lets it go."""

    run: Recipe
    card: WeightsCard
    network: Network
    clip: Clip
    none: BaseModel
    device: torch.device

    def __call__(self, moment: Moment) -> None:
        if moment.step % self.run.preview.every == 0:
            base = load_base(self.run).to(self.device) if moment.ranks.first else self.none
            Previews(DrivingPipeline(self.network, base, self.card), self.clip, self.run.preview.every)(moment)


def _previews(
    run: Recipe,
    card: WeightsCard,
    base: BaseModel,
    network: Network,
    clip: Clip | None,
    device: torch.device,
) -> tuple[Callback, ...]:
    if clip is None or not run.preview.every:
        return ()
    if not _can_sample(run, base):
        return (_LoadedPreviews(run, card, network, clip, base, device),)
    return (Previews(DrivingPipeline(network, base, card), clip, run.preview.every),)


def _can_sample(run: Recipe, base: BaseModel) -> bool:
    """Whether all of the base model that generation needs is in memory; a store leaves parts out."""
    return base.autoencoder is not None and (base.text is not None or not run.conditions.text)


def _scoring(run: Recipe, card: WeightsCard, base: BaseModel, network: Network, frames: int) -> tuple[Callback, ...]:
    """Scores on the way, where the run asks for them."""
    if not run.preview.score_every or not run.data.validation:
        return ()
    if not _can_sample(run, base):
        raise DwmError(
            f"{run.name}: preview.score_every needs the base model in memory, which data.store leaves out; set it to 0, and "
            "score the weights with dwm evaluate"
        )
    held_out = validation_clips(run.data)
    count = min(len(held_out), run.preview.score_clips or SCORED_CLIPS)
    clips = [first_frames(held_out[number], frames) for number in range(count)]
    return (Scoring(DrivingPipeline(network, base, card), clips, run.evaluation, run.preview.score_every),)
