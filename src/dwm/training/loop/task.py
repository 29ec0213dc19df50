"""What the loop needs to know of a thing that is trained: its module, its batches by number, its losses. Nothing else.

A micro-batch is named by its number alone, so that a run which was killed, or goes on with another number of processes, sees
the same batches with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from dwm.training.parallel.ranks import Ranks

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Losses:
    """The scalar that is minimised, and what is watched beside it: name → (sum over clips, number of clips), both tensors.

    A part that no clip of the micro-batch has (no image task was drawn, say) is 0 of 0. Nothing here waits for the device.
    """

    loss: Float[Tensor, ""]
    parts: Mapping[str, tuple[Float[Tensor, ""], Num[Tensor, ""]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """How much a micro-batch is: clips, tokens of the network, and operations (a product and a sum count two)."""

    clips: int
    tokens: int = 0
    operations: float = 0.0


@runtime_checkable
class Task(Protocol, Generic[Batch]):
    """What is trained. `losses` must draw all its random numbers from the generator it is given."""

    module: nn.Module
    device: torch.device
    """Where losses are computed; the loop brings the module there."""
    dtype: torch.dtype
    """What matrix products are computed in; float16 asks for a scaler of the loss."""

    def batches(self, start: int, every: int = 1) -> Iterator[Batch]:
        """Endless micro-batches number start, start + every, …; the same number always gives the same batch."""
        ...

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """What is minimised and watched. The batch may still lie in the processor's memory."""
        ...

    def work(self, batch: Batch) -> Work:
        """How much this micro-batch is, forward and backward."""
        ...

    def identity(self, batch: Batch) -> str:
        """Which data these are, in words for people: scenes and times."""
        ...

    def blocks(self) -> Sequence[nn.Module]:
        """The repeated parts of the module, which are sharded, recomputed and compiled one by one; may be none.

        They must be used by calling them, and where the data decides whether one is, through its network's `agreed`.
        """
        ...


@runtime_checkable
class Settling(Protocol):
    """What a task also is whose module changes by other means than gradients, such as a table of codes that is placed anew.

    Both calls are made by every process, and must leave all with the same module. They return the names of parameters that
    were put elsewhere: averages start from them anew.
    """

    def begin(self, ranks: Ranks) -> Sequence[str]:
        """Before the first step that this process takes."""
        ...

    def settle(self, step: int, ranks: Ranks) -> Sequence[str]:
        """After the gradients of step number `step`."""
        ...
