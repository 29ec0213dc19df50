"""DPM-Solver++ for SD 2.1: diffusers' multistep solver behind the face of ours. Knows no network."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Multistep:
    """Steps that use the predictions before (Lu et al. 2022), so they must be taken in order, from index 0 on, all frames together.

    Index 0 forgets what came before. It serves one window at a time; diffusion forcing, whose frames are apart, needs `Ddim`.
    """

    initial_noise = 1.0

    def __init__(self, steps: int, scheduler: dict[str, Any], device: torch.device | str = "cpu"):
        """A solver by the configuration of an SD scheduler folder."""
        from diffusers import DPMSolverMultistepScheduler  # here: it takes seconds, and a flow needs none of it

        self._count = steps
        self._inner = DPMSolverMultistepScheduler.from_config(scheduler)
        self._begin()
        times: Int[Tensor, "steps"] = self._inner.timesteps
        self.times = torch.cat([times, times.new_zeros(1)]).to(device)

    @property
    def sigmas(self) -> Float[Tensor, "{self.steps}+1"]:
        """The noise levels between which it steps, relative to the clean latents."""
        return self._inner.sigmas

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    def step(
        self, sample: Float[Tensor, "..."], predicted: Float[Tensor, "..."], index: int | Int[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The sample at the next time, in float32. Raises ValueError for an index of each frame: one history serves all."""
        if not isinstance(index, int):
            raise ValueError("a multistep solver takes all frames at one index")
        if index == 0:
            self._begin()
        return self._inner.step(predicted.float(), self._inner.timesteps[index], sample.float()).prev_sample

    def _begin(self) -> None:
        # Its table stays in the processor's memory, and it is told where it is: nothing is copied or looked for on a device.
        self._inner.set_timesteps(self._count)
        self._inner.set_begin_index(0)
