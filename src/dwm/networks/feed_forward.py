"""Feed-forwards as diffusers has them, by name and weight, through this house's kernels."""

from __future__ import annotations

import torch
from diffusers.models.activations import GEGLU, GELU
from diffusers.models.attention import FeedForward
from jaxtyping import Float
from torch import Tensor

from dwm.devices import has_gelu_kernel, linear_geglu, linear_gelu


class TanhGelu(GELU):
    """A linear layer, and GELU by tanh."""

    def forward(self, hidden_states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        if has_gelu_kernel(hidden_states, self.proj.weight):
            return linear_gelu(hidden_states, self.proj.weight, self.proj.bias, "tanh")
        return super().forward(hidden_states)


class Geglu(GEGLU):
    """A linear layer, half of it times the GELU of the other."""

    def forward(self, hidden_states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        if has_gelu_kernel(hidden_states, self.proj.weight):
            return linear_geglu(hidden_states, self.proj.weight, self.proj.bias)
        return super().forward(hidden_states)


def use_our_kernels(ff: FeedForward) -> FeedForward:
    """The same feed-forward, its first layer through this house's kernels; nothing is drawn anew."""
    before = ff.net[0]
    with torch.device("meta"):
        after = Geglu(1, 1) if isinstance(before, GEGLU) else TanhGelu(1, 1, approximate="tanh")
    after.proj = before.proj
    ff.net[0] = after
    return ff
