"""Blocks of a network compiled (`torch.compile`), or as they are where that cannot be done, which is said. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from dwm.screen import say

Forward = Callable[..., Any]


class Compiler:
    """Compiles forward passes one by one, when they first run; once one fails, no others are tried.

    Layers of one kind share their code, so that each kind compiles once. `failed` is what stood in the way, None till then.
    """

    def __init__(self) -> None:
        self.failed: str | None = None

    def compiled(self, forward: Forward) -> Forward:
        """`forward`, compiled at its first call."""
        fast, works = torch.compile(forward), False

        def run(*inputs: Any, **named: Any) -> Any:
            nonlocal works
            if self.failed is not None:
                return forward(*inputs, **named)
            if works:
                return fast(*inputs, **named)
            try:
                result = fast(*inputs, **named)
            except Exception as error:
                result = forward(*inputs, **named)  # raises where not the compiler but the inputs are at fault
                self._give_up(error)
                return result
            works = True
            return result

        return run

    def _give_up(self, error: Exception) -> None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and "TORCHDYNAMO" not in line]
        self.failed = f"{type(error).__name__}: {' '.join(lines[:2])}"
        say(f"nothing is compiled, as that fails here: {self.failed[:300]}")


def compile_blocks(blocks: Iterable[nn.Module]) -> Compiler:
    """Replaces the forward pass of each block by its compiled one."""
    compiler = Compiler()
    for block in blocks:
        block.forward = compiler.compiled(block.forward)
    return compiler
