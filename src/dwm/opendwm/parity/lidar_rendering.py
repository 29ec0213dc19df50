"""Cases of LiDAR's renderer and quantiser: one function and one small network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dwm.networks.lidar.quantizer import Usage, VectorQuantizer
from dwm.networks.lidar.rendering import (
    Box,
    Occupied,
    depth_loss,
    interpolate,
    render,
    rendered_points,
    sample,
    weights,
)
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.networks import arguments_of, build, gradient

COARSER = (8.0, 8.0, 4.0)
"""Cells of the mask, in cells of the grid that the config names."""


def run_render(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    tensors = {
        name: tensor.to(setup.device, setup.dtype) for name, tensor in case.inputs.items() if name != "coarse_mask"
    }
    grid = tensors["grid"].clone().requires_grad_()
    opacity = build(case, setup, _opacity(case))
    origins, rays = tensors["rays_o"], tensors["rays_d"]
    call = case.call
    box = Box(tuple(call["xyz_min"]), tuple(call["xyz_max"]), call["stepsize"], call["near"], call["far"])
    occupied = _occupied(case, setup)
    rendered = render(grid[0], opacity, origins, rays, box, occupied, features=bool(call["feat_render"]))
    loss = call["sdf_loss_weight"] * rendered.empty_loss
    if "loss_weight/output" in tensors:
        loss = loss + (rendered.values * tensors["loss_weight/output"]).sum() / rendered.values.numel() ** 0.5
    loss.backward()
    results = {
        "output": rendered.values,
        "alphainv_last": rendered.left,
        "weights_sum": rendered.weight,
        "sdf_loss": rendered.empty_loss,
        "loss": loss,
        "grad/input/grid": gradient(grid),
    }
    results |= {f"grad/param/{name}": gradient(parameter) for name, parameter in opacity.named_parameters()}
    if not call["feat_render"]:
        results |= {
            "depth_loss": depth_loss(rendered.values, rays),
            "rendered_points": rendered_points(rendered.values, origins, rays),
        }
    return results | _samples(grid[0], opacity, origins, rays, box, occupied)


def run_quantizer(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    names = {"n_e": "codes", "e_dim": "channels", "cosine_similarity": "cosine"}
    arguments = arguments_of(case, "n_e", "e_dim", "beta", "cosine_similarity", "dead_limit")
    net = build(case, setup, VectorQuantizer(**{names.get(name, name): value for name, value in arguments.items()}))
    usage = None
    if "code_age" in case.inputs:
        usage = Usage(*(case.input(name).to(setup.device).clone() for name in ("code_age", "code_usage")))
    generator = torch.Generator().manual_seed(int(case.need("global_seed")))
    results: dict[str, Tensor] = {}
    for index, step in enumerate(case.call["steps"]):
        net.train(step["training"])
        tracked = usage if step.get("tracking") else None
        results |= {
            f"step{index}.{name}": value for name, value in _quantize(net, case, index, tracked, generator).items()
        }
    if "codebook_entry" in case.outputs:
        count = len(case.outputs["codebook_entry"])
        results["codebook_entry"] = net.entries(torch.arange(count, device=setup.device))
    return results


def _quantize(
    net: VectorQuantizer, case: Case, index: int, usage: Usage | None, generator: torch.Generator
) -> dict[str, Tensor]:
    like = net.embedding.weight
    z, weight = (case.input(f"step{index}.{name}").to(like) for name in ("z", "loss_weight"))
    z.requires_grad_()
    net.zero_grad()
    result = net(z, usage, generator)
    straight = (result.codes * weight).sum() / result.codes.numel() ** 0.5
    (result.commitment_loss + result.codebook_loss + straight).backward()
    results = {
        "z_q": result.codes,
        "indices": result.indices,
        "commitment_loss": result.commitment_loss,
        "codebook_loss": result.codebook_loss,
        "grad/z": gradient(z),
        "grad/embedding.weight": gradient(net.embedding.weight),
    }
    if usage is not None:
        buffers = {name: getattr(net, name) for name in ("data_initialized", "global_iter", "num_iter", "reservoir")}
        buffers |= {"code_age": usage.age, "code_usage": usage.count, "embedding.weight": net.embedding.weight}
        buffers["reservoir_rows"] = torch.tensor(len(net.reservoir))
        buffers["reservoir_sum"] = net.reservoir.sum(0)
        results |= buffers
    return {name: value.detach().clone() for name, value in results.items()}


def _opacity(case: Case) -> nn.Module:
    channels, inner = case.input("grid").shape[1], len(case.weights["0.bias"])
    return nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, 1))


def _occupied(case: Case, setup: Setup) -> Occupied | None:
    if "coarse_mask" not in case.inputs:
        return None
    grid = case.call["grid_size"]
    factor = COARSER if case.call["hardcode_step"] else (1.0, 1.0, 1.0)
    size = tuple(cell * times for cell, times in zip(grid["interval"], factor, strict=True))
    return Occupied(case.input("coarse_mask").to(setup.device), tuple(grid["min"]), size)


def _samples(
    grid: Tensor, opacity: nn.Module, origins: Tensor, rays: Tensor, box: Box, occupied: Occupied | None
) -> dict[str, Tensor]:
    with torch.no_grad():
        ray, _, points = sample(origins, rays, box, occupied)
        alpha = torch.sigmoid(opacity(interpolate(grid, points, box))).view(-1)
        weight = weights(alpha, ray, len(rays))[0]
    return {
        "samples/ray_id": ray,
        "samples/points": points,
        "samples/alpha": alpha,
        "samples/weight": weight,
        "samples/count_per_ray": torch.bincount(ray, minlength=len(rays)),
    }
