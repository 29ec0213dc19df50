"""Starting values for training: identity where a block is new, so that a warm start begins with what the base already knew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from dwm.networks.blocks import Mixer
from dwm.networks.dit.transformer import CrossviewTemporalDiT


def zero_modulation(net: CrossviewTemporalDiT) -> None:
    """For training from nothing: all spatial blocks start as the identity and the prediction as zero (adaLN-zero)."""
    linears = [net.norm_out.linear, net.proj_out]
    blocks: Iterable[Any] = net.transformer_blocks
    for block in blocks:
        linears += [block.norm1.linear, block.norm1_context.linear]
    _zero(linears)


def zero_extra_blocks(net: CrossviewTemporalDiT) -> None:
    """For a warm start: temporal and cross-view blocks, their index embeddings and the camera embedding start without effect."""
    linears: list[nn.Linear] = []
    for axis, blocks in (("time", "temporal_transformer_blocks"), ("view", "crossview_transformer_blocks")):
        for block in getattr(net, blocks, ()):
            linears += [block.attn1.to_out[0], block.ff_in.net[2], block.ff.net[2]]
        linears += [mlp.linear_2 for mlp in getattr(net, f"{axis}_pos_embeds", ())]
        for mixer in getattr(net, f"{axis}_mixers", ()):
            if isinstance(mixer, Mixer):
                nn.init.zeros_(mixer.scale)
    if hasattr(net, "view_embedding"):
        linears.append(net.view_embedding.linear_2)
    if hasattr(net, "rayencoder"):
        linears.append(net.rayencoder.proj)
    _zero(linears)


def _zero(linears: Iterable[nn.Linear]) -> None:
    for linear in linears:
        nn.init.zeros_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
