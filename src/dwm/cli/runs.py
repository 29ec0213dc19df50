"""Which run a verb means: a recipe's name or `-c FILE`, with overrides. Every verb that runs something asks here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from dwm.errors import DwmError

if TYPE_CHECKING:
    import dwm.options
    from dwm.config import Campaign, Recipe
    from dwm.config.lidar import LidarRecipe

Run = TypeVar("Run", bound="dwm.options.Options")


def choose_run(
    name: str | None,
    config: Path | None,
    overrides: Sequence[str] | None,
    default: str | None = None,
    root: Path | None = None,
) -> Recipe:
    """The resolved run; `root` is the folder below which its files lie.

    NAME and -c exclude one another; a NAME with `=` in it is an override.
    """
    overrides = list(overrides or ())
    if name and "=" in name:
        name, overrides = None, [name, *overrides]
    if name and config:
        raise DwmError(f"give either the recipe {name} or -c {config}, not both")
    if not (name or config or default):
        raise DwmError("which run? give a recipe's name (`dwm show recipes`) or -c FILE")
    from dwm.config import resolve

    if config:
        return resolve(values=read(config, root), overrides=overrides)
    from dwm.config import find
    from dwm.opendwm.config.port_paths import with_root

    named = find(name or default or "town")
    return resolve(values=with_root(named, root) if root else named, overrides=overrides)


def choose_training(
    name: str | None, config: Path | None, overrides: Sequence[str] | None, root: Path | None = None
) -> Recipe | Campaign:
    """The same for what is trained, which may be a campaign of several runs."""
    from dwm.config.campaign import campaign_from, changed, is_campaign, resolved

    if config is None and name is not None and is_campaign(name):
        if root is not None:
            raise DwmError(f"--root: {name} is a campaign of several runs; give each setting by KEY=VALUE")
        return resolved(name, list(overrides or ()))
    if config is not None and (not name or "=" in name):
        from dwm.config import read_json

        values = read_json(config)
        if isinstance(values, dict) and "stages" in values:
            texts = [text for text in (name, *(overrides or ())) if text]
            return changed(campaign_from(values, str(config)), texts)
    return choose_run(name, config, overrides, root=root)


def _holds_sweeps(config: Path) -> bool:
    """Whether a file is a LiDAR run's, of OpenDWM or ours; asked before the libraries that read others are imported."""
    from dwm.config.files import read_json
    from dwm.config.lidar_files import is_lidar
    from dwm.opendwm.config.translation import is_upstream, names_lidar

    values = read_json(config)
    return is_lidar(values) or (is_upstream(values) and names_lidar(values))


def choose_lidar(
    name: str | None, config: Path | None, overrides: Sequence[str] | None, root: Path | None = None
) -> LidarRecipe | None:
    """The LiDAR run that NAME or -c means, with overrides, checked; None where they mean another run."""
    from dwm.config.lidar_files import find_lidar, lidar_recipes, resolve_lidar

    overrides = list(overrides or ())
    if config is not None:
        if name is not None and "=" not in name:
            raise DwmError(f"give either the recipe {name} or -c {config}, not both")
        if not _holds_sweeps(config):
            return None
        from dwm.opendwm.runs import lidar_run

        run = lidar_run(config, root)
        if run is None:
            return None
        return resolve_lidar(run, [text for text in (name, *overrides) if text])
    if name is None or name not in lidar_recipes():
        return None
    from dwm.opendwm.config.port_paths import with_root

    named = find_lidar(name)
    return resolve_lidar(named if root is None else with_root(named, root), overrides)


@overload
def on_data(run: Recipe, data: str, quiet: bool) -> Recipe: ...
@overload
def on_data(run: Campaign, data: str, quiet: bool) -> Campaign: ...
@overload
def on_data(run: Recipe | Campaign, data: str, quiet: bool) -> Recipe | Campaign: ...
def on_data(run: Recipe | Campaign, data: str, quiet: bool) -> Recipe | Campaign:
    """The run with --data in the place of its first set; a note says which others it keeps."""
    from dwm.cli.output import note
    from dwm.config.own_data import others, with_data

    run = with_data(run, data)
    if rest := others(run):
        note(f"--data is the first set, data.train.0; the others stay where the run has them: {', '.join(rest)}", quiet)
    return run


def read(path: Path, root: Path | None = None) -> Recipe:
    """A saved run, or a config of OpenDWM."""
    from dwm.opendwm.runs import load_recipe

    return load_recipe(path, root)


def verb_of(path: Path) -> str:
    """What a file runs: what it says itself, `train` for a config of OpenDWM, nothing where it says nothing."""
    from dwm.config.files import read_json
    from dwm.opendwm.config.translation import is_upstream

    values = read_json(path)
    if is_upstream(values):
        return "train"
    return str(values.get("verb", "")) if isinstance(values, dict) else ""


def saved(kind: type[Run], config: Path | None, changes: Mapping[str, Any] | None = None) -> Run:
    """The run of a verb: what its file says (or the defaults), with the flags that were given laid over it."""
    from dwm.config.files import read_json, validated

    values = {} if config is None else read_json(config)
    if not isinstance(values, dict):
        raise DwmError(f"{config}: expected an object {{…}}, found {type(values).__name__}")
    verb = kind.model_fields["verb"].default
    if values.get("verb", verb) != verb:
        raise DwmError(f"{config}: is a run of `dwm {values['verb']}`, not of `dwm {verb}`")
    if config is not None:
        values = validated(kind, values, str(config)).model_dump(mode="json")
    options = {key: value for key, value in (changes or {}).items() if value is not None}
    return validated(kind, {**values, **options}, "command line")
