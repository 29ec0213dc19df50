"""Runs as JSON: reading a saved one, naming what is wrong in it, and writing the resolved one beside what it made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dwm.config.checks import check
from dwm.config.faults import as_error, options_in
from dwm.config.overrides import SOURCE, apply_overrides
from dwm.config.recipe import Recipe
from dwm.config.registry import find
from dwm.errors import DwmError
from dwm.options import Options
from dwm.storage import atomic_write, read_file
from dwm.strict_json import check_characters, parse_json

LARGEST = 64 * 2**20
"""No config has more bytes than this; a larger file is something else."""
CONFIG_NAME = "config.json"
OURS = frozenset(("verb", "recipe", "stages", "training"))
"""Keys of which every run's file has one."""


def read_json(path: str | Path) -> Any:
    """The JSON in a file. Raises DwmError with line and column; repeated keys and NaN are refused."""
    return parse_json(read_file(path, LARGEST), str(path), "correct the file", unique=True)


def from_values(values: Any, source: str) -> Recipe:
    """A recipe from plain values. `"recipe": NAME` among them names a parent, of which the rest then is the difference."""
    if not isinstance(values, dict):
        raise DwmError(f"{source}: expected an object {{…}}, found {type(values).__name__}")
    if parent := values.get("recipe"):
        rest = {key: value for key, value in values.items() if key != "recipe"}
        values = _merged(Recipe, find(str(parent)).model_dump(mode="json"), rest)
    return validated(Recipe, values, source)


def validated(options: type[Options], values: Any, source: str) -> Any:
    """Plain values as `options`; a fault becomes a DwmError of one line that names `source`."""
    check_characters(values, source, "write it in UTF-8")
    try:
        return options.model_validate(values)
    except ValidationError as error:
        raise as_error(error, options, source) from None


def load(path: str | Path) -> Recipe:
    """A saved run, or a file that names its parent and says what differs."""
    return from_values(read_json(path), str(path))


def resolve(name: str | None = None, values: Recipe | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """A named recipe (or one that was read already) with overrides, checked as a whole before anything is loaded."""
    base = values if values is not None else find(name or "town")
    source = base.name or "config"
    if overrides:
        changed = apply_overrides(Recipe, base.model_dump(mode="json"), overrides)
        base, source = validated(Recipe, changed, SOURCE), SOURCE
    check(base, source)
    return base


def save(run: Options, folder: str | Path, name: str = CONFIG_NAME) -> Path:
    """Writes the resolved run into a folder, whole or not at all."""
    path = Path(folder) / name
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(run.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def check_own(folder: Path, name: str = CONFIG_NAME) -> None:
    """Raises DwmError where a folder holds a config.json that no run of ours is: it would be replaced, and lost."""
    path = folder / name
    if not path.exists():
        return
    try:
        values = read_json(path)
    except DwmError:
        values = None
    if not isinstance(values, dict) or not (OURS & set(values)):
        raise DwmError(
            f"{path}: is no run that dwm wrote, and would be replaced by this one; choose another --output, or move it away"
        )


def _merged(options: type[Options] | None, base: Any, changes: Any) -> Any:
    """`changes` laid over `base`, group by group; what is no group is replaced whole."""
    if not (isinstance(base, dict) and isinstance(changes, dict) and options):
        return changes
    result = dict(base)
    for key, value in changes.items():
        field = options.model_fields.get(key)
        inner = options_in(field.annotation, base.get(key)) if field else None
        result[key] = _merged(inner, base.get(key), value)
    return result
