"""How far a computed training step lies from its record, under the tolerances of training's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dwm.errors import DwmError
from dwm.opendwm.parity.cases import LOOSE_BOUNDS, Case, Deviation, Setup, compare

NO_GRADIENT = 1e-6
"""A gradient whose share of the total norm is smaller moves by rounding alone."""
SAME_RATE = 1e-9
CHANGE = 0.01
"""AdamW moves elements with a tiny gradient by the sign of a rounding error."""


def judge(
    case: Case, setup: Setup, tensors: Mapping[str, Tensor], numbers: Sequence[Mapping[str, Any]]
) -> list[Deviation]:
    """Every recorded tensor and number. Raises DwmError naming what was recorded and not computed."""
    missing = [name for name in case.outputs if name not in tensors]
    if missing:
        raise DwmError(f"{case.name}: {', '.join(missing[:10])} recorded, but not computed")
    deviations = [_tensor(case, name, tensors[name], setup) for name in case.outputs]
    for recorded in case.data["results"]:
        step = recorded["step"]
        deviations.extend(
            Deviation(f"step{step}.{deviation.tensor}", *_rest(deviation))
            for deviation in _numbers(case.data["tolerance"], recorded, numbers[step], setup)
        )
    return deviations


def _tensor(case: Case, name: str, got: Tensor, setup: Setup) -> Deviation:
    kind = name.split(".")[1]
    tolerance = case.data["tolerance"]
    plain = compare(case, name, got, setup)
    if kind == "gradient":
        bound = tolerance["gradient_relative_l2"] if setup.strict else 10 * LOOSE_BOUNDS[setup.dtype]
        return Deviation(name, plain.relative, bound, plain.relative, plain.relative <= bound)
    if kind == "parameter_after" and setup.strict:
        off = (got.detach().cpu().double() - case.outputs[name].double()).abs().flatten().sort().values
        # All but the allowed share of the elements lie within the bound.
        error = float(off[max(0, len(off) - 1 - int(len(off) * tolerance["parameter_after_share_outside"]))])
        bound = tolerance["parameter_after_atol"]
        return Deviation(name, error, bound, plain.relative, error <= bound)
    return plain


def _numbers(
    tolerance: Mapping[str, float], recorded: Mapping[str, Any], got: Mapping[str, Any], setup: Setup
) -> Iterator[Deviation]:
    loose = 0.0 if setup.strict else 10 * LOOSE_BOUNDS[setup.dtype]
    total = recorded["total_gradient_norm"]
    bounds = {
        "loss": tolerance["loss_rtol"] * abs(recorded["loss"]),
        "total_gradient_norm": tolerance["gradient_norm_rtol"] * total,
        "total_gradient_norm_after_clip": tolerance["gradient_norm_rtol"] * total,
        "lr_used": SAME_RATE * recorded.get("lr_used", 0),
        "lr_after": SAME_RATE * recorded["lr_after"],
        "parameter_change_norm": CHANGE * recorded.get("parameter_change_norm", 0),
    }
    for name, bound in bounds.items():
        if name in recorded:
            yield _number(name, got[name], recorded[name], max(bound, loose * abs(recorded[name])))
    stepped = float(got["optimizer_stepped"] != recorded["optimizer_stepped"])
    yield Deviation("optimizer_stepped", stepped, 0.0, stepped, not stepped)
    if "parameters_without_gradient" in recorded:
        differing = set(got["parameters_without_gradient"]) ^ set(recorded["parameters_without_gradient"])
        count = float(len(differing))
        yield Deviation("parameters_without_gradient", count, 0.0, count, not differing)
    for name, norm in recorded.get("gradient_norms", {}).items():
        bound = max(tolerance["gradient_relative_l2"], loose) * norm + NO_GRADIENT * total
        computed = got["gradient_norms"].get(name, float("nan"))
        yield _number(f"gradient_norm.{name}", computed, norm, bound, floor=NO_GRADIENT * total)


def _number(name: str, got: float, want: float, bound: float, floor: float = 0.0) -> Deviation:
    error = abs(got - want)
    relative = error / max(abs(want), floor, torch.finfo(torch.float32).tiny)
    return Deviation(name, error, bound, relative, error <= bound)


def _rest(deviation: Deviation) -> tuple[float, float, float, bool]:
    return deviation.error, deviation.bound, deviation.relative, deviation.passed
