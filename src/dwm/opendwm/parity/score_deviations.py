"""How far a score's number is from the recorded one, and which pictures and clips a case means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm.errors import DwmError
from dwm.opendwm.parity.cases import LOOSE_BOUNDS, Case, Deviation, Setup
from dwm.opendwm.parity.score_inputs import FIRST_SEEDS

FIRST_TWO = FIRST_SEEDS["a"], FIRST_SEEDS["b"]

FEATURE_BOUND = 2e-4
OWN_BOUND = 0.02
"""Of a distance from our own features, absolute."""


def deviation(name: str, got: Any, expected: Any, bound: float) -> Deviation:
    got, expected = (torch.from_numpy(np.array(value)).double() for value in (_plain(got), _plain(expected)))
    if got.shape != expected.shape:
        raise DwmError(f"{name} has shape {tuple(got.shape)}, recorded {tuple(expected.shape)}")
    off = (got - expected).abs()
    error = float(off.max()) if off.numel() else 0.0
    return Deviation(name, error, bound, float(off.norm() / expected.norm().clamp_min(1e-12)), error <= bound)


def feature_deviation(name: str, got: Tensor, expected: Any, bound: float, setup: Setup) -> Deviation:
    """What a network results: off float32 on a CPU by the relative bound of all networks."""
    strict = deviation(name, got, expected, bound)
    if setup.strict:
        return strict
    loose = LOOSE_BOUNDS[setup.dtype]
    return Deviation(name, strict.error, loose, strict.relative, strict.relative <= loose)


def own_deviation(name: str, got: float, expected: float, setup: Setup) -> Deviation:
    return feature_deviation(name, torch.tensor(got), expected, OWN_BOUND, setup)


def sameness(name: str, got: str, expected: str) -> Deviation:
    return truth(name, got == expected)


def truth(name: str, holds: bool) -> Deviation:
    return Deviation(name, float(not holds), 0.0, float(not holds), holds)


def _plain(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().cpu().to(torch.float64 if value.is_floating_point() else value.dtype).numpy()


def seeds_of(side: str, count: int) -> list[int]:
    return list(range(FIRST_SEEDS[side], FIRST_SEEDS[side] + count))


def entry_of(table: Mapping[str, Any], name: str, case: Case) -> Any:
    if name not in table:
        raise DwmError(f"{case.folder}: {name!r} is not known; known: {', '.join(table)}")
    return table[name]


def bound_of(case: Case, default: float) -> float:
    """The first number of the case's tolerance."""
    match = re.search(r"\d+(\.\d+)?(e[-+]?\d+)?", str(case.data["tolerance"]))
    return default if match is None else float(match[0])
