"""How training adds noise to latents, and what the network is asked for: rectified flow (SD 3) or DDPM (SD 2.1).

Knows no network and no task; where in its schedule a clip or a frame is, is drawn first and applied later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dwm.devices import send
from dwm.diffusion import ddpm
from dwm.diffusion.flow import STEPS, add_noise, draw_positions, sigmas_at, spread, training_sigmas
from dwm.diffusion.options import Weighting
from dwm.errors import DwmError
from dwm.training.objectives.options import ObjectiveOptions

Latents = Float[Tensor, "b t v c h w"]


@dataclass(frozen=True)
class Noisy:
    """Noisy latents, the time that the network is told, and what its answer is compared with.

    sigma is the flow's noise level; without one the answer is compared as it is.
    """

    sample: Latents
    time: Shaped[Tensor, "b t v"]
    target: Latents
    sigma: Float[Tensor, "b t v"] | None = None


@runtime_checkable
class Noising(Protocol):
    def draw(self, shape: tuple[int, ...], generator: torch.Generator, others: torch.Generator) -> Tensor:
        """Places in the schedule, one per clip (b) or frame (b, t). Each kind uses one of the two generators."""
        ...

    def add(self, latents: Latents, noise: Latents, places: Shaped[Tensor, "b *t"]) -> Noisy: ...


@dataclass(frozen=True)
class FlowNoising:
    """noisy = σ·noise + (1−σ)·clean; the network is told 1000·σ and answers with the velocity noise − clean."""

    shift: float = 3.0
    times: Weighting = "logit_normal"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, others: torch.Generator) -> Tensor:
        """Places in [0, 1], 0 being pure noise; from `others`."""
        return draw_positions(shape, self.times, others)

    def add(self, latents: Latents, noise: Latents, places: Float[Tensor, "b *t"]) -> Noisy:
        table = training_sigmas(self.shift, latents.device)
        sigma = _per_picture(sigmas_at(places, table), latents)
        return Noisy(add_noise(latents, noise, sigma), sigma * STEPS, latents, sigma)


def flow_of(options: ObjectiveOptions) -> FlowNoising:
    """The rectified flow of a training's options."""
    return FlowNoising(options.shift, options.times)


@dataclass(frozen=True)
class DdpmNoising:
    """SD 2.1's: integer times of a table; the network answers with the noise (epsilon) or with v."""

    alphas: Float[Tensor, "n"]
    prediction: Literal["epsilon", "v_prediction"]
    _sent: dict[torch.device, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def create(cls, scheduler: dict[str, Any]) -> DdpmNoising:
        """By the configuration of an SD scheduler folder."""
        kind = scheduler.get("prediction_type", "epsilon")
        if kind not in ("epsilon", "v_prediction"):
            raise DwmError(f"scheduler: prediction_type {kind!r} cannot be trained; known: epsilon, v_prediction")
        return cls(ddpm.alphas_of(scheduler), kind)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, others: torch.Generator) -> Tensor:
        """Integer times; from `generator`."""
        return torch.randint(len(self.alphas), shape, generator=generator)

    def add(self, latents: Latents, noise: Latents, places: Shaped[Tensor, "b *t"]) -> Noisy:
        if latents.device not in self._sent:
            self._sent[latents.device] = send(self.alphas, latents.device)
        alphas = self._sent[latents.device]
        time = _per_picture(send(places, latents.device), latents)
        target = noise if self.prediction == "epsilon" else ddpm.velocity(latents, noise, time, alphas)
        return Noisy(ddpm.add_noise(latents, noise, time, alphas), time, target)


def _per_picture(value: Shaped[Tensor, "b *t"], latents: Latents) -> Shaped[Tensor, "b t v"]:
    return spread(value, latents[..., 0, 0, 0]).expand(latents.shape[:3])
