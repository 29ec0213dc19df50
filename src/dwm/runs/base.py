"""The base model of a run: where it lies, how it is loaded, and a tiny one made where the run has none. Trains nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from dwm.base_models import BaseModel
from dwm.base_models.base import read_json
from dwm.base_models.tiny import create_tiny_base_model
from dwm.checkpoints.locations import base_model_folder
from dwm.config.recipe import Recipe
from dwm.errors import DwmError
from dwm.town import caption_words
from dwm.training.parallel.ranks import current_ranks


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
    return base_model_folder(run.base_model)


def make_base(run: Recipe, output: Path) -> Recipe:
    """The run on a tiny base model of its own, untrained, below `output`. Every process of a run must call it."""
    folder = output / "base"
    if current_ranks().first and not folder.exists():
        create_tiny_base_model(folder, caption_words(), run.training.seed, run.tiny)
    current_ranks().barrier()
    return run.with_(base_model=str(folder))


def frames_per_latent(run: Recipe) -> int:
    """Pictures that a latent stands for: 1, or the compression of a video autoencoder. One that a run trains is of pictures."""
    if run.base_model is None and run.autoencoder_folder is None:
        return 1
    folder = Path(run.autoencoder_folder or base_folder(run))
    config = folder / "vae" / "config.json"
    return int(read_json(config, folder).get("temporal_compression_ratio", 1)) if config.is_file() else 1
