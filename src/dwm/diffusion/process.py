"""The noise processes, rectified flow (SD 3) and DDPM (SD 2.1): how training draws and adds noise, what the network is asked for,
and the solvers that go back. Knows no network and no task.

Where in its schedule a clip or a frame is, is drawn first and applied later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dwm.devices import send
from dwm.diffusion import ddpm
from dwm.diffusion.flow import (
    STEPS,
    FlowMatchEuler,
    add_noise,
    draw_positions,
    level,
    sigmas_at,
    spread,
    training_sigmas,
)
from dwm.diffusion.multistep import Multistep
from dwm.diffusion.options import Weighting
from dwm.diffusion.solver import Solver
from dwm.errors import DwmError

Latents = Float[Tensor, "b t v c h w"]
SolverKind = Literal["usual", "multistep"]


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
class NoiseProcess(Protocol):
    def draw(self, shape: tuple[int, ...], generator: torch.Generator, others: torch.Generator) -> Tensor:
        """Places in the schedule, one per clip (b) or frame (b, t). Each kind uses one of the two generators."""
        ...

    def places(self, left: Float[Tensor, "*s"]) -> Tensor:
        """Places in the schedule by the share (0, 1] of the way from noise to pictures that is left."""
        ...

    def add(self, latents: Latents, noise: Latents, positions: Shaped[Tensor, "b *t"]) -> Noisy:
        """Noisy latents at these places, and what the network shall answer."""
        ...

    def solver(self, steps: int, kind: SolverKind = "usual", device: torch.device | str = "cpu") -> Solver:
        """The way back in `steps` steps. Raises DwmError for a kind that the process does not have."""
        ...


@dataclass(frozen=True)
class Flow:
    """noisy = σ·noise + (1−σ)·clean; the network is told 1000·σ and answers with the velocity noise − clean."""

    shift: float = 3.0
    times: Weighting = "logit_normal"
    double_shift: bool = False
    """Whether solvers shift their noise levels twice, as OpenDWM does."""

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, others: torch.Generator) -> Tensor:
        """Places in [0, 1], 0 being pure noise; from `others`."""
        return draw_positions(shape, self.times, others)

    def places(self, left: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        return 1 - left

    def add(self, latents: Latents, noise: Latents, positions: Float[Tensor, "b *t"]) -> Noisy:
        table = training_sigmas(self.shift, latents.device)
        sigma = per_picture(sigmas_at(positions, table), latents)
        return Noisy(add_noise(latents, noise, sigma), sigma * STEPS, latents, sigma)

    def solver(self, steps: int, kind: SolverKind = "usual", device: torch.device | str = "cpu") -> Solver:
        if kind != "usual":
            raise DwmError(f"sampling.solver {kind} is for SD 2.1 by windows; set it to usual")
        return FlowMatchEuler.create(steps, self.shift, double_shift=self.double_shift, device=device)


@dataclass(frozen=True)
class FlowGrid:
    """The flow at those noise levels alone at which a solver of `steps` steps begins its steps. Positions are their indices."""

    shift: float
    steps: int

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, others: torch.Generator) -> Tensor:
        """Indices from 0 (pure noise) to steps − 1, all alike; from `others`."""
        return torch.randint(self.steps, shape, generator=others)

    def places(self, left: Float[Tensor, "*s"]) -> Int[Tensor, "*s"]:
        return self.steps - (left * self.steps).ceil().long().clamp(1, self.steps)

    def add(self, latents: Latents, noise: Latents, positions: Int[Tensor, "b *t"]) -> Noisy:
        sigma = level(per_picture(send(positions, latents.device), latents), self.steps, self.shift)
        return Noisy(add_noise(latents, noise, sigma), sigma * STEPS, latents, sigma)

    def solver(self, steps: int, kind: SolverKind = "usual", device: torch.device | str = "cpu") -> Solver:
        return Flow(self.shift).solver(steps, kind, device)


@dataclass(frozen=True)
class Ddpm:
    """SD 2.1's: integer times of a table; the network answers with the noise (epsilon) or with v."""

    alphas: Float[Tensor, "n"]
    prediction: Literal["epsilon", "v_prediction"]
    scheduler: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """The configuration of its scheduler's folder, which solvers go by."""
    _sent: dict[torch.device, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def create(cls, scheduler: Mapping[str, Any]) -> Ddpm:
        """By the configuration of an SD scheduler folder."""
        kind = scheduler.get("prediction_type", "epsilon")
        if kind not in ("epsilon", "v_prediction"):
            raise DwmError(f"scheduler: prediction_type {kind!r} cannot be trained; known: epsilon, v_prediction")
        return cls(ddpm.alphas_of(dict(scheduler)), kind, scheduler)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, others: torch.Generator) -> Tensor:
        """Integer times; from `generator`."""
        return torch.randint(len(self.alphas), shape, generator=generator)

    def places(self, left: Float[Tensor, "*s"]) -> Int[Tensor, "*s"]:
        return ((left * len(self.alphas)).ceil().long() - 1).clamp(0, len(self.alphas) - 1)

    def add(self, latents: Latents, noise: Latents, positions: Shaped[Tensor, "b *t"]) -> Noisy:
        if latents.device not in self._sent:
            self._sent[latents.device] = send(self.alphas, latents.device)
        alphas = self._sent[latents.device]
        time = per_picture(send(positions, latents.device), latents)
        target = noise if self.prediction == "epsilon" else ddpm.velocity(latents, noise, time, alphas)
        return Noisy(ddpm.add_noise(latents, noise, time, alphas), time, target)

    def solver(self, steps: int, kind: SolverKind = "usual", device: torch.device | str = "cpu") -> Solver:
        config = {**self.scheduler, "prediction_type": self.prediction}
        return Multistep(steps, config, device) if kind == "multistep" else ddpm.Ddim.create(steps, config, device)


def process_of(
    prediction: Literal["flow", "epsilon", "v_prediction"], scheduler: Mapping[str, Any], double_shift: bool = False
) -> NoiseProcess:
    """The process of weights that predict so, beside a base model's scheduler."""
    if prediction == "flow":
        return Flow(scheduler.get("shift", 1.0), double_shift=double_shift)
    return Ddpm.create({**scheduler, "prediction_type": prediction})


def per_picture(value: Shaped[Tensor, "b *t"], latents: Latents) -> Shaped[Tensor, "b t v"]:
    """A value of each clip, or of each of its frames, as one of each picture."""
    return spread(value, latents[..., 0, 0, 0]).expand(latents.shape[:3])
