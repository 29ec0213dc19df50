"""Sweeps as latents from above: a driving network with one view denoises them, in one window of frames or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dwm.conditions.birdseye_layout import with_blank
from dwm.diffusion.flow import STEPS
from dwm.diffusion.solver import Solver
from dwm.errors import DwmError
from dwm.networks import Conditions


@dataclass(frozen=True)
class NetworkCall:
    """What the network got, latents (b, t, c, h, w) and times (b, t), and what it gave."""

    latents: Tensor
    times: Tensor
    result: Tensor


Watch = Callable[[NetworkCall], None]


@dataclass(frozen=True)
class SweepDenoiser:
    """A network of the cameras' kinds over latents without views. Text is zeros: (text, pooled) channels.

    `separate` computes the halves of guidance one after the other, in half the memory. `clean`: the network answers with latents
    without noise, of which the solver is told the velocity.
    """

    network: nn.Module
    solver: Solver
    text: tuple[int, int | None]
    guidance: float | None = None
    separate: bool = False
    clean: bool = False

    @torch.no_grad()
    def window(
        self, noise: Tensor, known: Tensor | None = None, layout: Tensor | None = None, watch: Watch | None = None
    ) -> Tensor:
        """Noise (b, t, c, h, w) → latents; the first frames are `known` (b, k, c, h, w). Layout (b, t, 6, H, W)."""
        k = 0 if known is None else known.shape[1]
        if k > noise.shape[1]:
            raise DwmError(f"{k} known frames do not fit into a window of {noise.shape[1]}")
        sample = noise * self.solver.initial_noise
        for index in range(self.solver.steps):
            times = self.solver.times[index].expand(noise.shape[:2]).clone()
            times[:, :k] = 0
            predicted = self._predict(put(sample, known), times, layout, watch)
            sample = self.solver.step(sample, predicted, index)
        return put(sample, known)

    def windows(
        self,
        known: Tensor | None,
        layout: Tensor,
        length: int,
        keep: int,
        draw: Callable[[], Tensor],
        watch: Watch | None = None,
    ) -> Iterator[Tensor]:
        """Windows of `length` frames over all frames of the layout (b, t, 6, H, W), later ones from the last `kept` latents.

        `draw` gives a window's noise.
        """
        if not 0 <= keep < length:
            raise DwmError(f"{keep} known frames: windows of {length} frames need fewer than that")
        for start in range(0, max(layout.shape[1] - keep, 1), length - keep):
            part = layout[:, start : start + length]
            part = torch.cat([part, part[:, -1:].expand(-1, length - part.shape[1], -1, -1, -1)], dim=1)
            latents_found = self.window(draw(), known, part, watch)
            yield latents_found
            known = latents_found[:, length - keep :]

    def _predict(self, latents: Tensor, times: Tensor, layout: Tensor | None, watch: Watch | None) -> Tensor:
        if self.guidance is None:
            return self._call(latents, times, layout, watch)
        if layout is None:
            raise DwmError("guidance follows a layout, and there is none; leave guidance out")
        doubled = with_blank(layout)
        if self.separate:
            blank, conditioned = (self._call(latents, times, half, watch) for half in doubled.chunk(2))
        else:
            both = self._call(latents.repeat(2, 1, 1, 1, 1), times.repeat(2, 1), doubled, watch)
            blank, conditioned = both.chunk(2)
        return blank + self.guidance * (conditioned - blank)

    def _call(self, latents: Tensor, times: Tensor, layout: Tensor | None, watch: Watch | None) -> Tensor:
        result = predict(self.network, latents, times, blank_conditions(latents, layout, self.text))
        if watch is not None:
            watch(NetworkCall(latents, times, result))
        if not self.clean:
            return result
        sigma = (times / STEPS).clamp_min(1e-3)[..., None, None, None]
        return (latents - result) / sigma


def blank_conditions(
    latents: Tensor, layout: Tensor | None, text: tuple[int, int | None], disable_temporal: Tensor | None = None
) -> Conditions:
    """The layout alone, text being zeros; `disable_temporal` (b, 1) says which clips are single pictures."""
    if disable_temporal is None:
        disable_temporal = torch.zeros(len(latents), 1, dtype=torch.bool, device=latents.device)
    shape = (*latents.shape[:2], 1)
    words, pooled = text
    return Conditions(
        text=latents.new_zeros(*shape, 1, words),
        pooled=None if pooled is None else latents.new_zeros(*shape, pooled),
        layout=None if layout is None else layout[:, :, None],
        disable_temporal=disable_temporal,
        disable_crossview=torch.ones_like(disable_temporal),
    )


def predict(network: nn.Module, latents: Tensor, times: Tensor, conditions: Conditions) -> Tensor:
    """The network's answer (b, t, c, h, w), without the axis of views."""
    sample = latents[:, :, None]
    prepared = network.prepare(conditions, tuple(sample.shape))
    return network(sample, times[:, :, None], prepared)[:, :, 0].float()


def put(latents: Tensor, known: Tensor | None) -> Tensor:
    """The latents with the known ones as their first frames."""
    if known is None:
        return latents
    return torch.cat([known.to(latents), latents[:, known.shape[1] :]], dim=1)
