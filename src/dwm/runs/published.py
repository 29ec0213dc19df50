"""The published weights of a training run as a pipeline: a network's file and a base model, without a folder of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dwm.base_models import BaseModel
from dwm.base_models.finite import require_finite
from dwm.checkpoints import WeightsCard
from dwm.checkpoints.published import network_of, read_state
from dwm.config.recipe import Recipe
from dwm.devices import pick_device, use_free_cores
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.runs.fetch import require
from dwm.runs.precision import chosen_dtype, precision_line
from dwm.screen import say
from dwm.training.saves import checkpoint


def published_card(run: Recipe) -> WeightsCard:
    """What the weights of a run saw. Reads SD 2.1's way of predicting from its base model, where that is here."""
    source = run.data.first
    sizes = {run.data.size, *(mix.size for mix in run.data.mix)} if run.data.train or run.data.validation else set()
    return WeightsCard(
        name=Path(run.weights or run.name).name,
        sizes=(run.data.size, *sorted(sizes - {run.data.size})) if sizes else (),
        lengths=(run.preview.window,) if run.preview.window else (),
        views=source.views,
        fps=source.rates[0][0] or 1,
        conditions=run.conditions,
        optional=run.training.objective.optional,
        layout=source.layout or run.data.layout,
        captions=source.words,
        sampling=run.sampling,
        prediction=_prediction(run),
        compatibility=run.compatibility,
        base_model=run.base_model,
        autoencoder_folder=run.autoencoder_folder,
    )


def published_pipeline(run: Recipe, source: str) -> DrivingPipeline:
    """The network of a run with its published weights, on the run's device.

    `source` names the run's file. Raises DwmError naming what to fetch, from where, how large it is and where to put it.
    """
    base_folder = require(Path(run.base_model or ""), "base model", source)
    if run.autoencoder_folder is not None:
        require(Path(run.autoencoder_folder), "autoencoder", source)
    weights = require(Path(run.weights or ""), "weights", source)
    device = pick_device(run.device)
    use_free_cores()
    dtype = run_dtype(run, device)
    network, report = network_of(run.network, network_weights(weights), weights, dtype)
    base = BaseModel.load(
        base_folder,
        text=run.conditions.text,
        autoencoder_folder=run.autoencoder_folder,
        text_dtype=dtype,
        piece=run.autoencoder_piece,
    )
    card = published_card(run).with_(name=f"{weights.name} ({report})")
    say(precision_line(str(dtype).removeprefix("torch."), device))
    return DrivingPipeline(network.eval().requires_grad_(False), base, card).to(device)


def run_dtype(run: Recipe, device: torch.device) -> torch.dtype:
    """What a training run's weights are held and computed in when they generate: on a device what the run multiplies in, on a
    processor, or where the run does not say, what is fastest there. A run whose weights are narrower keeps theirs."""
    if run.weights_dtype != "float32":
        return getattr(torch, run.weights_dtype)
    return chosen_dtype(None if device.type == "cpu" else run.autocast, device)


def network_weights(source: Path) -> dict[str, Tensor]:
    """The driving network's tensors: of any weights, or of a training run's save (averaged where the run averages)."""
    if not is_save(source):
        return read_state(source / "transformer" if (source / "transformer").is_dir() else source)
    saved = {name.partition(".")[::2]: value for name, value in checkpoint.saved_weights(source).items()}
    weights = {name: value for (part, name), value in saved.items() if part == "transformer"}
    if not weights:
        raise DwmError(f"{source}: is a save of another network than the driving one; take one of a later stage")
    require_finite(source, weights)
    return weights


def is_save(source: Path) -> bool:
    """Whether this is a folder that training saved."""
    return (source / checkpoint.STATE).is_file()


def _prediction(run: Recipe) -> Any:
    if run.network.process != "ddpm":
        return "flow"
    path = Path(run.base_model or "") / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return "epsilon"
    from dwm.base_models.base import read_json

    return read_json(path, path.parents[1]).get("prediction_type", "epsilon")
