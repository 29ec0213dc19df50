"""Files that a run needs and others publish: what each is, from where, how large, and where to put it. Fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dwm.base_models.known_folders import where_to_fetch
from dwm.config.lidar import LidarRecipe, TokenGenerator
from dwm.config.recipe import Recipe
from dwm.data.open import format_of, is_drawn
from dwm.errors import DwmError

PUBLISHER = "https://huggingface.co/wzhgba/opendwm-models"
PARAMETERS = {
    "ctsd_35_xs": 2.1,
    "ctsd_35_crossview": 3.1,
    "ctsd_35_tirda_nwao": 3.8,
    "ctsd_35": 4.1,
    "ctsd_unimlvg": 3.3,
    "ctsd_21_crossview": 1.4,
    "ctsd_21_tirda_nwao": 1.9,
    "ctsd_21": 2.0,
}
"""Beginnings of the names of OpenDWM's weights, with billions of parameters."""


OTHERWISE = "or try the built-in weights: the same command of OpenDWM's with --tiny, or dwm generate without -c"
IN_TRAINING = {
    "base model": "or try a recipe's twin (`dwm train NAME-tiny`), which needs no files",
    "autoencoder": "or try a recipe's twin (`dwm train NAME-tiny`), which needs no files",
    "weights": "or start from random numbers with weights=null (in OpenDWM's config: without model_checkpoint_path)",
}
"""What else can be done where one of these is missing and a run is to be trained."""


class Needed(NamedTuple):
    """A file or folder that a run opens: the setting that names it, where, and what it is."""

    key: str
    path: str
    what: str


def needed_networks(run: Recipe | LidarRecipe) -> Iterator[Needed]:
    """What a run's networks are read from. The built-in base model is always here."""
    if isinstance(run, LidarRecipe):
        if run.autoencoder_weights is not None:
            yield Needed("autoencoder_weights", run.autoencoder_weights, "autoencoder")
        if run.weights is not None:
            yield Needed("weights", run.weights, "weights")
        if isinstance(run.generator, TokenGenerator) and run.generator.blank_codes is not None:
            yield Needed("generator.blank_codes", run.generator.blank_codes, "list of blank codes")
        return
    if run.base_model not in (None, "town"):
        yield Needed("base_model", run.base_model, "base model")
    if run.autoencoder_folder is not None:
        yield Needed("autoencoder_folder", run.autoencoder_folder, "autoencoder")
    if run.weights not in (None, "town"):
        yield Needed("weights", run.weights, "weights")


def needed_data(run: Recipe | LidarRecipe, train: bool = True, validation: bool = True) -> Iterator[Needed]:
    """Every file that the run's data sets are read from: archives (or the folder that holds them) and caption files."""
    for group, needed in (("train", train), ("validation", validation)):
        for index, source in enumerate(getattr(run.data, group) if needed else ()):
            where, root = f"data.{group}.{index}", source.path
            if root is None or is_drawn(source.kind):
                continue
            if source.endpoint is None:  # else they lie in a bucket
                yield from (Needed(f"{where}.archives", f"{root}/{name}", "data set") for name in source.archives)
            if source.endpoint is None and not source.archives:
                yield Needed(f"{where}.path", root, format_of(source.kind).noun)
            yield from (Needed(f"{where}.captions", name, "caption file") for name in source.captions or () if name)
            if source.index is not None:
                yield Needed(f"{where}.index", source.index, "index")


def require_networks(run: Recipe, source: str) -> None:
    """What training reads is there. Raises DwmError as `require` does, before anything is opened or written."""
    for needed in needed_networks(run):
        require(Path(needed.path), needed.what, source, IN_TRAINING[needed.what])


def require(path: Path, what: str, source: str, otherwise: str = OTHERWISE) -> Path:
    """`path`, where it is there. Else a DwmError that says what to fetch, from where, how large it is and where to put it.

    `otherwise` is what can be done without it.
    """
    if str(path) not in ("", ".") and path.exists():
        return path
    if str(path) in ("", "."):
        raise DwmError(f"{source}: names no {what}; {otherwise}")
    raise DwmError(
        f"{source}: the {what} {path} is not here; fetch it from {_where(path, what)} and put it at {path}; {otherwise}"
    )


def _where(path: Path, what: str) -> str:
    if (source := where_to_fetch(path)) is not None:
        return source
    count = next((count for start, count in PARAMETERS.items() if path.name.startswith(start)), None)
    if count is not None:
        return f"{PUBLISHER} ({path.name}, {2 * count:.1f} GB in float16, twice that in float32)"
    return f"{PUBLISHER} (4 to 17 GB; or train it first)" if what == "weights" else "its publisher"
