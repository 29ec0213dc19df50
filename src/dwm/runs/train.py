"""Starts a training run from its recipe: clips, base model, stages, weights folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dwm.base_models import BaseModel
from dwm.checkpoints import WeightsCard
from dwm.checkpoints.card import FastOptions, QueueOptions
from dwm.checkpoints.folder import read_card, write_folder
from dwm.checkpoints.locations import AUTOENCODER, is_town
from dwm.clip import Clip
from dwm.config.recipe import Recipe
from dwm.diffusion.process import Ddpm
from dwm.runs.base import base_folder, make_base
from dwm.runs.clips import check_kinds, training_clips, validation_clips
from dwm.runs.driving import driving_material, load_parts
from dwm.runs.fetch import require_networks
from dwm.runs.own_base import check_own_base, make_own_base, own_material, own_start
from dwm.runs.start import started
from dwm.training.feed.clip_cache import ClipSource
from dwm.training.loop.step import Callback
from dwm.training.stages.driving_stage import WEIGHTS, driving_trainings
from dwm.training.stages.stage import Context, run_stages


def train_run(run: Recipe, output: Path, resume: bool, callbacks: Sequence[Callback] = ()) -> Path:
    """Trains and returns the folder of weights. A run that was stopped goes on with `resume`.

    Several processes that a launcher started share it. Raises DwmError where `output` holds another run, or this one and
    `resume` was not given.
    """

    def check() -> None:
        require_networks(run, run.name or "config")
        check_own_base(run)
        check_kinds((*run.data.train, *(run.data.validation if run.preview.every else ())))

    with started(run, output, resume, callbacks, check) as context:
        preview = validation_clips(run.data)[0] if run.preview.every and run.data.validation else None
        return train_stages(run, context, preview=preview)


def train_stages(run: Recipe, context: Context, source: ClipSource | None = None, preview: Clip | None = None) -> Path:
    """Trains all stages of a run that are not finished and writes its weights folder, which is returned.

    source: the clips of a run that makes a base model of its own, None for those of its data. preview: a clip that is
    generated on the way. Every process of a run must call it.
    """
    output = context.folder
    if run.base_model is None and not run.has_own_base:
        run = make_base(run, output)
    if run.base_model is None:
        own = make_own_base(run, source or training_clips(run.data), context)
        saw = card(run)
        material, base_is_own = own_material(run, _previewed(saw), own, context, preview), True
    else:
        parts = load_parts(run)
        saw = _predicting(card(run), run, parts.base)
        material = driving_material(run, _previewed(saw), parts, context.device, preview)
        # Small, and nowhere else: goes with the weights.
        base_is_own = is_town(run.base_model, AUTOENCODER) or base_folder(run).parent == output
    training = run.training
    trainings = driving_trainings(
        run.driving_stages(), material, output, training.freeze, training.epochs, training.distillation
    )
    run_stages(trainings, context)
    if context.ranks.first:
        network, base = material.load(output / trainings[-1].name / WEIGHTS)
        saw = saw if base_is_own else saw.with_(base_model=run.base_model)
        whole, fast = (network, None) if training.distillation is None else (material.start(), network)
        write_folder(output / "weights", saw, whole, base if base_is_own else None, fast=fast)
    context.ranks.barrier()
    return output / "weights"


def _previewed(card: WeightsCard) -> WeightsCard:
    """The card of the network that a run trains."""
    return card if card.fast is None else card.fast_card()


def _predicting(card: WeightsCard, run: Recipe, base: BaseModel) -> WeightsCard:
    """The card with what SD 2.1's network predicts, which its base model says."""
    if run.network.process != "ddpm":
        return card
    return card.with_(prediction=Ddpm.create(base.scheduler).prediction)


def card(run: Recipe) -> WeightsCard:
    """What the finished weights saw: in a distillation what their teacher did."""
    start, distillation = own_start(run), run.training.distillation
    queue = QueueOptions() if run.training.objective.rising else None
    fast = None if distillation is None else FastOptions(num_inference_steps=distillation.steps, queue=queue)
    if start is not None and fast is not None:
        return read_card(start).with_(fast=fast)
    lengths = {length for stage in run.driving_stages() for length in stage.batch.lengths}
    shapes = [shape for stage in run.driving_stages() for shape in stage.batch.mix]
    counts = {run.data.views, *(shape.views or run.data.views for shape in shapes)}
    if start is not None:
        before = read_card(start)
        lengths, counts = lengths | set(before.lengths), counts | set(before.view_counts)
    source = run.data.train[0]
    return WeightsCard(
        name=run.name,
        sizes=(run.data.size,),
        lengths=tuple(sorted(lengths)),
        view_counts=tuple(sorted(counts)),
        views=source.views,
        fps=source.rates[0][0] or 1,
        conditions=run.conditions,
        optional=run.training.objective.optional,
        layout=run.data.layout,
        captions=source.words,
        sampling=run.sampling,
        fast=fast,
        queue=queue,
        compatibility=run.compatibility,
    )
