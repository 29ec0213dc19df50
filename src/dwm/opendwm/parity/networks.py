"""Cases of the driving transformer and its parts: translates recorded arguments, computes, names the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dwm.errors import DwmError, nearest
from dwm.networks import Conditions, CrossviewTemporalDiT, Masking
from dwm.networks.adapter import LayoutAdapter
from dwm.networks.attention import Grid, GroupedAttention
from dwm.networks.blocks import AlphaBlender, ExtraBlock, Mixer
from dwm.networks.perspective import RayEncoder, octaves, rays
from dwm.opendwm.config.networks import adapter_options, dit_options
from dwm.opendwm.parity.cases import Case, Setup

CONDITIONS = {
    "encoder_hidden_states": "text",
    "pooled_projections": "pooled",
    "condition_image_tensor": "layout",
    "added_time_ids": "added_ids",
    "camera_intrinsics_norm": "intrinsics_norm",
    "camera2referego": "ego0_from_camera",
    "crossview_attention_mask": "crossview_mask",
}
"""Recorded names of conditions → fields of `Conditions`."""
ARGUMENTS = CONDITIONS | {
    "crossview_attention_index": "crossview_index",
    "disable_crossview": "disable_crossview",
    "disable_temporal": "disable_temporal",
}
"""OpenDWM's argument → the field of `Conditions`."""

WITHOUT_VIEWS = (
    "sample",
    "timestep",
    "timesteps",
    "condition_image_tensor",
    "encoder_hidden_states",
    "pooled_projections",
    "disable_temporal",
    "noise",
)
"""Arguments that gain a view axis when the sample has none."""

Net = TypeVar("Net", bound=nn.Module)
STRATEGIES = ("learned_with_images", "learned", "fixed")
RAY_DEFAULTS = {"pos_octaves": 8, "pos_start_octave": 0, "ray_octaves": 4, "ray_start_octave": 0}

HOOKED = {
    "pos_embed": "pos_embed",
    "transformer_blocks.0": "transformer_blocks.0",
    "time_mixers.0": "time_mixers.0",
    "view_mixers.0": "view_mixers.0",
    "view_embedding": "view_embedding",
    "rayencoder": "rayencoder",
    "condition_image_adapter": "adapter",
}
"""Module → name of its recorded intermediate value."""


