"""The exponential moving average of a network's parameters: what is sampled from and shipped. Knows no files.

Ours, for parameters may be sharded: torch's `AveragedModel` makes a deep copy, which FSDP refuses; diffusers' `EMAModel` averages
shards one tensor after another only (30 times as long as the one call below), and holds frozen parameters too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dwm.training.parallel.tensors import local


class Ema:
    """Averages of a module's trainable parameters, by name; sharded as they are.

    The decay rises to `decay` as (1 + n)/(10 + n) over updates n. With `decay` 0 nothing is averaged or held.
    """

    def __init__(self, module: nn.Module, decay: float = 0.999):
        self.decay = decay
        self.updates = 0
        trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.average: dict[str, Tensor] = (
            {name: parameter.detach().clone() for name, parameter in trained.items()} if decay else {}
        )
        self._live = [trained[name].detach() for name in self.average]

    @torch.no_grad()
    def update(self) -> None:
        """Moves the averages towards the parameters."""
        self.updates += 1
        if self.average:
            weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_([*map(local, self.average.values())], [*map(local, self._live)], weight)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        live = dict(module.named_parameters())
        for name, value in self.average.items():
            live[name].copy_(value)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Within this block the module has the averaged parameters; afterwards its own again."""
        live = dict(module.named_parameters())
        before = {name: live[name].detach().clone() for name in self.average}
        self.copy_to(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in before.items():
                    live[name].copy_(value)
