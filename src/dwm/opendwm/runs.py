"""Any config, OpenDWM's or ours, as a typed run: what every verb's `-c` accepts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dwm.config import Recipe, from_values, read_json
from dwm.config.files import validated
from dwm.config.lidar import LidarRecipe
from dwm.config.lidar_files import is_lidar
from dwm.errors import DwmError
from dwm.opendwm.commands.example_runs import ExampleRun, own_example, translated_example
from dwm.opendwm.config.data import LAYOUT_PACKAGE
from dwm.opendwm.config.names import UNET
from dwm.opendwm.config.networks import dit_options, unet_options
from dwm.opendwm.config.port_paths import SomeRun, check_paths, with_root
from dwm.opendwm.config.reader import CLASS
from dwm.opendwm.config.translation import Translation, is_upstream, names_lidar, translate
from dwm.options import Options
from dwm.runs.clips import check_kinds

ODDITIES = (
    "sampling: noise levels are shifted twice",
    "sampling: frames behind the last full window are not made",
    "sampling, diffusion forcing and streams: frames that are finished fall back to late noise levels while others go on",
    "training: gradients are summed over accumulated micro-batches, not averaged, and the rate's schedule counts micro-batches",
    "mask module: the side blocks' heads are interleaved",
    "layout packages: sizes of pictures are told as (height, width)",
    "layouts: drawn at the original size and then resized (this is `layout.mode`, exact or fast, of each data set)",
    "examples: one generator makes the noise of all inputs, so that an input's picture depends on those before it",
)
"""What `compatibility: reference` keeps, for people."""


LIDAR_ODDITIES = (
    "sampling: noise levels of the flow are shifted twice",
    "sampling: points are the lower corners of their cells, not the middles",
    "training: gradients are summed over accumulated micro-batches, not averaged, and the rate's schedule counts micro-batches",
    "training: of clips of several sweeps, boxes and map are left out of the first frames of the batch alone",
)
"""The same of LiDAR runs."""


class FilesRun(Options):
    """Where files lie."""

    verb: Literal["files"] = Field("files", description="what this file describes")
    path: str = Field(..., description="a folder, or a bucket of an S3 service")
    archives: tuple[str, ...] = Field((), description="archives below it, read as one tree")
    endpoint: str | None = Field(None, description="address of the S3 service")


AnyRun = Recipe | ExampleRun | LidarRecipe | FilesRun


@dataclass(frozen=True)
class Converted:
    """A translated file as typed options, and what the translation has to say."""

    run: AnyRun
    translation: Translation


def convert(path: str | Path, root: Path | None = None) -> Converted:
    """An OpenDWM config as one of ours; with `root`, its files lie below there.

    Raises DwmError for a file that is not OpenDWM's, or says what we do not know.
    """
    values = read_json(path)
    if not is_upstream(values):
        raise DwmError(f"{path}: is not a config of OpenDWM (it names no classes)")
    conversion = converted(values, str(path))
    return conversion if root is None else Converted(_below(conversion.run, root, str(path)), conversion.translation)


def _below(run: AnyRun, root: Path, source: str) -> AnyRun:
    if isinstance(run, ExampleRun):
        return run.with_(run=with_root(run.run, root))
    if isinstance(run, Recipe):
        return with_root(run, root)
    if isinstance(run, LidarRecipe):
        return with_root(run, root)
    raise DwmError(f"{source}: --root is for runs; this file names no data set or weights that could be moved")


def converted(values: dict[str, Any], source: str) -> Converted:
    """The values of an OpenDWM file, as typed options that hold together. `source` names the file."""
    translation = translate(values, source)
    kinds = {"lidar": LidarRecipe, "files": FilesRun}
    if translation.kind in kinds:
        return Converted(validated(kinds[translation.kind], translation.values, source), translation)
    run = recipe_of(translation.values, source)
    if translation.inputs:
        return Converted(translated_example(run, translation.inputs, source), translation)
    return Converted(run, translation)


def recipe_of(values: dict[str, Any], source: str) -> Recipe:
    """A translated video run as a recipe."""
    network = values["network"]
    make = unet_options if network[CLASS] == UNET else dit_options
    typed = make(network, f"{source}: pipeline.model")
    return validated(Recipe, {**values, "network": typed.model_dump(mode="json")}, source)


def read_run(path: str | Path) -> AnyRun:
    """Whatever a file of OpenDWM's or ours holds."""
    values = read_json(path)
    if is_upstream(values):
        return converted(values, str(path)).run
    verb = values.get("verb") if isinstance(values, dict) else None
    if verb == "example":
        return own_example(values, str(path))
    kinds = {"lidar": LidarRecipe, "files": FilesRun}
    return validated(kinds[verb], values, str(path)) if verb in kinds else from_values(values, str(path))


def load_recipe(path: str | Path, root: Path | None = None) -> Recipe:
    """A training run (or that of an example) from a file of OpenDWM's or ours; with `root`, its files lie below there."""
    run = read_run(path)
    if isinstance(run, LidarRecipe):
        raise DwmError(f"{path}: is a LiDAR run, which has no cameras; use dwm train, generate or evaluate -c")
    if isinstance(run, FilesRun):
        raise DwmError(f"{path}: describes where files lie, not a run")
    recipe = run.run if isinstance(run, ExampleRun) else run
    return recipe if root is None else with_root(recipe, root)


def lidar_run(path: str | Path, root: Path | None = None) -> LidarRecipe | None:
    """The LiDAR run in a file of OpenDWM's or ours; None for a file of another kind."""
    values = read_json(path)
    if not (is_lidar(values) or (is_upstream(values) and names_lidar(values))):
        return None
    run = read_run(path)
    assert isinstance(run, LidarRecipe)
    return run if root is None else with_root(run, root)


def check_ready(run: SomeRun, path: str | Path, train: bool = False, networks: bool = True) -> SomeRun:
    """The run of the file `path`, where this house reads all its data sets and none of its files lies on a foreign machine.

    `train`: whether its training sets are read, not the held-out ones alone; `networks`: whether its weights are. Raises
    DwmError for the first that is not so, before anything is opened.
    """
    if train:
        check_kinds(run.data.train)
    packages = not train or isinstance(run, LidarRecipe)  # only previews look at these
    check_kinds(run.data.validation, also=(LAYOUT_PACKAGE,) if packages else ())
    check_paths(run, read_json(path), str(path), train, networks)
    return run


def ready_recipe(path: str | Path, root: Path | None = None, train: bool = False, networks: bool = True) -> Recipe:
    """`load_recipe`, and `check_ready`."""
    return check_ready(load_recipe(path, root), path, train, networks)
