"""What the latent diffusion of sweeps is trained on: noisy latents beside known first frames, told boxes and map from above."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dwm.diffusion.process import NoiseProcess
from dwm.generation.sweep_latents import blank_conditions
from dwm.networks import Conditions
from dwm.training.objectives.sweep_tokens import (
    SweepObjective,
    Task,
    draw_task,
    dropped,
    keep_draws,
    known_frames,
    latent_loss,
)


@dataclass(frozen=True)
class NoisySweeps:
    """What the network gets, latents (b, t, c, h, w), times (b, t) and conditions, and what its answer is compared with.

    known (b, t): frames that are given clean. sigma (b, t): the flow's noise level; without one the answer is compared as it is.
    """

    sample: Tensor
    times: Tensor
    conditions: Conditions
    known: Tensor
    task: Task
    target: Tensor
    sigma: Tensor | None

    def loss(self, output: Tensor) -> Tensor:
        """Of the network's answer (b, t, c, h, w)."""
        clean = output if self.sigma is None else self.sample - self.sigma[..., None, None, None] * output
        return latent_loss(clean, self.target, self.known)


def draw_noisy(
    latents: Tensor,
    layout: Tensor | None,
    process: NoiseProcess,
    objective: SweepObjective,
    text: tuple[int, int | None],
    generator: torch.Generator,
    others: torch.Generator,
) -> NoisySweeps:
    """Of latents (b, t, c, h, w) and their layout (b, t, 3 or 6, H, W). Numbers are drawn in the order in which OpenDWM does."""
    b, t, c, h, w = latents.shape
    noise = torch.randn((b, t, h, w, c), generator=generator).to(latents).permute(0, 1, 4, 2, 3)
    places = process.draw((b,), generator, others)
    keeps = keep_draws(b, layout, objective, generator)
    torch.rand(b, generator=generator)  # which clips keep their words, of which there are none
    task = draw_task(b, t, objective, generator)
    known = known_frames(task, t).to(latents.device)
    noisy = process.add(latents[:, :, None], noise[:, :, None], places)
    sample = torch.where(known[..., None, None, None], latents, noisy.sample[:, :, 0])
    times = noisy.time[:, :, 0].masked_fill(known, 0)
    told = blank_conditions(sample, dropped(layout, keeps), text, task.single.to(latents.device))
    sigma = None if noisy.sigma is None else noisy.sigma[:, :, 0]
    return NoisySweeps(sample, times, told, known, task, noisy.target[:, :, 0], sigma)
