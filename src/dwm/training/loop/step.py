"""The training loop: accumulate, clip, step, average, log, save; stop on a NaN; end cleanly on Ctrl-C.

It knows neither pictures nor networks: a `Task` gives batches and losses. A run that was killed and started again continues
step for step, because batches and random numbers depend on the step alone. Nothing in a step waits for the device.
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dwm.errors import DwmError
from dwm.screen import say
from dwm.training.loop.ema import Ema
from dwm.training.loop.log import Tracker, trackers
from dwm.training.loop.meter import Meter
from dwm.training.loop.optimizers import build_optimizers, set_rates
from dwm.training.loop.options import LoopOptions
from dwm.training.loop.reduction import MEAN, Reduction
from dwm.training.loop.scaler import Scaler
from dwm.training.loop.task import Settling, Task
from dwm.training.loop.watchdog import Watchdog
from dwm.training.parallel.ranks import Ranks, current_ranks, restarted
from dwm.training.parallel.spread import Spread
from dwm.training.saves import checkpoint
from dwm.training.saves.checkpoint import Training
from dwm.training.saves.saver import Saver

SAME_PRESS = 1.0
"""Seconds within which several processes may be told of one Ctrl-C twice, by the terminal and by their launcher."""


@dataclass(frozen=True)
class Moment:
    """Where a run stands; what callbacks are told after each step, in every process."""

    step: int
    steps: int
    folder: Path
    training: Training
    ranks: Ranks = field(default_factory=Ranks)
    line: dict[str, float] | None = None
    """What the log says, where this is a log step; the same in every process."""

    @contextmanager
    def sampled(self) -> Iterator[bool]:
        """A block in which the module has its averaged weights, whole and in eval mode: True in the process that may use it.

        Every process must enter it; the others wait at its end.
        """
        with self.training.sampled():
            yield self.ranks.first
            self.ranks.barrier()

    def score(self, value: float) -> None:
        """Says how good this step's weights are, the lower the better: the best saves are kept."""
        if self.ranks.first:
            checkpoint.note_score(self.folder / "checkpoints", self.step, value)


Callback = Callable[[Moment], None]


