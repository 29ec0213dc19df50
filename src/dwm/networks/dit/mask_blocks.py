"""The side blocks of masked reconstruction: attention within frames or over time, then to the words, then an MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dwm.devices import attention
from dwm.networks.attention import RMSNorm


class SideAttention(nn.Module):
    """Attention of x to `words` or to itself. The added projections exist in published weights and are never used."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        for name in ("to_q", "to_k", "to_v", "add_k_proj", "add_v_proj"):
            self.add_module(name, nn.Linear(width, width))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            self.add_module(name, RMSNorm(width // heads, eps=1e-5))

    def forward(self, x: Float[Tensor, "n l d"], words: Float[Tensor, "n s d"] | None = None) -> Float[Tensor, "n l d"]:
        source = x if words is None else words
        q, k, v = (
            rearrange(linear(tokens), "n l (H e) -> n H l e", H=self.heads)
            for linear, tokens in ((self.to_q, x), (self.to_k, source), (self.to_v, source))
        )
        return self.to_out[0](rearrange(attention(self.norm_q(q), self.norm_k(k), v), "n H l e -> n l (H e)"))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class SideBlock(nn.Module):
    """`interleaved` hands frame (token number mod frames) its modulation, the order in which published weights learned."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, interleaved: bool):
        super().__init__()
        self.interleaved = interleaved
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)
        self.attn = SideAttention(width, heads)
        self.cross_attn = SideAttention(width, heads)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(
        self,
        z: Float[Tensor, "i t n d"],
        words: Float[Tensor, "i t l d"],
        modulation: Float[Tensor, "i t 6 d"],
        across_frames: bool,
    ) -> Float[Tensor, "i t n d"]:
        items, t, n = z.shape[:3]
        parts = self._per_token(self.scale_shift_table + modulation, n)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts.unbind(-2)
        u = _norm(z) * (1 + scale_a) + shift_a
        if across_frames:
            mixed = rearrange(self.attn(rearrange(u, "i t n d -> (i n) t d")), "(i n) t d -> i t n d", i=items)
        else:
            mixed = self.attn(u.flatten(0, 1)).unflatten(0, (items, t))
        z = z + gate_a * mixed
        z = z + self.cross_attn(z.flatten(0, 1), words.flatten(0, 1)).unflatten(0, (items, t))
        return z + gate_m * self.mlp(_norm(z) * (1 + scale_m) + shift_m)

    def _per_token(self, modulation: Float[Tensor, "i t 6 d"], n: int) -> Float[Tensor, "i t #n 6 d"]:
        if not self.interleaved:
            return modulation[:, :, None]
        t = modulation.shape[1]
        frame = torch.arange(t * n, device=modulation.device).remainder(t).view(t, n)
        return modulation[:, frame]


def _norm(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)
