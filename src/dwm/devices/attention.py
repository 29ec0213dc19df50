"""Attention and RMS norm behind one face for every device. Knows no network; the only place that chooses a kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

SHORT = 32
"""Longest sequence for which plain matrix products beat PyTorch's fused CPU kernel, forward and backward (measured: 2× at 8)."""


def attention(
    q: Float[Tensor, "b g l e"],
    k: Float[Tensor, "b g s e"],
    v: Float[Tensor, "b g s e"],
    mask: Bool[Tensor, "#b #g #l s"] | None = None,
) -> Float[Tensor, "b g l e"]:
    """softmax(q·kᵀ/√e)·v for b·g independent sequences; `mask` is True where a query (row) may attend to a key (column)."""
    if q.device.type == "cpu":
        if k.shape[-2] <= SHORT:
            return _short_attention(q, k, v, mask)
    elif q.device.type == "npu":
        from dwm.devices import ascend

        return ascend.attention(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def rms_norm(x: Float[Tensor, "*n e"], weight: Float[Tensor, "e"], eps: float) -> Float[Tensor, "*n e"]:
    """x / √(mean(x²) + eps) · weight over the last axis, the mean in float32; a half-precision weight decides the dtype."""
    if x.device.type == "npu":
        from dwm.devices import ascend

        return ascend.rms_norm(x, weight, eps)
    scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
    half = weight.dtype in (torch.float16, torch.bfloat16)
    normed = x * scale
    return (normed.to(weight.dtype) if half else normed) * weight


def _short_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    b, g, l, e = q.shape
    s = k.shape[-2]
    bias = q.new_zeros(1, 1, 1)
    if mask is not None:
        bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, float("-inf"))
        bias = bias.expand(b, g, l, s).reshape(b * g, l, s)
    scores = torch.baddbmm(
        bias.expand(b * g, l, s),
        q.reshape(b * g, l, e),
        k.reshape(b * g, s, e).transpose(1, 2),
        beta=0 if mask is None else 1,
        alpha=e**-0.5,
    )
    return torch.bmm(scores.softmax(-1), v.reshape(b * g, s, v.shape[-1])).view(b, g, l, -1)
