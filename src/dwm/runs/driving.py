"""Trains a driving network on a base model's folder (SD 3, SD 3.5, SD 2.1): data sets or the store → stages → weights folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dwm.base_models import BaseModel
from dwm.base_models.base import read_json
from dwm.base_models.tiny import create_tiny_base_model
from dwm.checkpoints import WeightsCard
from dwm.checkpoints.folder import TOWN, write_folder
from dwm.checkpoints.published import NETWORKS, LoadReport, load_published
from dwm.checkpoints.published import load_base as load_published_base
from dwm.clip import Clip
from dwm.config.recipe import Recipe
from dwm.devices import default_dtype, pick_device
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.networks import CrossviewTemporalUNet, UNetOptions
from dwm.runs.clips import training_readers, validation_clips
from dwm.runs.feed import stage_feed, stored_of
from dwm.runs.fetch import IN_TRAINING, require
from dwm.town import caption_words
from dwm.training.feed.batches import Feed, Stored
from dwm.training.loop.previews import Previews, Scoring, first_frames
from dwm.training.loop.step import Callback, Moment
from dwm.training.objectives.noising import DdpmNoising
from dwm.training.parallel.ranks import place
from dwm.training.saves import checkpoint
from dwm.training.stages.driving import DrivingTask, Network
from dwm.training.stages.freezing import freeze
from dwm.training.stages.from_nothing import DrivingStage, told_by, train_stage

WEIGHTS = "weights.safetensors"
SCORED_CLIPS = 8
"""Held-out clips that are scored on the way where a run does not say how many."""


@dataclass(frozen=True)
class Parts:
    """What stands around the network while it trains. What the store gives is not loaded."""

    base: BaseModel
    stored: Stored


def train_on_base(
    run: Recipe,
    card: WeightsCard,
    output: Path,
    resume: bool,
    callbacks: Sequence[Callback] = (),
    preview: Clip | None = None,
) -> Path:
    """Trains the stages of `run` one after another and returns the folder of weights. Goes on where it was stopped."""
    device = pick_device(run.device)
    network, report = start_network(run)
    if report is not None and place().first:
        print(f"{run.weights}: {report}", file=sys.stderr)
    parts = load_parts(run)
    if isinstance(network, CrossviewTemporalUNet):
        card = card.with_(prediction=DdpmNoising.create(parts.base.scheduler).prediction)
    for stage in run.driving_stages():
        folder = output / stage.name
        if not (folder / WEIGHTS).exists():
            task = driving_task(run, stage, network, parts, device)
            stage = ending(stage, run.training.epochs if stage.name == "driving" else None, task.feed.plan.steps)
            looks = (*callbacks, *_previews(run, card, parts, network, preview, device))
            looks = (*looks, *_scoring(run, card, parts, network, stage.batch.frames))
            train_stage(task, stage, folder, resume, looks, task.module, run.compatibility)
            network = new_network(run)  # a sharded one cannot be filled from a file
        checkpoint.load_weights(torch.nn.ModuleDict({"transformer": network}), folder / WEIGHTS)
    if place().first:
        own = _is_towns(run) or base_folder(run).parent == output  # small, and nowhere else: goes with the weights
        card = card if own else card.with_(base_model=run.base_model)
        write_folder(output / "weights", card, network, parts.base if own else None)
    return output / "weights"


def ending(stage: DrivingStage, epochs: int | None, steps: int) -> DrivingStage:
    """The stage, ended after so many epochs of `steps` steps where that is sooner."""
    return stage if epochs is None else stage.with_(loop=stage.loop.with_(steps=min(stage.loop.steps, epochs * steps)))


def driving_task(run: Recipe, stage: DrivingStage, network: Network, parts: Parts, device: torch.device) -> DrivingTask:
    """One stage as the loop trains it."""
    if stage.batch.train_text:
        raise DwmError(
            f"{stage.name}: batch.train_text: a base model's text encoders stay as they are; set it to false"
        )
    frozen = freeze(network.requires_grad_(True), run.training.freeze if stage.name == "driving" else None)
    if run.training.freeze is not None and place().first:
        print("\n".join(frozen.lines()), file=sys.stderr)
    dtype = default_dtype(device) if run.autocast is None else getattr(torch, run.autocast)
    told = told_by(run.conditions, stage, dtype)
    if isinstance(network, CrossviewTemporalUNet):
        told = replace(told, noising=DdpmNoising.create(parts.base.scheduler))
    if (per_latent := frames_per_latent(run)) > 1:
        told = replace(
            told,
            objective=told.objective.in_latents(per_latent),
            references_alone=run.training.references_alone,
        )
    return DrivingTask(
        network, run_feed(run, stage, parts, device), told, parts.base.text, parts.base.autoencoder, device
    )


def run_feed(run: Recipe, stage: DrivingStage, parts: Parts, device: torch.device) -> Feed:
    """The micro-batches of a stage; pinned where there is a device to copy to."""
    return stage_feed(run, stage, training_readers(run.data), parts.stored, pin=device.type == "cuda")


def load_parts(run: Recipe) -> Parts:
    """The base model, without what the store gives."""
    stages = run.driving_stages()
    stored = stored_of(run, base_folder(run), any(stage.batch.sample_latents for stage in stages))
    return Parts(
        load_base(run, text=run.conditions.text and stored.texts is None, autoencoder=stored.latents is None), stored
    )


def load_base(run: Recipe, text: bool = True, autoencoder: bool = True) -> BaseModel:
    """The base model of a run, in the precision that it asks for."""
    return BaseModel.load(
        base_folder(run),
        text=text,
        autoencoder=autoencoder,
        autoencoder_folder=run.autoencoder_folder,
        text_dtype=getattr(torch, run.text_dtype),
        piece=run.autoencoder_piece,
    )


def base_folder(run: Recipe) -> Path:
    """The folder of the base model; "town" names that of the weights that come with the package."""
    if run.base_model is None:
        raise DwmError(f"{run.name or 'config'}: base_model is not set; this needs a base model's folder")
    return TOWN if _is_towns(run) else Path(run.base_model)


def make_base(run: Recipe, output: Path) -> Recipe:
    """The run on a tiny base model of its own, untrained, below `output`. Every process of a run must call it."""
    folder = output / "base"
    if place().first and not folder.exists():
        create_tiny_base_model(folder, caption_words(), run.training.seed, run.tiny)
    place().barrier()
    return run.with_(base_model=str(folder))


def _is_towns(run: Recipe) -> bool:
    return run.base_model == "town" and not Path("town").exists()


def frames_per_latent(run: Recipe) -> int:
    """Pictures that a latent stands for: 1, or the compression of a video autoencoder."""
    folder = Path(run.autoencoder_folder or base_folder(run))
    config = folder / "vae" / "config.json"
    return int(read_json(config, folder).get("temporal_compression_ratio", 1)) if config.is_file() else 1


def new_network(run: Recipe) -> Network:
    """`start_network` without its report."""
    return start_network(run)[0]


def start_network(run: Recipe) -> tuple[Network, LoadReport | None]:
    """The driving network with the weights that the run starts from; what they lack begins at random numbers."""
    options = run.network if isinstance(run.network, UNetOptions) else run.dit()
    dtype = getattr(torch, run.weights_dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        if run.weights is None:
            return NETWORKS[type(options)](options).to(dtype), None
        given = Path(run.weights)
        folder = given / "transformer" if (given / "transformer").is_dir() else given
        require(folder, "weights", run.name or "config", IN_TRAINING["weights"])
        return (load_published if run.weights_strict else load_published_base)(options, folder, dtype)


@dataclass(frozen=True)
class _Looks:
    """Previews of a run that has not the whole base model in memory: the first process loads it for each, and lets it go."""

    run: Recipe
    card: WeightsCard
    network: Network
    clip: Clip
    none: BaseModel
    device: torch.device

    def __call__(self, moment: Moment) -> None:
        if moment.step % self.run.preview.every == 0:
            base = load_base(self.run).to(self.device) if moment.here.first else self.none
            Previews(DrivingPipeline(self.network, base, self.card), self.clip, self.run.preview.every)(moment)


def _previews(
    run: Recipe,
    card: WeightsCard,
    parts: Parts,
    network: Network,
    clip: Clip | None,
    device: torch.device,
) -> tuple[Callback, ...]:
    if clip is None or not run.preview.every:
        return ()
    base = parts.base
    if not _can_sample(run, base):
        return (_Looks(run, card, network, clip, base, device),)
    return (Previews(DrivingPipeline(network, base, card), clip, run.preview.every),)


def _can_sample(run: Recipe, base: BaseModel) -> bool:
    """Whether all of the base model that generation needs is in memory; a store leaves parts out."""
    return base.autoencoder is not None and (base.text is not None or not run.conditions.text)


def _scoring(run: Recipe, card: WeightsCard, parts: Parts, network: Network, frames: int) -> tuple[Callback, ...]:
    """Scores on the way, where the run asks for them."""
    if not run.preview.score_every or not run.data.validation:
        return ()
    if not _can_sample(run, parts.base):
        raise DwmError(
            f"{run.name}: preview.score_every needs the base model in memory, which data.store leaves out; set it to 0, and "
            "score the weights with dwm evaluate"
        )
    held_out = validation_clips(run.data)
    count = min(len(held_out), run.preview.score_clips or SCORED_CLIPS)
    clips = [first_frames(held_out[number], frames) for number in range(count)]
    return (Scoring(DrivingPipeline(network, parts.base, card), clips, run.evaluation, run.preview.score_every),)
