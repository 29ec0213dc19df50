"""Whether stored tensors fit a network: the one report of keys that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dwm.errors import DwmError

SHOWN = 10

Shapes = Mapping[str, torch.Size]
Hint = Callable[[Sequence[str], Sequence[str], Sequence[str]], str]
"""Of the keys that are missing, unexpected and of another shape: what is probably wrong."""


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}


def _no_hint(missing: Sequence[str], unexpected: Sequence[str], unlike: Sequence[str]) -> str:
    return ""


def require_keys(
    path: Path,
    stored: Shapes,
    expected: Shapes,
    source: str,
    may_lack: Callable[[str], bool] = lambda key: False,
    hint: Hint = _no_hint,
) -> None:
    """Raises DwmError, naming ten of them, where keys or shapes differ. `source` says whose keys are expected."""
    missing = [key for key in expected if key not in stored and not may_lack(key)]
    unexpected = [key for key in stored if key not in expected]
    unlike = [key for key in expected if key in stored and tuple(stored[key]) != tuple(expected[key])]
    lines = [f"missing {key}" for key in missing] + [f"unexpected {key}" for key in unexpected]
    lines += [f"{key} is {tuple(stored[key])}, not {tuple(expected[key])}" for key in unlike]
    if lines:
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        advice = hint(missing, unexpected, unlike)
        raise DwmError(f"{path}: {len(lines)} keys differ from {source}: {'; '.join(lines[:SHOWN])}{more}{advice}")
