"""The same networks computed as OpenDWM computes them, so that one run on any machine gives the ratio. Changes no weights.

Conditions go through the network in each step, every block runs, PyTorch's own kernels are used, text tokens and tokens are
asked for their variance after each block (a wait for a device), and float32 weights are cast in each step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch.nn.functional as F
from torch import Tensor, nn

from dwm.base_models import autoencoder
from dwm.networks import CrossviewTemporalDiT, feed_forward
from dwm.networks import attention as attentions


@contextmanager
def reference_way() -> Iterator[None]:
    """Within this block networks compute so; what they give is the same but for rounding."""
    with ExitStack() as stack:
        for owner, name, value in (
            (feed_forward, "has_linear_kernel", lambda x, weight: False),
            (autoencoder, "_laid_out", lambda piece: piece),
            (attentions, "attention", _plain_attention),
            (CrossviewTemporalDiT, "_runs", _every_block),
            (CrossviewTemporalDiT, "_recomputed", _watched),
        ):
            stack.enter_context(patch.object(owner, name, value))
        yield


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _every_block(network: CrossviewTemporalDiT, mixers: str, *_: Any) -> bool:
    return len(getattr(network, mixers, ())) > 0


RECOMPUTED = CrossviewTemporalDiT._recomputed


def _watched(network: CrossviewTemporalDiT, recompute: bool, block: nn.Module, *inputs: Any) -> Any:
    result = RECOMPUTED(network, recompute, block, *inputs)
    for tokens in result if isinstance(result, tuple) else (result,):
        if tokens is not None:
            tokens.detach().var().item()
    return result
