"""Starts a training run from its recipe: clips, base model, stages, weights folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dwm.checkpoints import WeightsCard
from dwm.config.files import CONFIG_NAME, load, save
from dwm.config.recipe import Recipe
from dwm.errors import DwmError
from dwm.runs.clips import check_kinds, training_clips, validation_clips
from dwm.runs.driving import make_base, train_on_base
from dwm.runs.fetch import require_networks
from dwm.town import caption_words
from dwm.training.loop.step import Callback
from dwm.training.parallel.ranks import group, place, restarted
from dwm.training.stages import train

RESUMABLE = ("steps", "save_every", "log_every", "keep", "keep_best", "parallel", "watch")
"""Settings of the loop that may change between a run and its continuation; so may data.workers, data.store and device."""

BEGUN = ("log.jsonl", "state.json")
"""Files of which a run has one as soon as it has done something; a folder without any may be used again."""


def train_run(run: Recipe, output: Path, resume: bool, callbacks: Sequence[Callback] = ()) -> Path:
    """Trains and returns the folder of weights. A run that was stopped goes on with `resume`.

    Several processes that a launcher started share it. Raises DwmError where `output` holds another run, or this one and
    `resume` was not given.
    """
    if not run.data.train:
        raise DwmError(f"{run.name or 'config'}: data.train is empty; there is nothing to train on")
    with group(run.device):
        return _trained(run, output, resume or restarted(), callbacks)


def _trained(run: Recipe, output: Path, resume: bool, callbacks: Sequence[Callback]) -> Path:
    here, refused = place(), None
    if here.first:
        try:
            if run.base_model is not None:
                require_networks(run, run.name or "config")
            check_kinds((*run.data.train, *(run.data.validation if run.preview.every else ())))
            _claim(run, output, resume)
        except DwmError as error:
            refused = error
    if here.any(refused is not None)[0]:
        raise refused or SystemExit(1)  # the first process says it for all
    preview = validation_clips(run.data)[0] if run.preview.every and run.data.validation else None
    if run.base_model is None and not run.autoencoder:
        run = make_base(run, output)
    if run.base_model is not None:
        return train_on_base(run, card(run), output, resume, callbacks, preview)
    return train(run.stages(), training_clips(run.data), caption_words(), card(run), output, resume, callbacks, preview)


def card(run: Recipe) -> WeightsCard:
    """What the finished weights saw."""
    lengths = {stage.batch.frames for stage in run.driving_stages()}
    source = run.data.train[0]
    return WeightsCard(
        name=run.name,
        sizes=(run.data.size,),
        lengths=tuple(sorted(lengths)),
        view_counts=(run.data.views,),
        views=source.views,
        fps=source.rates[0][0] or 1,
        conditions=run.conditions,
        layout=run.data.layout,
        captions=source.words,
        sampling=run.sampling,
        compatibility=run.compatibility,
    )


def _claim(run: Recipe, output: Path, resume: bool) -> None:
    path = output / CONFIG_NAME
    if path.exists() and any(any(output.rglob(name)) for name in BEGUN):
        before = load(path)
        if not resume:
            raise DwmError(f"{output}: holds a run of {before.name} already; add --resume, or choose another --output")
        if different := _differences(before, run):
            raise DwmError(
                f"{path}: the run was started with another {different}; start a new one with another --output"
            )
    save(run, output)


def _differences(before: Recipe, now: Recipe) -> str:
    def comparable(run: Recipe) -> Recipe:
        same = {key: getattr(Recipe().training, key) for key in RESUMABLE}
        data = run.data.with_(workers=0, store=None)
        return run.with_(
            training=run.training.with_(**same), evaluation=Recipe().evaluation, data=data, device=Recipe().device
        )

    old, new = comparable(before), comparable(now)
    return ", ".join(key for key in Recipe.model_fields if getattr(old, key) != getattr(new, key))
