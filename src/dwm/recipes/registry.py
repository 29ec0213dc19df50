"""The named recipes: Python functions that return a `Recipe` and state what differs from their parent."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from dwm.errors import DwmError, nearest
from dwm.recipes.recipe import Recipe
from dwm.recipes.tiny import SUFFIX, tiny

Maker = Callable[[], Recipe]
_MAKERS: dict[str, Maker] = {}
NAMED_IN = tuple(f"dwm.recipes.{name}" for name in ("town", "nuscenes", "mixes", "unimlvg", "sd21"))
"""The modules that hold our own recipes, in the order in which they are shown."""


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


@cache
def _import_named() -> None:
    for module in NAMED_IN:
        importlib.import_module(module)


def recipes() -> Mapping[str, Maker]:
    """Every recipe by name."""
    _import_named()
    return MappingProxyType(_MAKERS)


def find(name: str) -> Recipe:
    """The recipe of that name, or with `-tiny` its twin on the town. Raises DwmError naming the nearest one."""
    known = recipes()
    if name not in known and (large := name.removesuffix(SUFFIX)) in known and name != large:
        return tiny(find(large))
    if name not in known:
        raise DwmError(f"no recipe is named {name!r}{nearest(name, known)}; `dwm show recipes` lists them")
    return known[name]().with_(name=name)


def summary(maker: Maker) -> str:
    """The first sentence of a recipe's docstring."""
    return " ".join((maker.__doc__ or "").strip().split("\n\n")[0].split())
