"""One stage of a run by all processes: its averaged weights, whole, however they were spread while it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dwm.screen import say
from dwm.training.loop import Callback, Compatibility, LoopOptions, train_task
from dwm.training.parallel import Place, place
from dwm.training.task import Task


def train_together(
    task: Task[Any],
    options: LoopOptions,
    folder: Path,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    compatibility: Compatibility = "ours",
) -> dict[str, Tensor]:
    """Trains, and returns the averaged weights in the processor's memory.

    A stage whose micro-batches the processes cannot share is trained by the first one alone, which says so; the others wait
    and get nothing.
    """
    here = place()
    if options.accumulate % here.ranks == 0:
        return train_task(task, options, folder, resume, callbacks, compatibility).averaged()
    weights: dict[str, Tensor] = {}
    if here.first:
        say(
            f"{folder.name}: {here.ranks} processes cannot share steps of {options.accumulate} micro-batches "
            "(accumulate); the first one trains this stage alone"
        )
        weights = train_task(task, options, folder, resume, callbacks, compatibility, Place()).averaged()
    here.barrier()
    return weights