def run_dit(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    net = build(case, setup, CrossviewTemporalDiT(dit_options(case.config, case.name)))
    net.enable_gradient_checkpointing(bool(case.call.get("gradient_checkpointing")))
    inputs = leaves(case, setup)
    arguments = with_views(inputs)

    def predict() -> Tensor:
        prepared = net.prepare(conditions(arguments), tuple(arguments["sample"].shape))
        return net(arguments["sample"], times_of(arguments, "timestep"), prepared, masking(arguments))

    return record(net, predict, case, inputs, HOOKED)


def run_adapter(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    net = build(case, setup, LayoutAdapter(adapter_options(case.config, case.name)))
    with torch.no_grad():
        features = net(case.input("x").to(setup.device, setup.dtype))
    return {f"features.{i}": feature for i, feature in enumerate(features)} | {"return_features": features[-1]}


def run_blender(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    if "channel" in case.config:
        net = build(case, setup, Mixer(arguments_of(case, "channel")["channel"]))
    else:
        arguments = {"alpha": 0.5, "merge_strategy": "learned_with_images"} | arguments_of(
            case, "alpha", "merge_strategy"
        )
        if arguments["merge_strategy"] not in STRATEGIES:
            raise DwmError(f"config.merge_strategy: {arguments['merge_strategy']!r} is not known; known: {STRATEGIES}")
        net = build(case, setup, AlphaBlender(float(arguments["alpha"]), arguments["merge_strategy"]))
    a, b = (case.input(name).to(setup.device, setup.dtype) for name in ("a", "b"))
    flag = case.inputs.get("image_only_indicator")
    flag = None if flag is None else flag.to(setup.device)
    with torch.no_grad():
        if isinstance(net, Mixer):
            return {"mix": net(a, b, flag)}
        results = {"blend": net(a, b, flag), "alpha": net.alpha(flag)}
        if flag is not None and flag.ndim == 1:
            results["blend_b11"] = net(a, b, flag[:, None, None])
        return results


def run_ray_encoder(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    names = ("pos_octaves", "pos_start_octave", "ray_octaves", "ray_start_octave", "cond_proj_dim", "in_channels")
    arguments = RAY_DEFAULTS | arguments_of(case, *names)
    position = range(arguments["pos_start_octave"], arguments["pos_start_octave"] + arguments["pos_octaves"])
    direction = range(arguments["ray_start_octave"], arguments["ray_start_octave"] + arguments["ray_octaves"])
    features = 6 * (len(position) + len(direction))
    if arguments.get("cond_proj_dim", features) != features:
        raise DwmError(
            f"config.cond_proj_dim: {arguments['cond_proj_dim']}, but {len(position)} octaves of the origin and "
            f"{len(direction)} of the ray make {features} numbers"
        )
    net = build(case, setup, RayEncoder(arguments["in_channels"], position, direction))
    intrinsics, poses = (case.input(name).to(setup.device) for name in ("intrinsics", "camera_to_ego"))
    with torch.no_grad():
        origins, directions = rays(
            intrinsics.flatten(0, -3), poses.flatten(0, -3), case.call["height"], case.call["width"]
        )
        encoded = octaves(origins[:, None], position)
        return {"rays_o": origins, "rays_d": directions, "pos_encoding": encoded, "raymap": net(origins, directions)}


def run_attention_block(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    """A block's sequence becomes views of one token each."""
    names = ("dim", "time_mix_inner_dim", "num_attention_heads", "attention_head_dim", "qk_norm")
    arguments = arguments_of(case, *names)
    norm = None if arguments.get("qk_norm") in (None, "none") else arguments["qk_norm"]
    if norm not in (None, "rms_norm", "layer_norm"):
        raise DwmError(f"config.qk_norm: {norm!r} is not known; known: null, rms_norm, layer_norm")
    inner = arguments.get("time_mix_inner_dim", arguments["dim"])
    attention = GroupedAttention(
        inner, arguments["num_attention_heads"], norm, ("crossview", "full"), arguments.get("attention_head_dim")
    )
    net = build(case, setup, ExtraBlock(arguments["dim"], attention, inner))
    tokens = case.input("hidden_states").to(setup.device, setup.dtype)
    x = tokens[:, None, :, None]
    grid = Grid(b=x.shape[0], t=1, v=x.shape[2], h=1, w=1)
    with torch.no_grad():
        results = {"no_mask": net(x, grid), "small_input": net(0.003 * x, grid)}
        if "mask" in case.inputs:
            results["with_mask"] = net(x, grid, case.inputs["mask"].to(setup.device)[:, None])
    return {name: result.flatten(1, -2) for name, result in results.items()}


def arguments_of(case: Case, *names: str) -> dict[str, Any]:
    """The constructor's arguments; one that is not known is refused."""
    arguments = {name: value for name, value in case.config.items() if name != "_class_name"}
    for name in arguments:
        if name not in names:
            raise DwmError(f"config.{name} is not known{nearest(name, names)}; known: {', '.join(names)}")
    return arguments


def build(case: Case, setup: Setup, net: Net) -> Net:
    """`net` with the case's weights, strictly, in the mode of its call."""
    expected, actual = set(net.state_dict()), set(case.weights)
    if expected != actual:
        missing, surplus = sorted(expected - actual)[:10], sorted(actual - expected)[:10]
        raise DwmError(f"{case.name}: weights lack {missing or 'nothing'}, have in surplus {surplus or 'nothing'}")
    net.load_state_dict(case.weights)
    return net.to(setup.device, setup.dtype).train(bool(case.call.get("training")))


def gradient(leaf: Tensor) -> Tensor:
    """What has no gradient has one of zero."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def leaves(case: Case, setup: Setup) -> dict[str, Tensor]:
    """The inputs on the device; those whose gradient is recorded collect it."""
    inputs = {name: tensor.to(setup.device) for name, tensor in case.inputs.items()}
    for name in inputs:
        if f"grad/input/{name}" in case.outputs:
            inputs[name].requires_grad_()
    return inputs


def with_views(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs with a view axis of one where the sample has none."""
    if "sample" not in inputs or inputs["sample"].ndim not in (5, 6):
        raise DwmError("inputs.safetensors: needs a sample of 5 or 6 dimensions")
    if inputs["sample"].ndim == 6:
        return dict(inputs)
    return {
        name: tensor.unsqueeze(2) if name in WITHOUT_VIEWS and tensor.ndim > 1 else tensor
        for name, tensor in inputs.items()
    }


def times_of(arguments: Mapping[str, Tensor], name: str) -> Tensor:
    """A time for each picture, (b, t, v), of one for each, for each frame, for each clip or for all."""
    if name not in arguments:
        raise DwmError(f"inputs.safetensors: lacks {name}")
    times, shape = arguments[name], arguments["sample"].shape[:3]
    return times.reshape(*times.shape, *(1,) * (3 - times.ndim)).expand(shape)


def conditions(arguments: Mapping[str, Tensor]) -> Conditions:
    values: dict[str, Any] = {field: arguments.get(name) for name, field in ARGUMENTS.items()}
    return Conditions(**values)


def masking(arguments: Mapping[str, Tensor]) -> Masking | None:
    """The recorded uniform numbers in place of a generator."""
    if "noise" not in arguments:
        return None
    draws = count()

    def next_numbers(shape: tuple[int, ...]) -> Tensor:
        name = f"rand/{next(draws)}"
        if name not in arguments or arguments[name].numel() != math.prod(shape):
            raise DwmError(f"inputs.safetensors: {name} should hold the uniform numbers of shape {shape}")
        return arguments[name].reshape(shape)

    return Masking(arguments["noise"], next_numbers)


def record(
    net: nn.Module, predict: Callable[[], Tensor], case: Case, inputs: Mapping[str, Tensor], hooked: Mapping[str, str]
) -> dict[str, Tensor]:
    """The prediction, values on the way, and gradients where the case has them."""
    backward = "loss_weight" in inputs
    with torch.set_grad_enabled(backward), intermediates(net, hooked) as tensors:
        prediction = predict().float()
        results = {"noise_pred": prediction}
        if backward:
            flat = prediction.view(inputs["loss_weight"].shape)
            loss = (flat * inputs["loss_weight"]).sum() / flat.numel() ** 0.5
            loss.backward()
            results["loss"] = loss
    results |= tensors
    for name, tensor in inputs.items():
        if tensor.requires_grad:
            results[f"grad/input/{name}"] = gradient(tensor)
    for name, parameter in net.named_parameters():
        if f"grad/param/{name}" in case.outputs:
            results[f"grad/param/{name}"] = gradient(parameter)
    return results


@contextmanager
def intermediates(net: nn.Module, hooked: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Collects the first result of each hooked module under its recorded name."""
    tensors: dict[str, Tensor] = {}

    def keep(name: str, result: Any) -> None:
        if name == "adapter":
            outputs = {f"{name}.{i}": feature for i, feature in enumerate(result)}
        elif isinstance(result, tuple):
            outputs = {f"{name}/encoder": result[0], f"{name}/hidden": result[1]}
        else:
            outputs = {name: result}
        for key, tensor in outputs.items():
            tensors.setdefault(f"intermediate/{key}", tensor.detach())

    modules = dict(net.named_modules())
    handles = [
        modules[path].register_forward_hook(lambda _module, _inputs, result, name=name: keep(name, result))
        for path, name in hooked.items()
        if path in modules
    ]
    try:
        yield tensors
    finally:
        for handle in handles:
            handle.remove()
