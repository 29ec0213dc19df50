"""The training loop: accumulate, clip, step, average, log, save; stop on a NaN; end cleanly on Ctrl-C.

It knows neither pictures nor networks: a `Task` gives batches and losses. A run that was killed and started again continues
step for step, because batches and random numbers depend on the step alone.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn

from dwm.errors import DwmError
from dwm.options import Options
from dwm.training import checkpoint
from dwm.training.checkpoint import Training
from dwm.training.ema import Ema
from dwm.training.optimizers import OptimizerOptions, ScheduleOptions, build_optimizers, set_rates
from dwm.training.task import Losses, Task


class LoopOptions(Options):
    steps: int = Field(1000, gt=0, description="optimizer steps")
    accumulate: int = Field(1, gt=0, description="micro-batches whose mean gradient makes one step")
    clip_norm: float = Field(1.0, ge=0, description="largest total norm of the gradient; 0: unbounded")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights a step")
    seed: int = Field(0, ge=0, description="of data order and all random numbers")
    log_every: int = Field(20, gt=0, description="steps between two lines of the log")
    save_every: int = Field(500, gt=0, description="steps between two saves")
    keep: int = Field(2, gt=0, description="saves that are kept")
    optimizer: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleOptions = ScheduleOptions()


@dataclass
class Moment:
    """Where a run stands; what callbacks are told after each step."""

    step: int
    steps: int
    losses: dict[str, float]
    gradient_norm: float
    rate_factor: float
    seconds: float
    training: Training
    folder: Path


Callback = Callable[[Moment], None]


@dataclass
class _Window:
    """Sums since the last line of the log."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, moment: Moment, waited: float) -> None:
        self.steps += 1
        self.waited += waited
        for name, value in {**moment.losses, "gradient_norm": moment.gradient_norm}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


def step_generator(seed: int, number: int) -> torch.Generator:
    """The generator of micro-batch `number`: independent of all others, the same on every run."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def train_task(
    task: Task[Any], options: LoopOptions, folder: Path, resume: bool = True, callbacks: Sequence[Callback] = ()
) -> Training:
    """Trains for `options.steps` steps, saving under `folder/checkpoints`, and returns everything at the end.

    With `resume` it goes on from the last save, if there is one; without, an existing save is an error. Raises DwmError when
    a loss is not a number. In a torch.distributed group the ranks share out the micro-batches of each step, which gives what
    one process would have got; the first rank logs and saves.
    """
    rank, ranks = place()
    if options.accumulate % ranks:
        raise DwmError(
            f"accumulate is {options.accumulate}, which {ranks} processes cannot share; give a multiple of {ranks}"
        )
    trained = [(name, parameter) for name, parameter in task.module.named_parameters() if parameter.requires_grad]
    training = Training(task.module, build_optimizers(trained, options.optimizer), Ema(task.module, options.ema_decay))
    saved = folder / "checkpoints"
    done = _resume(saved, training, resume)
    window, log = _Window(), _Log(folder, done) if rank == 0 else None
    batches = task.batches(done * options.accumulate + rank, ranks)
    with _deferred_interrupt() as interrupted:
        for step in range(done, options.steps):
            moment, waited = _step(task, training, options, step, batches, folder)
            window.add(moment, waited)
            last = moment.step == options.steps
            stopped = interrupted()
            if log is not None:
                if moment.step % options.log_every == 0 or last:
                    log.write(moment, window)
                    window = _Window()
                if moment.step % options.save_every == 0 or last or stopped:
                    checkpoint.save(saved, moment.step, training, options.keep)
                for callback in callbacks:
                    callback(moment)
            if stopped:
                print(f"stopped after step {moment.step}; saved in {saved}", file=sys.stderr)
                raise KeyboardInterrupt
    if ranks > 1:
        dist.barrier()
    return training


def place() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) without a torch.distributed group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _resume(saved: Path, training: Training, resume: bool) -> int:
    found = checkpoint.saves(saved)
    if found and not resume:
        raise DwmError(f"{saved}: holds a run already; resume it, or choose another output folder")
    return checkpoint.restore(found[-1], training) if found else 0


def _step(
    task: Task[Any], training: Training, options: LoopOptions, step: int, batches: Iterator[Any], folder: Path
) -> tuple[Moment, float]:
    started, waited = time.perf_counter(), 0.0
    sums: dict[str, Tensor] = {}
    rank, ranks = place()
    for micro in range(rank, options.accumulate, ranks):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        losses = task.losses(batch, step_generator(options.seed, step * options.accumulate + micro))
        (losses.loss / options.accumulate).backward()
        for name, value in _means(losses).items():
            sums[name] = sums.get(name, 0) + value.detach() / options.accumulate
    parameters = [p for optimizer in training.optimizers for group in optimizer.param_groups for p in group["params"]]
    if ranks > 1:
        _share(parameters, sums)
    norm = nn.utils.clip_grad_norm_(parameters, options.clip_norm or float("inf"))
    read = {name: float(value) for name, value in sums.items()}
    if not all(map(_is_number, (*read.values(), float(norm)))):
        kept = checkpoint.saves(folder / "checkpoints")
        where = f"the last good save is {kept[-1]}" if kept else "nothing was saved yet"
        raise DwmError(f"step {step + 1}: the loss or its gradient is not a number ({read}); {where}; lower the rate")
    factor = options.schedule.factor(step, options.steps)
    set_rates(training.optimizers, factor)
    for optimizer in training.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    training.ema.update(training.module)
    seconds = time.perf_counter() - started
    return Moment(step + 1, options.steps, read, float(norm), factor, seconds, training, folder), waited


def _means(losses: Losses) -> dict[str, Tensor]:
    return {"loss": losses.loss, **{name: total / count.clamp(min=1) for name, (total, count) in losses.parts.items()}}


def _share(parameters: Sequence[nn.Parameter], sums: dict[str, Tensor]) -> None:
    """Sums gradients and losses over all processes; what no process has a gradient for keeps none."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    present = torch.tensor([float(p.grad is not None) for p in parameters])
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), present, *(v.reshape(1) for v in sums.values())])
    dist.all_reduce(flat)
    pieces = flat.split([p.numel() for p in parameters] + [len(parameters)] + [1] * len(sums))
    for parameter, piece, found in zip(parameters, pieces, pieces[len(parameters)], strict=False):
        parameter.grad = piece.view_as(parameter) if found else None
    for name, value in zip(sums, pieces[len(parameters) + 1 :], strict=True):
        sums[name] = value[0]


class _Log:
    """A line a period on stderr and in `log.jsonl`, and TensorBoard curves in `curves/`."""

    def __init__(self, folder: Path, done: int):
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        self.curves = SummaryWriter(str(folder / "curves"), purge_step=done)

    def write(self, moment: Moment, window: _Window) -> None:
        means = {name: value / window.steps for name, value in window.sums.items()}
        seconds = (time.perf_counter() - window.started) / window.steps
        entry = {"step": moment.step, **means, "rate": moment.rate_factor, "seconds": seconds}
        entry["waiting"] = window.waited / window.steps
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: round(value, 7) for name, value in entry.items()}) + "\n")
        for name, value in entry.items():
            if name != "step":
                self.curves.add_scalar(f"train/{name}", value, moment.step)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        left = (moment.steps - moment.step) * seconds
        line = f"step {moment.step}/{moment.steps}: {shown}, {seconds:.3f} s/step, {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks for an end after the step at hand; pressed twice it ends at once."""
    asked = False

    def note(signum: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: leave signals alone
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _is_number(value: float) -> bool:
    return value == value and abs(value) != float("inf")
