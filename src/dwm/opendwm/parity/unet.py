"""Cases of the SD 2.1 driving network and its parts: translates recorded arguments, computes, names the results."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dwm.networks import CrossviewTemporalUNet, UNetOptions, UNetPrepared
from dwm.networks.unet.blocks import ResBlock, TransformerModel
from dwm.opendwm.config.networks import checked, unet_options
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.networks import build, conditions, leaves, record, with_views

HOOKED = {
    "down_blocks.0.attentions.0": "down_blocks.0.attentions.0",
    "down_blocks.0.resnets.0": "down_blocks.0.resnets.0",
    "mid_block": "mid_block",
    "condition_image_adapter": "adapter",
}
"""Module → name of its recorded intermediate value."""


def run_unet(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    net = build(case, setup, CrossviewTemporalUNet(unet_options(case.config, case.name)))
    net.enable_gradient_checkpointing(bool(case.call.get("gradient_checkpointing")))
    given = leaves(case, setup)
    arguments = with_views(given)
    sample, times = arguments["sample"], arguments["timesteps"]
    times = times.reshape(*times.shape, *(1,) * (3 - times.ndim)).expand(sample.shape[:3])

    def predict() -> Tensor:
        return net(sample, times, net.prepare(conditions(arguments), tuple(sample.shape)))

    return record(net, predict, case, given, HOOKED)


def run_resblock(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    c = case.config
    parts = (c["in_channels"], c["out_channels"], c["temb_channels"], c["enable_temporal"], c["merge_factor"])
    net = build(case, setup, ResBlock(*parts))
    given = leaves(case, setup)
    x, temb = (given[name].to(setup.dtype) for name in ("hidden_states", "temb"))

    def run(disable: Tensor) -> Tensor:
        with torch.no_grad():
            return net(x.flatten(0, 2), temb.flatten(0, 2), _told(x, None, disable_temporal=disable))

    flags = given["disable_temporal"]
    return {"out": run(flags), "out_enabled": run(torch.zeros_like(flags))}


def run_transformer(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    c = case.config
    kept = ("enable_crossview", "enable_temporal", "enable_rowwise_crossview", "enable_rowwise_temporal")
    values = {name: c[name] for name in (*kept, "cross_attention_dim", "merge_factor") if name in c}
    options = checked(UNetOptions, {**values, "transformer_layers_per_block": c["num_layers"]}, case.name)
    net = build(case, setup, TransformerModel(c["in_channels"], c["num_attention_heads"], options))
    given = leaves(case, setup)
    x, text = (given[name].to(setup.dtype) for name in ("hidden_states", "encoder_hidden_states"))
    flags = {name: given.get(name) for name in ("disable_crossview", "disable_temporal")}
    told = _told(x, text.flatten(0, 2), crossview_mask=given.get("crossview_attention_mask"), **flags)
    with torch.no_grad():
        out = net(x.flatten(0, 2), told).view(x.shape)
    return {"out": out, "out_minus_input": out - x}


def _told(x: Tensor, text: Tensor | None, **flags: Tensor | None) -> UNetPrepared:
    """What a part alone is told: all blocks run."""
    b, t, v = x.shape[:3]
    absent = dict.fromkeys(("crossview_mask", "disable_crossview", "disable_temporal"))
    text = x.new_zeros(b * t * v, 0, 0) if text is None else text
    return UNetPrepared(b, t, v, text, None, (), **(absent | flags), run_crossview=True, run_temporal=True)
