"""Cases of the driving transformer and its parts: translates recorded arguments, computes, names the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count

import torch
from torch import Tensor, nn

from dwm.errors import DwmError
from dwm.networks import Conditions, CrossviewTemporalDiT, Masking
from dwm.networks.adapter import LayoutAdapter
from dwm.networks.attention import Grid, GroupedAttention
from dwm.networks.blocks import AlphaBlender, ExtraBlock, Mixer
from dwm.networks.perspective import POSITION_OCTAVES, RayEncoder, octaves, rays
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
    given = leaves(case, setup)
    arguments = with_views(given)

    def predict() -> Tensor:
        prepared = net.prepare(conditions(arguments), tuple(arguments["sample"].shape))
        return net(arguments["sample"], arguments["timestep"], prepared, masking(arguments))

    return record(net, predict, case, given, HOOKED)


def run_adapter(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    net = build(case, setup, LayoutAdapter(adapter_options(case.config, case.name)))
    with torch.no_grad():
        features = net(case.inputs["x"].to(setup.device, setup.dtype))
    return {f"features.{i}": feature for i, feature in enumerate(features)} | {"return_features": features[-1]}


def run_blender(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    if "channel" in case.config:
        net = build(case, setup, Mixer(case.config["channel"]))
    else:
        net = build(case, setup, AlphaBlender(case.config["alpha"], case.config["merge_strategy"]))
    a, b = (case.inputs[name].to(setup.device, setup.dtype) for name in ("a", "b"))
    flag = case.inputs["image_only_indicator"].to(setup.device)
    with torch.no_grad():
        if isinstance(net, Mixer):
            return {"mix": net(a, b, flag)}
        return {"blend": net(a, b, flag), "blend_b11": net(a, b, flag[:, None, None]), "alpha": net.alpha(flag)}


def run_ray_encoder(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    net = build(case, setup, RayEncoder(case.config["in_channels"]))
    intrinsics, poses = (case.inputs[name].to(setup.device) for name in ("intrinsics", "camera_to_ego"))
    with torch.no_grad():
        origins, directions = rays(intrinsics, poses, case.call["height"], case.call["width"])
        encoded = octaves(origins[:, None], POSITION_OCTAVES)
        return {"rays_o": origins, "rays_d": directions, "pos_encoding": encoded, "raymap": net(origins, directions)}


def run_attention_block(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    """A block's sequence becomes views of one token each."""
    config = case.config
    norm = None if config.get("qk_norm") in (None, "none") else config["qk_norm"]
    attention = GroupedAttention(config["dim"], config["num_attention_heads"], norm, ("crossview", "full"))
    net = build(case, setup, ExtraBlock(config["dim"], attention))
    tokens = case.inputs["hidden_states"].to(setup.device, setup.dtype)
    x = tokens[:, None, :, None]
    grid = Grid(b=x.shape[0], t=1, v=x.shape[2], h=1, w=1)
    mask = case.inputs["mask"].to(setup.device)[:, None]
    with torch.no_grad():
        results = {"no_mask": net(x, grid), "with_mask": net(x, grid, mask), "small_input": net(0.003 * x, grid)}
    return {name: result.view(tokens.shape) for name, result in results.items()}


def build(case: Case, setup: Setup, net: nn.Module) -> nn.Module:
    """`net` with the case's weights, strictly, in the mode of its call."""
    expected, found = set(net.state_dict()), set(case.weights)
    if expected != found:
        missing, surplus = sorted(expected - found)[:10], sorted(found - expected)[:10]
        raise DwmError(f"{case.name}: weights lack {missing or 'nothing'}, have in surplus {surplus or 'nothing'}")
    net.load_state_dict(case.weights)
    return net.to(setup.device, setup.dtype).train(bool(case.call.get("training")))


def leaves(case: Case, setup: Setup) -> dict[str, Tensor]:
    """The inputs on the device; those whose gradient is recorded collect it."""
    given = {name: tensor.to(setup.device) for name, tensor in case.inputs.items()}
    for name in given:
        if f"grad/input/{name}" in case.outputs:
            given[name].requires_grad_()
    return given


def with_views(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs with a view axis of one where the sample has none."""
    if given["sample"].ndim == 6:
        return dict(given)
    return {name: tensor.unsqueeze(2) if name in WITHOUT_VIEWS else tensor for name, tensor in given.items()}


def conditions(arguments: Mapping[str, Tensor]) -> Conditions:
    return Conditions(**{field: arguments.get(name) for name, field in CONDITIONS.items()})


def masking(arguments: Mapping[str, Tensor]) -> Masking | None:
    """The recorded uniform numbers in place of a generator."""
    if "noise" not in arguments:
        return None
    draws = count()
    return Masking(arguments["noise"], lambda shape: arguments[f"rand/{next(draws)}"].reshape(shape))


def record(
    net: nn.Module, predict: Callable[[], Tensor], case: Case, given: Mapping[str, Tensor], hooked: Mapping[str, str]
) -> dict[str, Tensor]:
    """The prediction, values on the way, and gradients where the case has them."""
    with torch.set_grad_enabled("loss" in case.outputs), intermediates(net, hooked) as seen:
        prediction = predict().float()
        results = {"noise_pred": prediction}
        if "loss" in case.outputs:
            flat = prediction.view(given["loss_weight"].shape)
            loss = (flat * given["loss_weight"]).sum() / flat.numel() ** 0.5
            loss.backward()
            results["loss"] = loss
    results |= seen
    for name, tensor in given.items():
        if tensor.grad is not None:
            results[f"grad/input/{name}"] = tensor.grad
    for name, parameter in net.named_parameters():
        if f"grad/param/{name}" in case.outputs:
            results[f"grad/param/{name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return results


@contextmanager
def intermediates(net: nn.Module, hooked: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Collects the first result of each hooked module under its recorded name."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, result: Tensor | tuple | list) -> None:
        if name == "adapter":
            named = {f"{name}.{i}": feature for i, feature in enumerate(result)}
        elif isinstance(result, tuple):
            named = {f"{name}/encoder": result[0], f"{name}/hidden": result[1]}
        else:
            named = {name: result}
        for key, tensor in named.items():
            seen.setdefault(f"intermediate/{key}", tensor.detach())

    modules = dict(net.named_modules())
    handles = [
        modules[path].register_forward_hook(lambda _module, _inputs, result, name=name: keep(name, result))
        for path, name in hooked.items()
        if path in modules
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
