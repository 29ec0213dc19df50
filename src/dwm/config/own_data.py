"""`--data PATH` of a training run: whose clips it then sees. Opens no set."""

from __future__ import annotations

from dwm.config.campaign import Campaign
from dwm.config.checks import check
from dwm.config.data import SourceOptions
from dwm.config.lidar import LidarRecipe
from dwm.config.overrides import SOURCE
from dwm.config.recipe import Recipe
from dwm.data.open import USUAL, is_drawn
from dwm.errors import DwmError


def with_data(run: Recipe | Campaign, path: str) -> Recipe | Campaign:
    """The run on the data set at `path`: it takes the place of the first set to train on, and of the first to look at.

    A town that would be drawn becomes the recorded set there. Raises DwmError where others would still be drawn beside it.
    """
    if isinstance(run, Campaign):
        return run.with_(stages=tuple(stage.with_(run=_with_data(stage.run, path)) for stage in run.stages))
    return _with_data(run, path)


def lidar_with_data(run: LidarRecipe, path: str) -> LidarRecipe:
    """The LiDAR run on the data set at `path`, in the place of the first set to train on, and of the first to look at."""
    groups = {name: _placed(getattr(run.data, name), path) for name in ("train", "validation")}
    return run.with_(data=run.data.with_(**groups))


def others(run: Recipe | Campaign) -> tuple[str, ...]:
    """Where the sets lie that `--data` does not speak of, for a note."""
    runs = [stage.run for stage in run.stages] if isinstance(run, Campaign) else [run]
    return tuple(dict.fromkeys(str(source.path) for part in runs for source in part.data.train[1:]))


def _with_data(run: Recipe, path: str) -> Recipe:
    indices = [index for index, source in enumerate(run.data.train) if index and is_drawn(source.kind)]
    if indices:
        raise DwmError(
            f"--data {path}: {run.name or 'the run'} draws {len(run.data.train)} towns, of which one set can take the place of "
            f"the first only; name the others by data.train.{indices[0]}.kind={USUAL} data.train.{indices[0]}.path=…"
        )
    groups = {name: _placed(getattr(run.data, name), path) for name in ("train", "validation")}
    changed = run.with_(data=run.data.with_(**groups))
    check(changed, SOURCE)
    return changed


def _placed(sources: tuple[SourceOptions, ...], path: str) -> tuple[SourceOptions, ...]:
    if not sources:
        return ()
    first = sources[0]
    kind = USUAL if is_drawn(first.kind) else first.kind
    return (first.with_(kind=kind, path=path), *sources[1:])
