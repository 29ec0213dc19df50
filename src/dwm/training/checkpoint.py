"""A training run's saves: weights, averages, optimizers and step in one folder that appears whole or not at all.

Tensors lie in safetensors files, everything else in `state.json`; nothing is pickled. Data order and random numbers need no
save: both are functions of the seed and the step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dwm.errors import DwmError
from dwm.storage import atomic_write
from dwm.training.ema import Ema

NAME = re.compile(r"\d{7}")
SHOWN_KEYS = 10


@dataclass
class Training:
    """All that changes while a network is trained, besides the step number."""

    module: nn.Module
    optimizers: list[torch.optim.Optimizer]
    ema: Ema


def save(folder: Path, step: int, training: Training, keep: int = 2) -> Path:
    """Writes `folder/0000500` for step 500 and deletes all but the last `keep` saves. Raises DwmError on a full disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".saving-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    target = folder / f"{step:07d}"
    try:
        _write(beside, step, training)
        if target.exists():
            shutil.rmtree(target)
        os.replace(beside, target)
    except OSError as error:
        raise DwmError(
            f"{target}: could not be saved ({error.strerror or error}); the saves before it are kept"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for old in saves(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def saves(folder: Path) -> list[Path]:
    """The complete saves of a run, oldest first."""
    return sorted(path for path in folder.glob("*") if NAME.fullmatch(path.name) and (path / "state.json").exists())


def restore(path: Path, training: Training) -> int:
    """Puts everything back as it was when `path` was saved; returns the number of steps done."""
    state = _read_state(path)
    load_weights(training.module, path / "weights.safetensors")
    average = _load(path / "average.safetensors")
    _compare_keys(path / "average.safetensors", average, training.ema.average)
    for name, value in training.ema.average.items():
        value.copy_(average[name])
    training.ema.updates = state["average_updates"]
    if len(state["optimizers"]) != len(training.optimizers):
        raise DwmError(f"{path}: holds {len(state['optimizers'])} optimizers, the run has {len(training.optimizers)}")
    for number, (optimizer, groups) in enumerate(zip(training.optimizers, state["optimizers"], strict=True)):
        tensors = _load(path / f"optimizer_{number}.safetensors")
        _restore_optimizer(path, optimizer, groups, tensors)
    return state["step"]


def load_weights(module: nn.Module, path: Path) -> None:
    """Loads a weights file into `module`; differing keys or shapes end in a DwmError that names ten of them."""
    weights = _load(path)
    _compare_keys(path, weights, module.state_dict())
    module.load_state_dict(weights)


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes a module's state as one safetensors file."""
    with atomic_write(path) as beside:
        save_file(_contiguous(module.state_dict()), beside)


def _write(folder: Path, step: int, training: Training) -> None:
    save_file(_contiguous(training.module.state_dict()), folder / "weights.safetensors")
    save_file(_contiguous(training.ema.average), folder / "average.safetensors")
    groups = []
    for number, optimizer in enumerate(training.optimizers):
        state = optimizer.state_dict()
        tensors = {
            f"{index}.{key}": torch.as_tensor(value)
            for index, values in state["state"].items()
            for key, value in values.items()
        }
        save_file(_contiguous(tensors), folder / f"optimizer_{number}.safetensors")
        groups.append([{"parameters": group["params"]} for group in state["param_groups"]])
    state = {"step": step, "average_updates": training.ema.updates, "optimizers": groups}
    (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _restore_optimizer(
    path: Path, optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]], tensors: dict[str, Tensor]
) -> None:
    current = optimizer.state_dict()
    if [group["parameters"] for group in groups] != [group["params"] for group in current["param_groups"]]:
        raise DwmError(
            f"{path}: the optimizer held other parameters than the run's; resume with the options it was made with"
        )
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies that share no memory: safetensors refuses tied parameters otherwise."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:
        raise DwmError(f"{path}: cannot be read as safetensors ({error}); take an earlier save") from error


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DwmError(f"{path / 'state.json'}: cannot be read ({error}); take an earlier save") from error


def _compare_keys(path: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    wrong = [f"missing {name}" for name in wanted if name not in found]
    wrong += [f"unknown {name}" for name in found if name not in wanted]
    wrong += [
        f"{name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    if wrong:
        shown: Iterable[str] = wrong[:SHOWN_KEYS]
        more = ", …" if len(wrong) > SHOWN_KEYS else ""
        raise DwmError(f"{path}: {len(wrong)} keys differ: {', '.join(shown)}{more}; is this the same network?")
