"""The one road of training: stages, one after another, each trained, written and passed over in the same way.

A stage says which task it gives the loop, when it is finished and what it writes. Device, precision, processes and callbacks
come with the context. It knows no recipe and no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from dwm.data.workers import training_worker_errors
from dwm.screen import say
from dwm.training.loop.options import LoopOptions
from dwm.training.loop.reduction import MEAN, Reduction
from dwm.training.loop.step import Callback, train_task
from dwm.training.loop.task import Task
from dwm.training.parallel.ranks import Ranks, current_ranks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Context:
    """What all stages of a run have in common. `dtype`: what matrix products are computed in; `workers`: processes that
    prepare data; `callbacks` are called after each step of every stage."""

    folder: Path
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    resume: bool = True
    workers: int = 0
    callbacks: Sequence[Callback] = ()
    reduction: Reduction = MEAN

    @property
    def ranks(self) -> Ranks:
        """This process among those of the run."""
        return current_ranks()


SomeTask = TypeVar("SomeTask", bound=Task[Any])


@runtime_checkable
class Stage(Protocol[SomeTask]):
    """A part of a run that is trained by itself, in a folder of its own. It holds nothing between two calls."""

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        ...

    def finished(self, context: Context) -> bool:
        """Whether its result lies in its folder; it is then passed over."""
        ...

    def task(self, context: Context) -> SomeTask:
        """What the loop trains, starting from what the stages before left. Every process asks."""
        ...

    def loop(self, task: SomeTask) -> LoopOptions:
        """How it is trained."""
        ...

    def callbacks(self, context: Context, task: SomeTask) -> Sequence[Callback]:
        """Previews and scores."""
        ...

    def write(self, context: Context, task: SomeTask, averaged: Mapping[str, Tensor]) -> None:
        """Writes the result into its folder, whole or not at all. Only the first process is asked."""
        ...


def run_stages(stages: Iterable[Stage[Any]], context: Context) -> None:
    """Trains what is not finished. A stage that was cut goes on from its last save. Every process of a run must call it."""
    for stage in stages:
        if not stage.finished(context):
            _run_stage(stage, context)


def _run_stage(stage: Stage[SomeTask], context: Context) -> None:
    task = stage.task(context)
    callbacks = (*context.callbacks, *stage.callbacks(context, task))
    with training_worker_errors(context.workers):
        averaged = _trained(task, stage.loop(task), context, stage.name, callbacks)
    if context.ranks.first:
        stage.write(context, task, averaged)
    context.ranks.barrier()


def _trained(
    task: Task[Any], options: LoopOptions, context: Context, name: str, callbacks: Sequence[Callback]
) -> Mapping[str, Tensor]:
    """The averaged weights, whole and in the processor's memory, however they were spread while they were trained.

    A stage whose micro-batches the processes cannot share is trained by the first one alone, which says so; the others wait
    and get nothing.
    """
    ranks, folder = context.ranks, context.folder / name
    if options.accumulate % ranks.count == 0:
        return train_task(task, options, folder, context.resume, callbacks, context.reduction).averaged()
    averaged: Mapping[str, Tensor] = {}
    if ranks.first:
        say(
            f"{name}: {ranks.count} processes cannot share steps of {options.accumulate} micro-batches "
            "(accumulate); the first one trains this stage alone"
        )
        training = train_task(task, options, folder, context.resume, callbacks, context.reduction, Ranks())
        averaged = training.averaged()
    ranks.barrier()
    return averaged
