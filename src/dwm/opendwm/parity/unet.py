"""Cases of the SD 2.1 driving network and its parts: translates recorded arguments, computes, names the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dwm.errors import DwmError
from dwm.networks import CrossviewTemporalUNet, UNetOptions, UNetPrepared
from dwm.networks.unet.blocks import ResBlock, TransformerModel
from dwm.opendwm.config.networks import checked, unet_options
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.networks import arguments_of, build, conditions, leaves, record, times_of, with_views

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
    inputs = leaves(case, setup)
    arguments = with_views(inputs)
    sample, times = arguments["sample"], times_of(arguments, "timesteps")

    def predict() -> Tensor:
        return net(sample, times, net.prepare(conditions(arguments), tuple(sample.shape)))

    return record(net, predict, case, inputs, HOOKED)


def run_resblock(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    names = ("in_channels", "out_channels", "temb_channels", "enable_temporal", "merge_factor")
    c: dict[str, Any] = {"out_channels": None, "enable_temporal": True, "merge_factor": 0.5} | arguments_of(
        case, *names
    )
    after = c["in_channels"] if c["out_channels"] is None else c["out_channels"]
    net = build(
        case, setup, ResBlock(c["in_channels"], after, c["temb_channels"], c["enable_temporal"], c["merge_factor"])
    )
    inputs = _pictures(case, setup)
    x, temb = (inputs[name].to(setup.dtype) for name in ("hidden_states", "temb"))
    flags = inputs.get("disable_temporal")

    def run(disable: Tensor | None) -> Tensor:
        with torch.no_grad():
            return net(x.flatten(0, 2), temb.flatten(0, 2), _prepared(x, None, disable_temporal=disable))

    return {"out": run(flags), "out_enabled": run(x.new_zeros(len(x), dtype=torch.bool))}


def run_transformer(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    switches = ("enable_crossview", "enable_temporal", "enable_rowwise_crossview", "enable_rowwise_temporal")
    sizes = ("num_attention_heads", "attention_head_dim", "in_channels", "num_layers")
    c = {"num_layers": 1} | arguments_of(case, *switches, *sizes, "cross_attention_dim", "merge_factor")
    channels, heads = c["in_channels"], c["num_attention_heads"]
    if c.get("attention_head_dim", channels // heads) * heads != channels:
        raise DwmError(
            f"config.attention_head_dim: {heads} heads of {c['attention_head_dim']} are not {channels} channels"
        )
    values = {name: c[name] for name in (*switches, "cross_attention_dim", "merge_factor") if name in c}
    options = checked(UNetOptions, values, case.name)
    net = build(case, setup, TransformerModel(channels, heads, options, c["num_layers"]))
    inputs = _pictures(case, setup)
    x, text = (inputs[name].to(setup.dtype) for name in ("hidden_states", "encoder_hidden_states"))
    flags = {name: inputs.get(name) for name in ("disable_crossview", "disable_temporal")}
    prepared = _prepared(x, text.flatten(0, 2), crossview_mask=inputs.get("crossview_attention_mask"), **flags)
    with torch.no_grad():
        out = net(x.flatten(0, 2), prepared).view(x.shape)
    return {"out": out, "out_minus_input": out - x}


def _pictures(case: Case, setup: Setup) -> dict[str, Tensor]:
    """The inputs of a part alone, with a view axis of one where they have none."""
    inputs = {name: tensor.to(setup.device) for name, tensor in case.inputs.items()}
    if case.input("hidden_states").ndim == 6:
        return inputs
    framed = ("hidden_states", "temb", "encoder_hidden_states", "disable_temporal")
    return {
        name: tensor.unsqueeze(2) if name in framed and tensor.ndim > 1 else tensor for name, tensor in inputs.items()
    }


def _prepared(x: Tensor, text: Tensor | None, **flags: Tensor | None) -> UNetPrepared:
    """What a part alone is told: all blocks run."""
    b, t, v = x.shape[:3]
    controls: dict[str, Any] = dict.fromkeys(("crossview_mask", "disable_crossview", "disable_temporal")) | flags
    text = x.new_zeros(b * t * v, 0, 0) if text is None else text
    return UNetPrepared(b, t, v, text, None, (), **controls, run_crossview=True, run_temporal=True)
