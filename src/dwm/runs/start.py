"""How every training run begins: one process checks and claims the folder, all of them start or none. Trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dwm.devices import pick_device
from dwm.errors import DwmError
from dwm.runs.claim import claimed
from dwm.runs.precision import note_training_dtype, training_dtype
from dwm.training.loop.reduction import REDUCTIONS
from dwm.training.loop.step import Callback
from dwm.training.parallel.ranks import current_ranks, group, restarted
from dwm.training.stages.stage import Context

if TYPE_CHECKING:
    from dwm.config.lidar import LidarRecipe
    from dwm.config.recipe import Recipe


@contextmanager
def started(
    run: Recipe | LidarRecipe, output: Path, resume: bool, callbacks: Sequence[Callback], check: Callable[[], None]
) -> Iterator[Context]:
    """What all stages of the run have in common, while `output` is this run's. Several processes that a launcher started share it.

    `check` is asked by the first process before anything is written. Raises DwmError for what it finds, and where `output` holds
    another run, or this one and `resume` was not given.
    """
    if not run.data.train:
        raise DwmError(f"{run.name or 'config'}: data.train is empty; there is nothing to train on")
    with group(run.device), ExitStack() as stack:
        resume = resume or restarted()
        ranks, refused = current_ranks(), None
        if ranks.first:
            try:
                check()
                stack.enter_context(claimed(run, output, resume))
                device = pick_device(run.device)
                note_training_dtype(training_dtype(run.autocast, device, output), device, output)
            except DwmError as error:
                refused = error
        if ranks.any(refused is not None)[0]:
            raise refused or SystemExit(1)  # the first process says it for all
        yield context(run, output, resume, callbacks)


def context(
    run: Recipe | LidarRecipe, output: Path, resume: bool = True, callbacks: Sequence[Callback] = ()
) -> Context:
    """What all stages of a run have in common."""
    device = pick_device(run.device)
    dtype = training_dtype(run.autocast, device, output)
    return Context(output, device, dtype, resume, run.data.workers, tuple(callbacks), REDUCTIONS[run.compatibility])
