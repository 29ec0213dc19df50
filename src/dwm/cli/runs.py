"""Which run a verb means: a recipe's name or `-c FILE`, with overrides. Every verb that runs something asks here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dwm.errors import DwmError

if TYPE_CHECKING:
    from dwm.recipes import Recipe


def chosen(
    name: str | None, config: Path | None, overrides: Sequence[str] | None, default: str | None = None
) -> Recipe:
    """The resolved run. NAME and -c exclude one another; a NAME with `=` in it is an override."""
    from dwm.recipes import resolve

    overrides = list(overrides or ())
    if name and "=" in name:
        name, overrides = None, [name, *overrides]
    if name and config:
        raise DwmError(f"give either the recipe {name} or -c {config}, not both")
    if config:
        return resolve(values=read(config), overrides=overrides)
    if not (name or default):
        raise DwmError("which run? give a recipe's name (`dwm show recipes`) or -c FILE")
    return resolve(name or default, overrides=overrides)


def read(path: Path) -> Recipe:
    """A saved run."""
    from dwm.recipes import load

    return load(path)
