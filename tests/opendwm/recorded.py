"""Recorded cases changed by a test: a copy of one, with other arguments, inputs or outputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dwm.opendwm.parity.cases import Case, Setup, read_case
from dwm.opendwm.parity.run import CaseResult, run_parity

SETUP = Setup(torch.device("cpu"), torch.float32)


def changed(
    source: Path,
    target: Path,
    case: Mapping[str, Any] | None = None,
    inputs: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    outputs: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Case:
    """A copy of `source` in `target`; `case` is merged into its case.json, None takes a key away."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for path in (target, *target.iterdir()):
        path.chmod(0o755)
    for parent in source.parents:
        for name in ("base_models", "pipelines"):
            if (parent / name).is_dir() and not (target.parent / name).exists():
                (target.parent / name).symlink_to(parent / name)
    merged_case = merged(json.loads((source / "case.json").read_text("utf-8")), case or {})
    (target / "case.json").write_text(json.dumps(merged_case), "utf-8")
    for name, change in (("inputs", inputs), ("outputs", outputs)):
        if (target / f"{name}.safetensors").exists():
            tensors = change(load_file(target / f"{name}.safetensors"))
            save_file({key: value.contiguous() for key, value in tensors.items()}, target / f"{name}.safetensors")
    return read_case(target)


def merged(values: Any, change: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(values) if isinstance(values, Mapping) else {}
    for key, value in change.items():
        found[key] = merged(found.get(key), value) if isinstance(value, dict) else value
    return {key: value for key, value in found.items() if value is not None or key not in change}


def result(case: Case) -> CaseResult:
    (found,) = run_parity(case.folder)
    return found


def recompute(case: Case, outputs: Mapping[str, Tensor]) -> CaseResult:
    """The case judged against `outputs` in place of what was recorded."""
    save_file({name: value.contiguous() for name, value in outputs.items()}, case.folder / "outputs.safetensors")
    return result(read_case(case.folder))
