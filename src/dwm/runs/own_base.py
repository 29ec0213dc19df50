"""A base model of a run's own: clips, a tiny base model, its autoencoder stage by stage, and the latents of all clips.

What it leaves below the run's folder: `clips/`, `base/`, a folder for each stage of the autoencoder, `store/`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dwm.base_models import BaseModel
from dwm.base_models.base import load_autoencoder, load_text
from dwm.base_models.tiny import create_tiny_base_model
from dwm.checkpoints import WeightsCard
from dwm.checkpoints.folder import load_state
from dwm.checkpoints.locations import AUTOENCODER, CARD, FAST, NETWORK, resolve
from dwm.clip import Clip
from dwm.config.recipe import Recipe
from dwm.errors import DwmError
from dwm.evaluation.networks.files import find
from dwm.latents.encode import Extent, encode
from dwm.latents.store import Store, StoredLatents
from dwm.networks.kinds import kind_of
from dwm.runs.driving import Parts, blank_network, driving_material
from dwm.town import caption_words
from dwm.training.feed.batches import Stored
from dwm.training.feed.clip_cache import ClipCache, ClipSource, fill
from dwm.training.stages.autoencoder_stage import AutoencoderStages
from dwm.training.stages.driving import Network
from dwm.training.stages.driving_stage import DrivingMaterial
from dwm.training.stages.stage import Context, run_stages


@dataclass(frozen=True)
class OwnBase:
    """What there is once a base model was made, or that of finished weights copied."""

    folder: Path
    stages: AutoencoderStages
    cache: ClipCache
    store: Store

    def load(self) -> BaseModel:
        """The base model with the newest autoencoder; its text encoders are untrained."""
        base = BaseModel.load(self.folder, autoencoder=False)
        return replace(base, autoencoder=load_autoencoder(self.stages.newest))


def make_own_base(run: Recipe, source: ClipSource, context: Context) -> OwnBase:
    """Everything that comes before the driving network. What was done before is not done again; every process must call it."""
    folder, base = context.folder, context.folder / "base"
    with context.ranks.first_alone():
        fill(folder / "clips", source, run.data.size, workers=max(1, run.data.workers))
        if not base.exists():
            _begin_base(run, base)
    cache, stages = ClipCache(folder / "clips"), AutoencoderStages(run.autoencoder_stages(), folder, base)
    # A small autoencoder gains little from half precision and loses colours: it takes it only where the run asks for it.
    plain = context if run.autocast is not None else replace(context, dtype=torch.float32)
    run_stages(stages.trainings(cache, run.training.seed), plain)
    store = Store.of(folder / "store", base, stages.encoder)
    with context.ranks.first_alone():
        encode([cache], Extent([cache.size]), store, load_autoencoder(stages.encoder), None, device=context.device)
    return OwnBase(base, stages, cache, store)


def own_material(
    run: Recipe, card: WeightsCard, own: OwnBase, context: Context, preview: Clip | None = None
) -> DrivingMaterial:
    """What the stages of the driving network share that is trained on a base model of its own."""
    samples = any(stage.batch.sample_latents for stage in run.driving_stages())
    parts = Parts(own.load(), Stored(StoredLatents(own.store, [own.cache.size], samples)), lambda: [own.cache])
    return replace(
        driving_material(run, card, parts, context.device, preview),
        start=lambda: _first_network(run),
        own_text=lambda: load_text(own.folder),
    )


def check_own_base(run: Recipe) -> None:
    """Raises DwmError where weights to go on from, or the features that a base model of the run's own learns by, are missing."""
    own_start(run)
    if any(stage.pictures.needs_features for stage in run.autoencoder):
        find("efficientnet")


def own_start(run: Recipe) -> Path | None:
    """The folder of finished weights whose network and base model a run that trains both goes on from; None: from nothing.

    Raises DwmError for a folder without a base model.
    """
    if run.weights is None or not run.has_own_base:
        return None
    folder = resolve(run.weights)
    if not (folder / AUTOENCODER).is_file():
        raise DwmError(
            f"weights: {folder} holds no {AUTOENCODER}; this run goes on from that of its weights: give weights with their base "
            "model beside them, or train on one with base_model"
        )
    return folder


def _begin_base(run: Recipe, base: Path) -> None:
    """A tiny base model of first numbers, or a copy of the one beside the weights that the run goes on from."""
    start = own_start(run)
    if start is None:
        create_tiny_base_model(base, caption_words(), run.training.seed, run.tiny)
        return
    beside = base.with_name(".base-part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(start, beside, ignore=shutil.ignore_patterns(NETWORK, FAST, CARD))
    beside.rename(base)


def _first_network(run: Recipe) -> Network:
    """The network of the weights that the run goes on from, or one from nothing."""
    network, start = blank_network(run), own_start(run)
    if start is None:
        return _at_identity(network)
    load_state(network, start / NETWORK, getattr(torch, run.weights_dtype))
    return network


def _at_identity(network: Network) -> Network:
    """New blocks and modulation begin as if they were not there, which a network from nothing learns fastest from."""
    at_identity = kind_of(network.options).at_identity
    if at_identity is None:
        raise DwmError(
            "network: a run that trains a base model of its own trains a DiT on it; choose a recipe with a DiT"
        )
    at_identity(network)
    return network