def step_generator(seed: int, number: int) -> torch.Generator:
    """The generator of micro-batch `number`: independent of all others, the same on every run."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def train_task(
    task: Task[Any],
    options: LoopOptions,
    folder: Path,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    reduction: Reduction = MEAN,
    ranks: Ranks | None = None,
) -> Training:
    """Trains for `options.steps` steps, saving under `folder/checkpoints`, and returns everything at the end.

    With `resume` it goes on from the last save, if there is one; without, an existing save is an error. Raises DwmError when
    a loss is not a number. In a torch.distributed group the processes share out the micro-batches of each step, which gives
    what one would have got; the first one logs. Where weights are sharded, ask `Training.averaged` for the whole ones.
    `ranks=Ranks()`: this process alone, whatever the others do.
    """
    ranks = ranks or current_ranks()
    if options.accumulate % ranks.count:
        raise DwmError(
            f"accumulate is {options.accumulate}, which {ranks.count} processes cannot share; "
            f"give a multiple of {ranks.count}"
        )
    with ExitStack() as stack:
        run = _Run(task, options, folder, callbacks, reduction, ranks, stack)
        run.go(resume or restarted())
    return run.training


class _Run:
    """One call of `train_task`."""

    def __init__(
        self,
        task: Task[Any],
        options: LoopOptions,
        folder: Path,
        callbacks: Sequence[Callback],
        reduction: Reduction,
        ranks: Ranks,
        stack: ExitStack,
    ):
        self.task, self.options, self.folder, self.callbacks, self.ranks = task, options, folder, callbacks, ranks
        self.spread = Spread(task, options.parallel, ranks)
        stack.callback(self.spread.close)
        trained = [(name, value) for name, value in task.module.named_parameters() if value.requires_grad]
        self.parameters = [value for _, value in trained]
        self.training = Training(
            task.module,
            build_optimizers(trained, options.optimizer),
            Ema(task.module, options.ema_decay),
            Scaler(task.dtype),
            self.spread.whole,
        )
        self.saved = folder / "checkpoints"
        self.saver = Saver(self.saved, self.training, ranks, options.keep, options.keep_best)
        self.meter = Meter(ranks, task.device, task.dtype)
        calls = options.accumulate // ranks.count
        self.counted, self.weight = reduction.counted(calls), reduction.weight(calls)
        self.watchdog = Watchdog(
            options.watch.stall_after,
            folder / f"stalled-{ranks.rank:05d}.txt",
            lambda: f"at hand: {self.meter.at_hand}; {self._last_save()}",
        )
        self.stack = stack
        self.settling = task if isinstance(task, Settling) else None

    def go(self, resume: bool) -> None:
        first = self._resume(resume)
        options, ranks = self.options, self.ranks
        if self.settling is not None:
            self.training.ema.restart(self.settling.begin(ranks))
        services = trackers(options.watch, self.folder, first, options.steps) if ranks.first else ()
        for tracker in services:
            self.stack.callback(tracker.close)
        batches = self.task.batches(first * options.accumulate + ranks.rank, ranks.count)
        interrupt_asked = self.stack.enter_context(_deferred_interrupt(ranks))
        self.stack.enter_context(self.watchdog)
        self.stack.enter_context(self._finished())
        for step in range(first, options.steps):
            agreed = ranks.ask(interrupt_asked(), self.saver.writing, self.saver.failed)
            self._step(step, batches)
            self.watchdog.beat()
            if ranks.count == 1:
                agreed = ranks.ask(interrupt_asked(), self.saver.writing, self.saver.failed)
            stopped, writing, failed = agreed()
            self.saver.settle(writing, failed)
            self._after(step + 1, stopped, services)
            if stopped:
                self.saver.finish()
                if ranks.first:
                    say(f"stopped after step {step + 1}; saved in {self.saved}")
                raise KeyboardInterrupt
        self.saver.finish()

    def _resume(self, resume: bool) -> int:
        if not resume and checkpoint.saves(self.saved):
            raise DwmError(f"{self.saved}: holds a run already; resume it, or choose another output folder")
        return checkpoint.resume(self.saved, self.training, self.ranks)

    def _step(self, step: int, batches: Iterator[Any]) -> None:
        options, count, waited = self.options, self.ranks.count, 0.0
        scaler = self.training.scaler
        for micro in range(self.ranks.rank, options.accumulate, count):
            start = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - start
            number = step * options.accumulate + micro
            generator = step_generator(options.seed, number)
            last = micro + count >= options.accumulate
            self.meter.take(number, self.task.identity(batch))
            losses = self.spread.backward(batch, generator, self.weight * scaler.scale, last)
            self.meter.batch(losses, self.task.work(batch))
        norm, fits = scaler.clip(self.parameters, options.clip_norm)
        # The reference's schedule has advanced once for every earlier call; ours once for every earlier step.
        call = (step + 1) * self.counted - 1
        set_rates(self.training.optimizers, options.schedule.factor(call, options.steps * self.counted))
        for optimizer in self.training.optimizers:
            if fits:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        moved = () if self.settling is None else self.settling.settle(step, self.ranks)
        if fits:
            self.training.ema.update()
        self.training.ema.restart(moved)
        self.meter.step(norm, waited)

    def _after(self, step: int, stopped: bool, services: Sequence[Tracker]) -> None:
        """Logs, saves and calls back, each where it is due."""
        options, last = self.options, step == self.options.steps
        logs = step % options.log_every == 0 or last
        due = step % options.save_every == 0 or last or stopped
        line = None
        if logs or due:
            self.meter.check(options.accumulate, self._finished_save)
        if logs:
            line = self.meter.line(step, options.steps, self._rates())
            for tracker in services:
                tracker.write(step, line)
        if due:
            self.saver.start(step)
        moment = Moment(step, options.steps, self.folder, self.training, self.ranks, line)
        for callback in self.callbacks:
            callback(moment)

    def _rates(self) -> dict[str, float]:
        names = {"AdamW": "lr", "Muon": "muon_lr"}
        return {names[type(one).__name__]: one.param_groups[0]["lr"] for one in reversed(self.training.optimizers)}

    def _finished_save(self) -> str:
        self.saver.finish()
        return self._last_save()

    def _last_save(self) -> str:
        saves = checkpoint.saves(self.saved)
        return f"the last good save is {saves[-1]}" if saves else "nothing was saved yet"

    @contextmanager
    def _finished(self) -> Iterator[None]:
        """A save that is being written when the run ends badly is still finished, where that needs no other process."""
        try:
            yield
        except BaseException:
            if self.ranks.count == 1:
                with suppress(DwmError):
                    self.saver.finish()
            raise


@contextmanager
def _deferred_interrupt(ranks: Ranks) -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM asks for an end after the step at hand; said again it ends at once."""
    same = SAME_PRESS if ranks.count > 1 else 0.0
    presses: list[float] = []

    def note(signum: int, frame: Any) -> None:
        if presses and time.monotonic() - presses[0] >= same:
            raise KeyboardInterrupt
        presses.append(time.monotonic())

    kinds = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(kind, note) for kind in kinds]
    except ValueError:  # not the main thread: leave signals alone
        yield lambda: False
        return
    try:
        yield lambda: bool(presses)
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
