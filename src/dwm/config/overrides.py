"""`training.optimizer.lr=1e-4`: single settings changed from the command line. Knows no recipe; types come from the fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dwm.config.faults import is_sequence, is_text, nearest_key, options_in
from dwm.errors import DwmError
from dwm.options import Options

SOURCE = "command line"


def apply_overrides(root: type[Options], values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the nested `values` with each `key=value` set. A key that `root` lacks is a DwmError naming the nearest."""
    values = json.loads(json.dumps(values))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise DwmError(
                f"{SOURCE}: {override[:100]!r} is not an override; write key=value, for example training.steps=1000"
            )
        _set(root, values, key, text)
    return values


def _set(root: type[Options], values: dict[str, Any], key: str, text: str) -> None:
    options: type[Options] | None = root
    node: Any = values
    steps = key.split(".")
    annotation: Any = root
    for depth, step in enumerate(steps):
        if isinstance(node, list):
            _check_index(key, step, len(node))
        elif options is None:
            raise DwmError(f"{SOURCE}: {'.'.join(steps[:depth])} is one value; {key} is not known")
        elif step not in options.model_fields:
            prefix = ".".join(steps[:depth])
            raise DwmError(f"{SOURCE}: {key} is not known{nearest_key(root, options, prefix, step)}")
        else:
            annotation = options.model_fields[step].annotation
            options = options_in(annotation, node.get(step))
        if depth < len(steps) - 1:
            node = _descend(node, step)
    value = _value(text, annotation if not isinstance(node, list) else Any)
    if isinstance(node, list):
        node[int(steps[-1])] = value
    else:
        node[steps[-1]] = value


def _descend(node: Any, step: str) -> Any:
    if isinstance(node, list):
        return node[int(step)]
    if node.get(step) is None:  # a group that is switched off is switched on by setting one of its keys
        node[step] = {}
    return node[step]


def _check_index(key: str, step: str, length: int) -> None:
    if not step.isdecimal() or len(step) > 9 or int(step) >= length:
        raise DwmError(f"{SOURCE}: {key}: {step[:40]!r} is no place in a list of {length} (0 to {length - 1})")


def _value(text: str, annotation: Any) -> Any:
    """What the text means: JSON where it is JSON, `a,b,c` where a list belongs, else the text itself."""
    if is_text(annotation):
        return None if text == "null" else text
    try:
        return json.loads(text)
    except RecursionError:
        raise DwmError(f"{SOURCE}: {text[:40]}…: nested too deep; write plain values") from None
    except ValueError:
        if is_sequence(annotation):
            return [_value(part.strip(), Any) for part in text.strip("[]()").split(",") if part.strip()]
        return text
