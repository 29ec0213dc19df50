"""What the blocks after the first gave in a step before, used again while the first one hardly changes. Knows no network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


class FirstBlockCache:
    """Of one sequence of steps. Neighbouring steps compute almost the same; how near they are the first block says.

    threshold: mean change of what the first block gives over its mean size, up to which the rest is taken from the last
    step that computed it. To ask is to wait for the device, once a step. `summed`: sums over processes that share the steps.
    """

    def __init__(self, threshold: float, summed: Callable[[Tensor], Tensor] = lambda sums: sums):
        self.threshold, self.summed = threshold, summed
        self.steps = self.reused = 0
        self._first: Tensor | None = None
        self._rest: Tensor | None = None

    def __call__(self, first: Float[Tensor, "n *_"], rest: Callable[[], Tensor]) -> Tensor:
        """What `rest` computes, or what it computed when `first` was nearly the same."""
        self.steps += 1
        if self._rest is not None and self._first is not None and self._is_near(first, self._first):
            self.reused += 1
            return self._rest
        self._first, self._rest = first, rest()
        return self._rest

    def _is_near(self, first: Tensor, before: Tensor) -> bool:
        change, size = self.summed(torch.stack([(first - before).abs().float().sum(), before.abs().float().sum()]))
        return bool(change < self.threshold * size)
