"""With which network, in how many steps and with which guidance a run samples: one rule for every verb."""

from __future__ import annotations

from typing import Any, TypeVar

from dwm.checkpoints import WeightsCard
from dwm.errors import DwmError
from dwm.options import Options

SomeRun = TypeVar("SomeRun", bound=Options)


def with_sampling(run: SomeRun, card: WeightsCard) -> SomeRun:
    """A run that has `fast`, `steps` and `guidance`, with what it leaves open as the weights like it.

    Raises DwmError where the network for few steps is asked for and there is none, or is asked for other steps than it knows.
    """
    asked: Any = run
    if not asked.fast:
        sampling = card.sampling
        guidance = sampling.guidance_scale if asked.guidance is None else asked.guidance
        return run.with_(fast=False, steps=asked.steps or sampling.num_inference_steps, guidance=guidance)
    sampling = card.fast_card().sampling
    steps, guidance = sampling.num_inference_steps, sampling.guidance_scale
    for name, value, known in (("steps", asked.steps, steps), ("guidance", asked.guidance, guidance)):
        if value not in (None, known) and not getattr(run, "force", False):
            raise DwmError(
                f"--{name} {value:g}: the network for few steps knows {known:g} alone; leave out --{name}, or --fast"
            )
    return run.with_(
        steps=steps if asked.steps is None else asked.steps,
        guidance=guidance if asked.guidance is None else asked.guidance,
    )


def steps_line(run: Any) -> str:
    """How a run samples, in words."""
    return f"{run.steps} steps{' of the network for few steps' if run.fast else ''}, guidance {run.guidance:g}"
