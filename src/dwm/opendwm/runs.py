"""Any config, OpenDWM's or ours, as a typed run: what every verb's `-c` accepts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dwm.errors import DwmError
from dwm.opendwm.config import Translation, is_upstream, translate
from dwm.opendwm.config_names import UNET
from dwm.opendwm.config_reader import CLASS
from dwm.opendwm.networks import dit_options, unet_options
from dwm.options import Options
from dwm.recipes import Recipe, from_values, read_json
from dwm.recipes.files import validated

ODDITIES = (
    "noise levels are shifted twice when a video is sampled",
    "the loss is summed over accumulated micro-batches, not averaged",
    "layout pictures are drawn at the original size and then resized",
)
"""What `compatibility: reference` keeps, for people."""


class LidarRun(Options):
    """A LiDAR run, kept as it was: its networks are not here yet."""

    verb: Literal["lidar"] = Field("lidar", description="what this file runs")
    kind: Literal["diffusion", "maskgit", "autoencoder", "codebook"] = Field(
        ..., description="which family of networks"
    )
    settings: dict[str, Any] = Field(..., description="the run's own settings, as they stood in its file")

    def build(self) -> None:
        """Raises DwmError."""
        raise DwmError(
            f"a LiDAR run ({self.kind}): its networks are not here yet; the config is kept, nothing can run it"
        )


class FilesRun(Options):
    """Where files lie."""

    verb: Literal["files"] = Field("files", description="what this file describes")
    path: str = Field(..., description="a folder, or a bucket of an S3 service")
    archives: tuple[str, ...] = Field((), description="archives below it, read as one tree")
    endpoint: str | None = Field(None, description="address of the S3 service")


@dataclass(frozen=True)
class Converted:
    """A translated file as typed options, and what the translation has to say."""

    run: Recipe | LidarRun | FilesRun
    translation: Translation


def convert(path: str | Path) -> Converted:
    """An OpenDWM config as one of ours. Raises DwmError for a file that is not OpenDWM's, or says what we do not know."""
    values = read_json(path)
    if not is_upstream(values):
        raise DwmError(f"{path}: is not a config of OpenDWM (it names no classes)")
    translation = translate(values, str(path))
    kinds = {"lidar": LidarRun, "files": FilesRun}
    if translation.kind in kinds:
        return Converted(validated(kinds[translation.kind], translation.values, str(path)), translation)
    return Converted(recipe_of(translation.values, str(path)), translation)


def recipe_of(values: dict[str, Any], source: str) -> Recipe:
    """A translated video run as a recipe."""
    network = values["network"]
    make = unet_options if network[CLASS] == UNET else dit_options
    typed = make(network, f"{source}: pipeline.model")
    return validated(Recipe, {**values, "network": typed.model_dump(mode="json")}, source)


def load_recipe(path: str | Path) -> Recipe:
    """A training run from a file of OpenDWM's or ours."""
    values = read_json(path)
    if not is_upstream(values):
        return from_values(values, str(path))
    run = convert(path).run
    if isinstance(run, LidarRun):
        run.build()
    if not isinstance(run, Recipe):
        raise DwmError(f"{path}: describes where files lie, not a run")
    return run
