"""Sweeps as tokens: hidden ones are drawn in steps, the least certain anew, in one window of frames or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dwm.conditions.birdseye_layout import with_blank
from dwm.diffusion.options import TokenSampling
from dwm.diffusion.token_schedule import hidden_after
from dwm.errors import DwmError
from dwm.networks.lidar.quantizer import VectorQuantizer
from dwm.networks.lidar.tokens import HIDDEN, TokenNetwork

SHUT = -10000.0
"""Logit of a code that is shut out."""

CERTAIN = 1e10
"""Counts as the probability of a token that is known."""

NOISE = 2.0
"""Scale of the noise in the confidence, at the first step."""


@dataclass(frozen=True)
class TokenStep:
    """One step: ids that the network got, its logits (all halves), the probability of the drawn ids, and the ids then."""

    before: Tensor
    logits: Tensor
    probability: Tensor
    ids: Tensor


Watch = Callable[[TokenStep], None]


class TokenSampler:
    """Draws the tokens of clips; `quantizer` gives the codes to a network without a table of its own."""

    def __init__(self, network: TokenNetwork, quantizer: VectorQuantizer, options: TokenSampling) -> None:
        if beyond := [code for code in options.blank if not 0 <= code < network.options.codes]:
            raise DwmError(f"blank code {beyond[0]}: the network knows codes 0 to {network.options.codes - 1}")
        self.network, self.quantizer, self.options = network, quantizer, options

    @torch.no_grad()
    def window(
        self,
        known: Tensor,
        layout: Tensor | None,
        generator: torch.Generator | None = None,
        protect: bool = False,
        watch: Watch | None = None,
    ) -> Tensor:
        """Ids (b, t, n) of a window, `HIDDEN` where they are to be drawn, with the layout (b, t, c, H, W) → ids (b, t, n).

        `protect` keeps known frames as they are; without it noise may put some of their tokens to the draw again.
        """
        b, t, _ = known.shape
        known_ids = known.flatten(0, 1)
        ids, hidden = known_ids, (known_ids == HIDDEN).sum(1)
        pictures = None if layout is None else layout.flatten(0, 1)
        for step in range(self.options.steps):
            ids = self._step(step, ids, hidden, pictures, t, generator, watch)
            if protect:
                ids = torch.where((known_ids != HIDDEN).all(1, keepdim=True), known_ids, ids)
        return ids.view(b, t, -1)

    def windows(
        self,
        known: Tensor,
        layout: Tensor,
        length: int,
        generator: torch.Generator | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Tensor]:
        """Clips in windows of `length` frames, each after the first from the last frames of the one before.

        Ids (b, k, n) of the first k frames and the layout (b, t, c, H, W) of all; gives the windows' ids (b, length, n).
        """
        k, t = known.shape[1], layout.shape[1]
        if not 0 <= k < length:
            raise DwmError(f"{k} known frames: windows of {length} frames need fewer than that")
        for start in range(0, max(t - k, 1), length - k):
            part = layout[:, start : start + length]
            part = torch.cat([part, part[:, -1:].expand(-1, length - part.shape[1], -1, -1, -1)], dim=1)
            blank = known.new_full((known.shape[0], length - k, known.shape[2]), HIDDEN)
            ids = self.window(torch.cat([known, blank], dim=1), part, generator, protect=True, watch=watch)
            yield ids
            known = ids[:, length - k :]

    def _step(
        self,
        step: int,
        ids: Tensor,
        hidden: Tensor,
        layout: Tensor | None,
        frames: int,
        generator: torch.Generator | None,
        watch: Watch | None,
    ) -> Tensor:
        options, open_now = self.options, ids == HIDDEN
        logits = self._predict(ids, layout, frames)
        chosen = _guided(logits, options.guidance).float()
        if step < options.blank_steps and options.blank:
            chosen[..., list(options.blank)] = SHUT
        probabilities = chosen.softmax(-1)
        samples = torch.multinomial(probabilities.flatten(0, 1).cpu(), 1, generator=generator).to(ids.device)
        samples = samples.view(ids.shape)
        probability = probabilities.gather(-1, samples[..., None])[..., 0]
        result = torch.where(open_now, samples, ids)
        if watch is not None:
            watch(TokenStep(ids, logits, probability, result))
        confidence = torch.where(open_now, probability, CERTAIN).log()
        if options.noise:
            uniform = torch.rand(ids.shape, generator=generator).to(confidence)
            fading = NOISE * (1 - (step + 1) / options.steps)
            confidence = confidence - fading * (-uniform.log()).log()
        if step + 1 == options.steps:
            return result
        return result.masked_fill(confidence < self._limits(step, confidence, hidden), HIDDEN)

    def _limits(self, step: int, confidence: Tensor, hidden: Tensor) -> Tensor:
        """Of each frame the confidence below which its tokens are hidden again."""
        counts = [hidden_after(step, self.options.steps, int(count)) for count in hidden]
        index = torch.tensor(counts, device=confidence.device).clamp_max(confidence.shape[1] - 1)
        return confidence.sort(dim=1).values.gather(1, index[:, None])

    def _predict(self, ids: Tensor, layout: Tensor | None, frames: int) -> Tensor:
        if self.options.guidance is not None:
            if layout is None:
                raise DwmError("guidance follows a layout, and there is none; leave guidance out")
            ids, layout = ids.repeat(2, 1), with_blank(layout)
        codes = None if self.network.options.own_table else self.quantizer.entries(ids.clamp_min(0))
        return self.network(ids, codes, layout, frames)


def _guided(logits: Tensor, guidance: float | None) -> Tensor:
    if guidance is None:
        return logits.clone()
    blank, conditioned = logits.chunk(2)
    return blank + guidance * (conditioned - blank)
