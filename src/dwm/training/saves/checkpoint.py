"""A training run's saves: weights, averages, optimizers and step in one folder that appears whole or not at all.

Tensors lie in safetensors files, one of each process; everything else in `state.json`; nothing is pickled. A save can be read
by another number of processes. Data order and random numbers need no save: both are functions of the seed and the step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dwm.checkpoints.key_check import require_keys, shapes_of
from dwm.checkpoints.tensor_files import read_tensors, write_tensors
from dwm.errors import DwmError
from dwm.screen import say
from dwm.storage import atomic_write, read_file
from dwm.strict_json import parse_json
from dwm.training.loop.ema import Ema
from dwm.training.loop.scaler import Scaler
from dwm.training.parallel.ranks import Ranks
from dwm.training.parallel.tensors import whole

if TYPE_CHECKING:
    from dwm.training.saves.shard_files import (
        Files,  # at run time where it is used: its library takes a second to import
    )

NAME = re.compile(r"\d{7,}")
STATE, SCORES = "state.json", "scores.json"
THIS = "the network in training; is it the same one?"
LARGEST_STATE = 2**20


@dataclass
class Training:
    """All that changes while a network is trained, besides the step number."""

    module: nn.Module
    optimizers: list[torch.optim.Optimizer]
    ema: Ema
    scaler: Scaler = field(default_factory=lambda: Scaler(torch.float32))
    gathered: Callable[[], AbstractContextManager[None]] = nullcontext

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a save holds, by name; sharded as it is, sharing its memory."""
        tensors = {f"weights.{name}": value.detach() for name, value in self.module.state_dict().items()}
        tensors.update({f"average.{name}": value for name, value in self.ema.average.items()})
        for name, parameter, optimizer in self.optimized():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
        return tensors

    def optimized(self) -> Iterable[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
        """Every parameter that learns, with its name and its optimizer."""
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    yield names[id(parameter)], parameter, optimizer

    def averaged(self) -> dict[str, Tensor]:
        """The module's whole state with averaged parameters, in the processor's memory; all processes must ask."""
        state = {**self.module.state_dict(), **self.ema.average}
        return {name: whole(value.detach()).cpu() for name, value in state.items()}

    @contextmanager
    def sampled(self):
        """Within this block the module has whole, averaged weights and is in eval mode; all processes must enter it."""
        mode = self.module.training
        with ExitStack() as stack:
            stack.enter_context(self.ema.applied(self.module))
            stack.enter_context(self.gathered())
            self.module.eval()
            try:
                yield self.module
            finally:
                self.module.train(mode)


def saves(folder: Path) -> list[Path]:
    """The complete saves of a run, oldest first."""
    folders = [path for path in folder.glob("*") if NAME.fullmatch(path.name) and (path / STATE).exists()]
    return sorted(folders, key=lambda path: int(path.name))


def scores(folder: Path) -> dict[int, float]:
    """What callbacks found of the saved steps; the lower the better."""
    try:
        values = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        return {int(step): float(value) for step, value in values.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def note_score(folder: Path, step: int, value: float) -> None:
    """Keeps what was found of a step, so that its save can be kept as one of the best."""
    with atomic_write(folder / SCORES) as beside:
        beside.write_text(json.dumps({**scores(folder), step: value}), encoding="utf-8")


def prune(folder: Path, keep: int, keep_best: int) -> None:
    """Deletes all saves but the last `keep` and the `keep_best` with the lowest scores."""
    folders = {int(path.name): path for path in saves(folder)}
    scored = {step: value for step, value in scores(folder).items() if step in folders}
    best = sorted(scored, key=lambda step: (scored[step], -step))[:keep_best]
    for step in sorted(folders)[:-keep]:
        if step not in best:
            remove(folders[step])


def remove(path: Path) -> None:
    """Deletes a save in two steps, so that one cut short does not look like a save."""
    beside = path.with_name(f".deleting-{path.name}")
    shutil.rmtree(beside, ignore_errors=True)
    os.replace(path, beside)
    shutil.rmtree(beside, ignore_errors=True)


def resume(folder: Path, training: Training, ranks: Ranks) -> int:
    """Goes on from the newest save that is whole; returns the steps done, 0 where there is no save.

    A damaged one is named, renamed to `damaged-…` and the one before it taken. Raises DwmError where all are damaged.
    """
    with ranks.first_alone():
        folders = saves(folder)
    for path in reversed(folders):
        wrong = damage(path, ranks)
        if wrong is None:
            return restore(path, training)
        if ranks.first:
            say(f"{path}: {wrong}; the save before it is taken")
            os.replace(path, path.with_name(f"damaged-{path.name}"))
    if folders:
        raise DwmError(f"{folder}: none of its {len(folders)} saves can be read; start again in another folder")
    return 0


def damage(path: Path, ranks: Ranks = Ranks()) -> str | None:
    """What is wrong with a save, or None. The processes share out its files, so all must ask."""
    from dwm.training.saves.shard_files import PATTERN, fault

    wrong = None
    try:
        state = read_state(path)
        files = sorted(path.glob(PATTERN))
        if len(files) != state["files"]:
            wrong = f"{len(files)} of its {state['files']} files are there"
        for file in files[ranks.rank :: ranks.count]:
            wrong = wrong or fault(file)
    except DwmError as error:
        wrong = str(error)
    return next((one for one in ranks.gather(wrong) if one), None)


def restore(path: Path, training: Training) -> int:
    """Puts everything back as it was when `path` was saved; returns the number of steps done."""
    from dwm.training.saves.shard_files import Files

    state = read_state(path)
    files = Files(path)
    weights = {name: entry.size for name, entry in files.tensors.items() if name.startswith("weights.")}
    own = {f"weights.{name}": value for name, value in training.module.state_dict().items()}
    require_keys(path, weights, shapes_of(own), THIS)
    _prepare_optimizers(path, training, files)
    tensors = training.tensors()
    require_keys(path, {name: entry.size for name, entry in files.tensors.items()}, shapes_of(tensors), THIS)
    with torch.no_grad():
        files.read_into(tensors)
    training.ema.updates = state["average_updates"]
    if training.scaler.enabled and state["scaler"]:
        training.scaler.scale, training.scaler.good_steps = state["scaler"]
    return state["step"]


def state_of(step: int, training: Training, files: int) -> dict[str, Any]:
    """What `state.json` of a save says."""
    scaler = [training.scaler.scale, training.scaler.good_steps] if training.scaler.enabled else None
    return {"step": step, "files": files, "average_updates": training.ema.updates, "scaler": scaler}


def read_state(path: Path) -> dict[str, Any]:
    """A save's `state.json`. Raises DwmError where it is not one."""
    file = path / STATE
    try:
        state = parse_json(read_file(file, LARGEST_STATE), STATE)
        counts = all(isinstance(state[key], int) and state[key] >= 0 for key in ("step", "files", "average_updates"))
        if not counts or "scaler" not in state:
            raise ValueError("its counts are not numbers")
    except (ValueError, KeyError, TypeError, DwmError) as error:
        raise DwmError(f"{file}: cannot be read ({error}); take an earlier save") from error
    return state


def saved_weights(path: Path, part: str = "average") -> dict[str, Tensor]:
    """The whole tensors of a save: its `weights`, or its `average` with the weights that are not averaged."""
    from dwm.training.saves.shard_files import Files

    files = Files(path)
    stored_names = {name.partition(".")[2]: name for name in files.tensors if name.startswith("weights.")}
    if part == "average":
        stored_names.update({name.partition(".")[2]: name for name in files.tensors if name.startswith("average.")})
    return {name: files.whole(stored) for name, stored in stored_names.items()}


def load_weights(module: nn.Module, path: Path) -> None:
    """Loads a weights file into `module`. Raises DwmError where keys or shapes differ."""
    weights = read_tensors(path)
    require_keys(path, shapes_of(weights), shapes_of(module.state_dict()), THIS)
    module.load_state_dict(weights)


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Writes a module's state, or whole tensors by name, as one safetensors file."""
    with atomic_write(path) as beside:
        write_tensors(beside, weights.state_dict() if isinstance(weights, nn.Module) else weights)


def _prepare_optimizers(path: Path, training: Training, files: Files) -> None:
    """Gives each parameter the state that its save has, still empty; a step has not been taken yet."""
    stored: dict[str, list[str]] = {}
    for name in files.tensors:
        if name.startswith("optimizer."):
            owner, key = name.removeprefix("optimizer.").rsplit(".", 1)
            stored.setdefault(owner, []).append(key)
    for name, parameter, optimizer in training.optimized():
        keys = stored.pop(name, [])
        unlike = set(keys) ^ STATE_KEYS[type(optimizer).__name__] if keys else set()
        if unlike:
            raise DwmError(f"{path}: {name} was trained by another optimizer; resume with the options it was made with")
        for key in keys:
            entry = files.tensors[f"optimizer.{name}.{key}"]
            if entry.size == parameter.shape:
                optimizer.state[parameter][key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            else:
                device = parameter.device if optimizer.defaults.get("fused") else None
                empty = torch.zeros(entry.size, dtype=entry.properties.dtype, device=device)
                optimizer.state[parameter][key] = empty
    if stored:
        raise DwmError(
            f"{path}: {len(stored)} parameters that learned do not now, {next(iter(stored))} among them; resume with "
            "the options it was made with"
        )


STATE_KEYS = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "Muon": {"momentum"}}
"""What each optimizer remembers of a parameter."""
