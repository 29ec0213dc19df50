"""Rectified flow: noise levels, how training draws them, noising, and the Euler solver. Knows no network.

A noise level σ in [0, 1] mixes noisy = σ·noise + (1−σ)·clean; a network predicts the velocity noise − clean and is told 1000·σ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dwm.diffusion.options import Weighting

STEPS = 1000
"""Noise levels that training knows, and the factor between σ and the time that a network is told."""

MODE_SCALE = 1.29


def shifted(sigma: Float[Tensor, "*s"], shift: float) -> Float[Tensor, "*s"]:
    """Noise levels moved towards noise by `shift` (> 1), as larger pictures need."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def level(index: Int[Tensor, "*s"], steps: int, shift: float) -> Float[Tensor, "*s"]:
    """The noise levels at which these of `steps` steps begin: even, then shifted. That of index `steps` is 0."""
    return shifted(1 - index.to(torch.float32) / steps, shift)


def training_sigmas(shift: float, device: torch.device | str = "cpu", count: int = STEPS) -> Float[Tensor, "count"]:
    """The noise levels of training, from 1 (pure noise) down to almost clean."""
    return shifted(torch.arange(count, 0, -1, dtype=torch.float32, device=device) / count, shift)


def draw_positions(
    shape: tuple[int, ...], weighting: Weighting = "logit_normal", generator: torch.Generator | None = None
) -> Float[Tensor, "..."]:
    """Places u in [0, 1] in the table of noise levels (0: noise), drawn on the CPU: which noise levels training sees how often."""
    if weighting == "logit_normal":
        return torch.sigmoid(torch.normal(0.0, 1.0, shape, generator=generator))
    u = torch.rand(shape, generator=generator)
    if weighting == "mode":
        return 1 - u - MODE_SCALE * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
    return u


def sigmas_at(positions: Float[Tensor, "*s"], table: Float[Tensor, "n"]) -> Float[Tensor, "*s"]:
    """Noise levels at places u of the table; u = 1 is its last entry."""
    return table[(positions * len(table)).long().clamp(0, len(table) - 1).to(table.device)]


def spread(value: Tensor, like: Tensor) -> Tensor:
    """`value` with trailing axes of size one until it has as many as `like`."""
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


def add_noise(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Noisy latents; sigma has the leading axes of the latents, any number of them."""
    sigma = spread(sigma, clean)
    return sigma * noise + (1 - sigma) * clean


@dataclass(frozen=True)
class FlowMatchEuler:
    """Euler steps down a list of noise levels, one index for all or one for every frame and view. Draws nothing.

    sigmas end in two zeros: index `steps` is a finished frame, which is told time 0 and no longer moves. `count` is the
    number of noise levels of training.
    """

    sigmas: Float[Tensor, "n"]
    count: int = STEPS
    initial_noise = 1.0

    @classmethod
    def create(
        cls,
        steps: int,
        shift: float,
        double_shift: bool = False,
        device: torch.device | str = "cpu",
        count: int = STEPS,
    ) -> FlowMatchEuler:
        """`steps` noise levels: even, then shifted.

        `double_shift` keeps diffusers' habit of shifting a list that ends at the already shifted lowest level, which
        published pictures were made with.
        """
        if double_shift:
            lowest = training_sigmas(shift, count=count)[-1].double().item()
            levels = shifted(torch.linspace(count, lowest * count, steps, dtype=torch.float64) / count, shift).float()
        else:
            levels = level(torch.arange(steps), steps, shift)
        return cls(torch.cat([levels, torch.zeros(2)]).to(device), count)

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 2

    @property
    def times(self) -> Float[Tensor, "{self.steps}+1"]:
        """What the network is told at each index."""
        return self.sigmas[:-1] * self.count

    def step(
        self, sample: Float[Tensor, "..."], predicted: Float[Tensor, "..."], index: int | Int[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The sample one noise level further, in float32. A tensor index has leading axes of the sample."""
        if isinstance(index, int):
            change = self.sigmas[index + 1] - self.sigmas[index]
        else:
            change = spread(self.sigmas[index + 1] - self.sigmas[index], sample)
        return sample.float() + change * predicted.float()
