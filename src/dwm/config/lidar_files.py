"""LiDAR runs by name and as JSON: the catalogue's, a saved one, one with settings changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dwm.config.files import from_values, read_json, validated
from dwm.config.lidar import LidarRecipe
from dwm.config.lidar_checks import check_lidar
from dwm.config.overrides import SOURCE, apply_overrides
from dwm.config.recipe import Recipe
from dwm.config.registry import import_catalogue
from dwm.errors import DwmError, nearest

Maker = Callable[[], LidarRecipe]
VERB = "lidar"
_MAKERS: dict[str, Maker] = {}


def lidar_recipe(name: str) -> Callable[[Maker], Maker]:
    """Registers a function as the LiDAR recipe `name`."""

    def register(maker: Maker) -> Maker:
        _MAKERS[name] = maker
        return maker

    return register


def lidar_recipes() -> Mapping[str, Maker]:
    """Every LiDAR recipe by name."""
    import_catalogue()
    return MappingProxyType(_MAKERS)


def is_lidar(values: Any) -> bool:
    """Whether plain values are those of a LiDAR run."""
    return isinstance(values, dict) and values.get("verb") == VERB


def find_lidar(name: str) -> LidarRecipe:
    """The recipe of that name. Raises DwmError naming the nearest one."""
    catalogue = lidar_recipes()
    if name not in catalogue:
        raise DwmError(f"no LiDAR recipe is named {name!r}{nearest(name, catalogue)}; `dwm show recipes` lists them")
    return catalogue[name]().with_(name=name)


def lidar_from(values: Any, source: str) -> LidarRecipe:
    """A LiDAR run from plain values. Raises DwmError naming what is wrong."""
    return validated(LidarRecipe, values, source)


def resolve_lidar(run: LidarRecipe, overrides: Sequence[str] = ()) -> LidarRecipe:
    """The run with overrides, checked as a whole before anything is loaded."""
    source = run.name or "config"
    if overrides:
        run = validated(LidarRecipe, apply_overrides(LidarRecipe, run.model_dump(mode="json"), overrides), SOURCE)
        source = SOURCE
    check_lidar(run, source)
    return run


def load_any(path: str | Path) -> Recipe | LidarRecipe:
    """A saved run of either kind."""
    values = read_json(path)
    return lidar_from(values, str(path)) if is_lidar(values) else from_values(values, str(path))
