"""The named recipes: Python functions that return a `Recipe` and state what differs from their parent."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from dwm.config.recipe import Recipe
from dwm.errors import DwmError, nearest

CATALOGUE = "dwm.recipes"
"""The room that registers our own recipes when it is imported. It lies above this one, so that it is named, not imported."""
Maker = Callable[[], Recipe]
Variant = Callable[[Recipe], Recipe]
_MAKERS: dict[str, Maker] = {}
_VARIANTS: dict[str, Variant] = {}


def recipe(name: str) -> Callable[[Maker], Maker]:
    """Registers a function as the recipe `name`; a name is given once."""

    def register(maker: Maker) -> Maker:
        if name in _MAKERS and _MAKERS[name].__module__ != maker.__module__:
            raise ValueError(f"two recipes are named {name!r}")
        if not maker.__doc__:
            raise ValueError(f"the recipe {name!r} needs a docstring: it is what users see")
        _MAKERS[name] = maker
        return maker

    return register


def variant(suffix: str) -> Callable[[Variant], Variant]:
    """Registers a function that makes another run of any recipe: it is found as NAME`suffix`."""

    def register(make: Variant) -> Variant:
        _VARIANTS[suffix] = make
        return make

    return register


@cache
def import_catalogue() -> None:
    """Registers our own recipes, campaigns and variants."""
    importlib.import_module(CATALOGUE)


def without_variant(name: str) -> tuple[str, str]:
    """A name as the recipe's (or campaign's) and the suffix of its variant, "" for none."""
    import_catalogue()
    suffix = next((suffix for suffix in _VARIANTS if name.endswith(suffix) and name != suffix), "")
    return name.removesuffix(suffix), suffix


def recipes() -> Mapping[str, Maker]:
    """Every recipe by name."""
    import_catalogue()
    return MappingProxyType(_MAKERS)


def find(name: str) -> Recipe:
    """The recipe of that name, or a variant of it (`-tiny`: its twin on the town). Raises DwmError naming the nearest one."""
    catalogue = recipes()
    parent, suffix = without_variant(name)
    if name not in catalogue and suffix and parent in catalogue:
        return _VARIANTS[suffix](find(parent))
    if name not in catalogue:
        raise DwmError(f"no recipe is named {name!r}{nearest(name, catalogue)}; `dwm show recipes` lists them")
    return catalogue[name]().with_(name=name)


def summary(maker: Callable[[], object]) -> str:
    """The first sentence of a recipe's docstring."""
    return " ".join((maker.__doc__ or "").strip().split("\n\n")[0].split())
