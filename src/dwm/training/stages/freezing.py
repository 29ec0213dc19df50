"""Which modules of a network stay as they are while the rest learns. Knows no recipe and no optimizer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from dwm.errors import DwmError


@dataclass(frozen=True)
class Frozen:
    """What a pattern froze, outermost modules with their numbers of parameters, and how many parameters still learn."""

    modules: dict[str, int]
    trained: int
    total: int

    def lines(self) -> list[str]:
        """For people."""
        frozen = [f"{name} is frozen: {count / 1e6:.2f} M parameters" for name, count in self.modules.items()]
        return [*frozen, f"{self.trained / 1e6:.1f} M of {self.total / 1e6:.1f} M parameters are trainable"]


def freeze(network: nn.Module, pattern: str | None) -> Frozen:
    """Freezes every module whose name the regular expression matches from its start, with all that is in it.

    Nothing is ever thawed: call `requires_grad_(True)` before. Raises DwmError for a pattern that is none, matches no
    module, or leaves nothing to learn.
    """
    hits = {} if pattern is None else _hits(network, pattern)
    for module in hits.values():
        module.requires_grad_(False)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    total, trained = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    if not trained:
        raise DwmError(f"training.freeze: {pattern!r} freezes the whole network; nothing is left to learn")
    return Frozen({name: _count(module) for name, module in hits.items()}, trained, total)


def _hits(network: nn.Module, pattern: str) -> dict[str, nn.Module]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DwmError(f"training.freeze: {pattern!r} is not a regular expression ({error})") from None
    hits: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in hits)
        if name and not inside and compiled.match(name):
            hits[name] = module
    if not hits:
        parts = ", ".join(name for name, _ in network.named_children())
        raise DwmError(f"training.freeze: {pattern!r} matches no module of the network, whose parts are {parts}")
    return hits


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
