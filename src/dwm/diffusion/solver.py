"""What a solver is. To add one is to write this, and to give it by its process (`process`)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Solver(Protocol):
    """Steps a sample from noise to pictures. Index `steps` is a finished frame: it is told time 0 and does not move."""

    initial_noise: float

    @property
    def steps(self) -> int: ...

    @property
    def times(self) -> Tensor:
        """What the network is told at each index, `steps` + 1 of them."""
        ...

    def step(
        self, sample: Float[Tensor, "..."], predicted: Float[Tensor, "..."], index: int | Int[Tensor, "..."]
    ) -> Float[Tensor, "..."]: ...
