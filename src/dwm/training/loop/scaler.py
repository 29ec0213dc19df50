"""Scales the loss where matrix products are float16, whose small gradients would vanish; halves after an overflow.

Ours, for `torch.amp.GradScaler` asks each optimizer alone, so that AdamW would step where Muon's gradients overflow, and goes over
all gradients once more than the clipping that takes the factor out here (1.6 times as long).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dwm.errors import DwmError
from dwm.training.loop.optimizers import clip

FIRST, GROWTH_STEPS, SMALLEST = 2.0**16, 2000, 2.0**-10


class Scaler:
    """The factor of the loss: 2¹⁶ at first, halved by a step whose gradient overflows, doubled after 2000 that do not.

    Without `enabled` it is 1 for ever. With it, each step waits once for the device, to see whether the gradient overflowed.
    """

    def __init__(self, dtype: torch.dtype):
        self.enabled = dtype == torch.float16
        self.scale = FIRST if self.enabled else 1.0
        self.good_steps = 0

    def clip(self, parameters: Sequence[nn.Parameter], largest: float) -> tuple[Tensor, bool]:
        """The gradients with the factor taken out and clipped, as `optimizers.clip` does; and whether to take the step.

        Raises DwmError where even tiny factors overflow.
        """
        norm = clip(parameters, largest, self.scale)
        if not self.enabled:
            return norm, True
        fits = math.isfinite(float(norm))
        if fits:
            self.good_steps += 1
            if self.good_steps == GROWTH_STEPS:
                self.scale, self.good_steps = self.scale * 2, 0
            return norm, True
        self.scale, self.good_steps = self.scale / 2, 0
        if self.scale < SMALLEST:
            raise DwmError(
                f"the gradient is not a number in float16, even with the loss times {self.scale:g}; use autocast=bfloat16"
            )
        return torch.zeros_like(norm), False
