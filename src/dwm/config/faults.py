"""Turns pydantic's findings into one line for the user: where it stood, what is wrong, the nearest key that exists."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from dwm.errors import DwmError
from dwm.options import Options

Location = tuple[str | int, ...]


def option_classes(annotation: Any) -> tuple[type[Options], ...]:
    """The option classes inside `X`, `X | Y | None`, `tuple[X, ...]` and the like, each once."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return (annotation,)
    return tuple(dict.fromkeys(inner for part in get_args(annotation) for inner in option_classes(part)))


def options_in(annotation: Any, hint: Any = None) -> type[Options] | None:
    """The option class that stands there, or None. Of several, the one that `hint` means: its name, or values of its keys."""
    classes = option_classes(annotation)
    if len(classes) > 1 and isinstance(hint, str):
        classes = tuple(cls for cls in classes if cls.__name__ == hint) or classes
    if len(classes) > 1 and isinstance(hint, dict):
        classes = tuple(cls for cls in classes if set(hint) <= set(cls.model_fields)) or classes
    return classes[0] if classes else None


def is_sequence(annotation: Any) -> bool:
    """True for tuples and lists, also when they may be None."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return any(is_sequence(part) for part in get_args(annotation))
    return origin in (tuple, list)


def is_text(annotation: Any) -> bool:
    """True where only a string (or None) may stand."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return str in parts and all(part in (str, type(None)) for part in parts)


def known_keys(options: type[Options], prefix: str = "") -> Iterator[str]:
    """Every dotted key below an option class, groups included."""
    for name, field in options.model_fields.items():
        yield prefix + name
        if inner := options_in(field.annotation):
            yield from known_keys(inner, f"{prefix}{name}.")


def group_at(options: type[Options], location: Location) -> tuple[type[Options], str]:
    """The option class in which the last key of `location` stands, and the dotted path up to it."""
    path: list[str] = []
    for depth, step in enumerate(location[:-1]):
        if isinstance(step, int):
            path.append(str(step))
        elif step in options.model_fields:  # pydantic also names members of unions here; they are no keys
            path.append(step)
            options = options_in(options.model_fields[step].annotation, _following(location, depth)) or options
    return options, ".".join(path)


def _following(location: Location, depth: int) -> str | int | None:
    """The next step of a location that is not a place in a list."""
    return next((step for step in location[depth + 1 :] if isinstance(step, str)), None)


def nearest_key(root: type[Options], group: type[Options], prefix: str, name: str) -> str:
    """`"; nearest: a.b.c"`: first within the group, then anywhere; abbreviations count (`learning_rate`: `lr`)."""
    dot = f"{prefix}." if prefix else ""
    own = list(group.model_fields)
    if close := difflib.get_close_matches(name, own, n=1, cutoff=0.7):
        return f"; nearest: {dot}{close[0]}"
    if short := [key for key in own if _abbreviates(key, name) or _abbreviates(name, key)]:
        return f"; nearest: {dot}{short[0]}"
    everywhere = {key.rsplit(".", 1)[-1]: key for key in reversed(list(known_keys(root)))}
    if close := difflib.get_close_matches(name, list(everywhere), n=1, cutoff=0.8):
        return f"; nearest: {everywhere[close[0]]}"
    if close := difflib.get_close_matches(name, own, n=1, cutoff=0.4):
        return f"; nearest: {dot}{close[0]}"
    return f"; known in {prefix}: {', '.join(own)}" if prefix else f"; known: {', '.join(own)}"


def _abbreviates(short: str, long: str) -> bool:
    """`lr` and `learning_rate`, `num_frames` and `frames`."""
    words = long.split("_")
    return len(words) > 1 and (short == "".join(word[:1] for word in words) or short in words)


def as_error(error: ValidationError, root: type[Options], source: str) -> DwmError:
    """One line about the first fault (unknown keys first, as they often cause the others), and how many more there are."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
    return DwmError(f"{source}: {_sentence(faults[0], root)}{more}")


def _sentence(fault: Any, root: type[Options]) -> str:
    location: Location = fault["loc"]
    if not location:
        return _reason(fault)
    group, prefix = group_at(root, location)
    name = str(location[-1])
    if fault["type"] == "extra_forbidden":
        return f"{prefix + '.' if prefix else ''}{name} is not known{nearest_key(root, group, prefix, name)}"
    where = _field_path(root, location)
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "value_error":
        return f"{where}: {_reason(fault)}" if where else _reason(fault)
    return f"{where} = {_excerpt(fault['input'])}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _field_path(root: type[Options], location: Location) -> str:
    """The dotted path without the names of union members that pydantic mixes in."""
    path: list[str] = []
    options: type[Options] | None = root
    for depth, step in enumerate(location):
        if isinstance(step, int):
            path.append(str(step))
        elif options is not None and step in options.model_fields:
            path.append(step)
            options = options_in(options.model_fields[step].annotation, _following(location, depth))
    return ".".join(path)


def _reason(fault: Any) -> str:
    return str(fault["msg"]).removeprefix("Value error, ").replace("\n", " ")


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
