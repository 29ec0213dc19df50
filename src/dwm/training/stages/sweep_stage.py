"""A stage of training a network of sweeps: leaves `weights.safetensors` in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from dwm.training.feed.sweeps import SweepFeed
from dwm.training.loop.options import LoopOptions
from dwm.training.loop.step import Callback
from dwm.training.saves import checkpoint
from dwm.training.stages.stage import Context
from dwm.training.stages.sweeps import SweepTask

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class SweepStage:
    """make: the task, from what the stages before left. epochs: end after so many passes where that is sooner than its steps.
    watchers: what looks at it on the way."""

    name: str
    options: LoopOptions
    make: Callable[[Context], SweepTask]
    epochs: int | None = None
    watchers: Callable[[Context, SweepTask], Sequence[Callback]] = lambda context, task: ()

    def finished(self, context: Context) -> bool:
        """Its weights are there, and its last save is not short of the steps that are asked for now."""
        folder = context.folder / self.name
        saves = checkpoint.saves(folder / "checkpoints")
        return (folder / WEIGHTS).exists() and not (saves and int(saves[-1].name) < self.options.steps)

    def task(self, context: Context) -> SweepTask:
        if context.ranks.first:
            (context.folder / self.name / WEIGHTS).unlink(missing_ok=True)  # they are of fewer steps
        return self.make(context)

    def loop(self, task: SweepTask) -> LoopOptions:
        if self.epochs is None:
            return self.options
        assert isinstance(task.feed, SweepFeed)  # as `make` made it
        return self.options.with_(steps=min(self.options.steps, self.epochs * task.feed.plan.steps))

    def callbacks(self, context: Context, task: SweepTask) -> Sequence[Callback]:
        return self.watchers(context, task)

    def write(self, context: Context, task: SweepTask, averaged: Mapping[str, Tensor]) -> None:
        checkpoint.save_weights(averaged, context.folder / self.name / WEIGHTS)
