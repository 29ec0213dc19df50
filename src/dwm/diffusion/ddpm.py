"""The older diffusion of SD 2.1: DDPM noising with a time per frame, and the DDIM solver without noise. Knows no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dwm.diffusion.flow import spread

Prediction = Literal["epsilon", "sample", "v_prediction"]


def add_noise(clean: Tensor, noise: Tensor, time: Int[Tensor, "..."], alphas: Float[Tensor, "n"]) -> Tensor:
    """Noisy latents at integer times, which have leading axes of the latents; alphas is the cumulated table."""
    alpha = spread(alphas[time], clean)
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def velocity(clean: Tensor, noise: Tensor, time: Int[Tensor, "..."], alphas: Float[Tensor, "n"]) -> Tensor:
    """What a network with `v_prediction` learns to predict."""
    alpha = spread(alphas[time], clean)
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * clean


def alphas_of(scheduler: dict[str, Any]) -> Float[Tensor, "n"]:
    """The cumulated table of a scheduler's configuration."""
    from diffusers import DDPMScheduler  # here: it takes seconds, and a flow needs none of it

    return DDPMScheduler.from_config(scheduler).alphas_cumprod


@dataclass(frozen=True)
class Ddim:
    """DDIM steps down a list of integer times, one index for all or one for every frame and view. Draws nothing (η = 0).

    The last index is a finished frame: time 0, and it no longer moves.
    """

    times: Int[Tensor, "n"]
    alpha: Float[Tensor, "n"]
    next_alpha: Float[Tensor, "n"]
    prediction: Prediction
    bound: Callable[[Tensor], Tensor] | None = None
    """What keeps the clean latents that are pointed to within bounds, where the configuration asks for it."""
    initial_noise = 1.0

    @classmethod
    def create(
        cls,
        steps: int,
        scheduler: dict[str, Any],
        device: torch.device | str = "cpu",
        times: Int[Tensor, "n"] | None = None,
    ) -> Ddim:
        """A solver by the configuration of an SD scheduler folder; `times` instead of those of `steps` even steps."""
        from diffusers import DDIMScheduler

        table = DDIMScheduler.from_config(scheduler)
        table.set_timesteps(steps)
        times, alphas = table.timesteps if times is None else times.cpu(), table.alphas_cumprod
        before = times - table.config.num_train_timesteps // steps
        after = torch.where(before >= 0, alphas[before.clamp(min=0)], table.final_alpha_cumprod)
        finished = alphas.new_ones(1)
        return cls(
            torch.cat([times, times.new_zeros(1)]).to(device),
            torch.cat([alphas[times], finished]).to(device),
            torch.cat([after, finished]).to(device),
            table.config.prediction_type,
            _bound(table),
        )

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    def step(
        self, sample: Float[Tensor, "..."], predicted: Float[Tensor, "..."], index: int | Int[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The sample at the next time, in float32. A tensor index has leading axes of the sample."""
        sample, predicted = sample.float(), predicted.float()
        alpha, after = spread(self.alpha[index], sample), spread(self.next_alpha[index], sample)
        clean, noise = self._split(sample, predicted, alpha)
        moved = after.sqrt() * clean + (1 - after).sqrt() * noise
        return torch.where(alpha == 1, sample, moved)

    def clean(self, sample: Tensor, predicted: Tensor, index: int | Int[Tensor, "..."]) -> Tensor:
        """The clean latents that a prediction points to."""
        return self._split(sample.float(), predicted.float(), spread(self.alpha[index], sample))[0]

    def _split(self, sample: Tensor, predicted: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        if self.prediction == "epsilon":
            # At the finished index alpha is 1 and nothing divides by zero there.
            clean, noise = (sample - (1 - alpha).sqrt() * predicted) / alpha.sqrt(), predicted
        elif self.prediction == "sample":
            clean = predicted
            noise = (sample - alpha.sqrt() * clean) / (1 - alpha).sqrt().clamp(min=1e-12)
        else:
            clean = alpha.sqrt() * sample - (1 - alpha).sqrt() * predicted
            noise = alpha.sqrt() * predicted + (1 - alpha).sqrt() * sample
        return clean if self.bound is None else self.bound(clean), noise


def _bound(table: Any) -> Callable[[Tensor], Tensor] | None:
    if table.config.thresholding:
        return table._threshold_sample
    clip = table.config.clip_sample_range
    return (lambda clean: clean.clamp(-clip, clip)) if table.config.clip_sample else None
