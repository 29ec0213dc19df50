"""Which tokens see each other: attention over all tokens of a clip, cut into rows, frames, views or single places.

Tokens keep one order everywhere, (b, t, v, h, w); only queries, keys and values are regrouped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dwm.devices import attention, rms_norm

GROUPINGS = {
    ("temporal", "full"): "(b v) H (t h w) e",
    ("temporal", "rowwise"): "(b v) (h H) (t w) e",
    ("temporal", "pointwise"): "(b v) (h w H) t e",
    ("crossview", "rowwise"): "b (t h H) (v w) e",
    ("crossview", "full"): "b (t H) (v h w) e",
    ("crossview", "pointwise"): "b (t h w H) v e",
}
"""(batch, groups, sequence, head width) of each kind; what shares a mask lies in one batch."""


@dataclass(frozen=True)
class Grid:
    """Sizes of the token grid: b clips, t frames, v views, h rows and w columns of tokens."""

    b: int
    t: int
    v: int
    h: int
    w: int

    @property
    def pictures(self) -> int:
        return self.b * self.t * self.v

    def unflatten(self, tokens: Float[Tensor, "btv n d"]) -> Float[Tensor, "b t v n d"]:
        return tokens.view(self.b, self.t, self.v, self.h * self.w, tokens.shape[-1])


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight over the last axis."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return rms_norm(x, self.weight, self.eps)


def make_norm(kind: str | None, width: int, eps: float) -> nn.Module:
    """The norm of queries or keys over one head."""
    if kind is None:
        return nn.Identity()
    return RMSNorm(width, eps) if kind == "rms_norm" else nn.LayerNorm(width, eps=eps)


class GroupedAttention(nn.Module):
    """Self-attention within the groups of tokens that one of `GROUPINGS` names."""

    def __init__(
        self, width: int, heads: int, qk_norm: str | None, grouping: tuple[str, str], head_width: int | None = None
    ):
        super().__init__()
        head_width = width // heads if head_width is None else head_width
        inner = heads * head_width
        self.heads = heads
        self.pattern = GROUPINGS[grouping]
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])
        self.norm_q = make_norm(qk_norm, head_width, eps=1e-5)
        self.norm_k = make_norm(qk_norm, head_width, eps=1e-5)

    def forward(
        self, x: Float[Tensor, "b t v n d"], grid: Grid, mask: Bool[Tensor, "b #g s s"] | None = None
    ) -> Float[Tensor, "b t v n d"]:
        q, k, v = (self._group(part, grid) for part in self._heads(x))
        out = attention(q, k, v, mask)
        sizes = {"b": grid.b, "t": grid.t, "v": grid.v, "h": grid.h, "w": grid.w, "H": self.heads}
        return self.to_out[0](rearrange(out, f"{self.pattern} -> b t v (h w) (H e)", **_named(self.pattern, sizes)))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        split = (*x.shape[:-1], self.heads, -1)
        return self.norm_q(self.to_q(x).view(split)), self.norm_k(self.to_k(x).view(split)), self.to_v(x).view(split)

    def _group(self, x: Float[Tensor, "b t v n H e"], grid: Grid) -> Float[Tensor, "batch group sequence e"]:
        return rearrange(x, f"b t v (h w) H e -> {self.pattern}", h=grid.h, w=grid.w)


class NeighbourAttention(GroupedAttention):
    """Each view's tokens attend to three views, named by an index, in all frames or in this and the previous one."""

    def __init__(self, width: int, heads: int, qk_norm: str | None, two_frames: bool):
        super().__init__(width, heads, qk_norm, ("crossview", "full"))
        self.two_frames = two_frames

    def attend(self, x: Float[Tensor, "b t v n d"], neighbours: Int[Tensor, "b v 3"]) -> Float[Tensor, "b t v n d"]:
        """The result at the middle of each view's three neighbours."""
        q, k, v = self._heads(x)
        middle = neighbours[:, :, 1:2]
        if self.two_frames:
            t = x.shape[1]
            before = torch.cat([k.new_zeros(1, dtype=torch.long), torch.arange(t - 1, device=x.device)])
            q = rearrange(_take_views(q, middle), "b t v 1 n H e -> (b t v) H n e")
            k, v = (
                rearrange(
                    torch.stack([_take_views(p[:, before], neighbours), _take_views(p, neighbours)], 3),
                    "b t v f k n H e -> (b t v) H (f k n) e",
                )
                for p in (k, v)
            )
            out, pattern = attention(q, k, v), "(b t v) H n e -> b t v n (H e)"
        else:
            q = rearrange(_take_views(q, middle), "b t v 1 n H e -> (b v) H (t n) e")
            k, v = (rearrange(_take_views(p, neighbours), "b t v k n H e -> (b v) H (t k n) e") for p in (k, v))
            out, pattern = attention(q, k, v), "(b v) H (t n) e -> b t v n (H e)"
        b, t, views = x.shape[:3]
        sizes = {"b": b, "t": t, "v": views}
        return self.to_out[0](rearrange(out, pattern, **_named(pattern, sizes)))


class JointAttention:
    """The attention of diffusers' joint blocks (image tokens first, then text), through this house's kernels."""

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor | tuple[Tensor, Tensor]:
        parts = [_project(attn, hidden_states, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))]
        if encoder_hidden_states is not None:
            names = ("add_q_proj", "add_k_proj", "add_v_proj")
            parts.append(_project(attn, encoder_hidden_states, names, ("norm_added_q", "norm_added_k")))
        q, k, v = parts[0] if len(parts) == 1 else [torch.cat(pair, 2) for pair in zip(*parts, strict=True)]
        out = rearrange(attention(q, k, v), "b H n e -> b n (H e)")
        image, text = out.split([hidden_states.shape[1], out.shape[1] - hidden_states.shape[1]], 1)
        image = attn.to_out[0](image)
        if encoder_hidden_states is None:
            return image
        return image, text if attn.context_pre_only else attn.to_add_out(text)


class PlainAttention:
    """The attention of diffusers' basic blocks, among tokens or to the words, through this house's kernels."""

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            rearrange(linear(tokens), "b n (H e) -> b H n e", H=attn.heads)
            for linear, tokens in ((attn.to_q, hidden_states), (attn.to_k, source), (attn.to_v, source))
        )
        return attn.to_out[0](rearrange(attention(q, k, v), "b H n e -> b n (H e)"))


def _project(attn: Attention, x: Tensor, linears: tuple[str, ...], norms: tuple[str, str]) -> list[Tensor]:
    result = []
    for linear, norm in zip(linears, (*norms, None), strict=True):
        part = getattr(attn, linear)(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        module = getattr(attn, norm, None) if norm else None
        result.append(part if module is None else rms_norm(part, module.weight, module.eps))
    return result


def _take_views(x: Float[Tensor, "b t v *r"], index: Int[Tensor, "b v k"]) -> Float[Tensor, "b t v k *r"]:
    item = torch.arange(x.shape[0], device=x.device)[:, None, None]
    return x.transpose(1, 2)[item, index].movedim(3, 1)


def _named(pattern: str, sizes: dict[str, int]) -> dict[str, int]:
    """Only the sizes that einops must be told: those of axes merged in the pattern."""
    merged = {name for group in pattern.split("->")[0].split("(")[1:] for name in group.split(")")[0].split()}
    return {name: size for name, size in sizes.items() if name in merged}
