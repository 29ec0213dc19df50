"""What every driving network is to the rooms that sample, train, shard and count it. To add one is to write this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from dwm.networks.inputs import Conditions
from dwm.networks.options import NetworkOptions


@runtime_checkable
class DrivingNetwork(Protocol):
    """A `torch.nn.Module` besides."""

    options: NetworkOptions
    parts: ClassVar[Mapping[str, str]]
    """Beginnings of parameter names → what people call that part; the rest is embeddings and output."""
    agreed: Callable[[bool], bool]
    """Whether blocks run that only some items want; replaced where several processes must decide alike in training."""

    @property
    def dtype(self) -> torch.dtype: ...

    def prepare(self, conditions: Conditions, latent_shape: tuple[int, ...]) -> Any:
        """All that stays the same over the sampling steps, for latents of shape (b, t, v, c, h, w). Differentiable."""
        ...

    def __call__(
        self, sample: Float[Tensor, "b t v c h w"], timestep: Num[Tensor, "b t v"], prepared: Any
    ) -> Float[Tensor, "b t v o h w"]: ...

    def blocks(self) -> Sequence[nn.Module]:
        """The repeated parts, which are sharded, recomputed and compiled one by one."""
        ...

    def tokens(self, latent_shape: tuple[int, ...]) -> int:
        """Places that attention sees, of latents of shape (b, t, v, c, h, w)."""
        ...

    def blank_conditions(self, latent_shape: tuple[int, ...], text: int, layout: tuple[int, int]) -> Conditions:
        """Conditions of the shapes that it takes, on its device, numbers unset: `text` tokens a picture, layout pictures of
        (rows, columns). For counting."""
        ...

    def with_every_block(self, prepared: Any, latent_shape: tuple[int, ...]) -> Any:
        """`prepared` so that every block runs, without a question to numbers. For counting."""
        ...
