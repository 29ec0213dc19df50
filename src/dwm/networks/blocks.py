"""The blocks between the spatial ones, across views or frames, and how their result joins the stream."""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dwm.networks.attention import Grid, GroupedAttention, NeighbourAttention
from dwm.networks.feed_forward import use_our_kernels


class ExtraBlock(nn.Module):
    """Feed-forward, attention among a group of tokens, feed-forward; all pre-norm with residuals, blind to the timestep.

    Another `inner` width, which no published network has, starts a new stream: neither feed-forward adds to the old one.
    """

    def __init__(self, width: int, attention: GroupedAttention, inner: int | None = None):
        super().__init__()
        inner = width if inner is None else inner
        self.adds = inner == width
        self.norm_in = nn.LayerNorm(width)
        self.ff_in = FeedForward(width, dim_out=inner, activation_fn="geglu")
        self.norm1 = nn.LayerNorm(inner)
        self.attn1 = attention
        self.norm3 = nn.LayerNorm(inner)
        self.ff = FeedForward(inner, activation_fn="geglu")
        use_our_kernels(self)

    def forward(
        self,
        x: Float[Tensor, "b t v n d"],
        grid: Grid,
        mask: Bool[Tensor, "b #g s s"] | None = None,
        neighbours: Int[Tensor, "b v 3"] | None = None,
    ) -> Float[Tensor, "b t v n d"]:
        begun = self.ff_in(self.norm_in(x))
        x = x + begun if self.adds else begun
        if isinstance(self.attn1, NeighbourAttention):
            if neighbours is None:
                raise ValueError("cross-view attention among neighbours needs conditions.crossview_index")
            x = _middle(x, neighbours) + self.attn1.attend(self.norm1(x), neighbours)
        else:
            x = x + self.attn1(self.norm1(x), grid, mask)
        ended = self.ff(self.norm3(x))
        return x + ended if self.adds else ended


class AlphaBlender(nn.Module):
    """α·untouched + (1−α)·block; α is fixed, learned (a sigmoid), or learned and 1 where the block is disabled."""

    def __init__(self, factor: float, strategy: str):
        super().__init__()
        self.strategy = strategy
        value = torch.tensor([float(factor)])
        if strategy == "fixed":
            self.register_buffer("mix_factor", value)
        else:
            self.mix_factor = nn.Parameter(value)

    @property
    def switchable(self) -> bool:
        return self.strategy == "learned_with_images"

    def alpha(self, disable: Bool[Tensor, "b *_"] | None) -> Float[Tensor, "*_"]:
        """The weight of the untouched stream, in the shape of `disable` or (1,)."""
        factor = self.mix_factor if self.strategy == "fixed" else torch.sigmoid(self.mix_factor)
        if not self.switchable:
            return factor
        if disable is None:
            raise ValueError(
                "this blender needs a flag for each item: conditions.disable_crossview and disable_temporal"
            )
        return torch.where(disable, torch.ones_like(factor), factor)

    def forward(
        self, untouched: Float[Tensor, "b *n"], block: Float[Tensor, "b *n"], disable: Bool[Tensor, "b *_"] | None
    ) -> Float[Tensor, "b *n"]:
        return torch.lerp(block, untouched, _pad(self.alpha(disable), untouched).to(block.dtype))


class Mixer(nn.Module):
    """untouched + scale·block with one scale per channel; nothing is added where disabled."""

    switchable = True

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1, width) / width**0.5)

    def forward(
        self, untouched: Float[Tensor, "b *n d"], block: Float[Tensor, "b *n d"], disable: Bool[Tensor, "b *_"] | None
    ) -> Float[Tensor, "b *n d"]:
        if disable is None:
            raise ValueError("this mixer needs a flag for each item: conditions.disable_crossview and disable_temporal")
        on = (~_pad(disable, untouched)).to(block.dtype)
        return untouched + on * self.scale[0] * block


def _pad(flags: Tensor, like: Tensor) -> Tensor:
    """Axes of length one on the right until `flags` broadcasts against `like`."""
    return flags.reshape(*flags.shape, *(1,) * (like.ndim - flags.ndim))


def _middle(x: Float[Tensor, "b t v n d"], neighbours: Int[Tensor, "b v 3"]) -> Float[Tensor, "b t v n d"]:
    item = torch.arange(x.shape[0], device=x.device)[:, None]
    return x.transpose(1, 2)[item, neighbours[:, :, 1]].transpose(1, 2)
