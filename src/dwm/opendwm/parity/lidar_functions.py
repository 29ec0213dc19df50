"""Cases of LiDAR's functions without weights: voxels, points, draws, tables, schedule, layout, scores, preview."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dwm.conditions import birdseye_layout
from dwm.data.points import moved, thinned, within
from dwm.diffusion.token_schedule import hidden_after
from dwm.errors import DwmError
from dwm.evaluation import sweeps
from dwm.networks.lidar.tables import fit_window, position_table, relative_index, shift_mask
from dwm.networks.lidar.voxels import VoxelGrid, draw_occupancy
from dwm.opendwm.parity.cases import Case, Setup, read_tensors
from dwm.opendwm.parity.networks import arguments_of

GRID = ("x_min", "x_max", "y_min", "y_max", "step", "z_min", "z_max", "z_step")
LAYOUTS = {"3dbox_bev_images": "3dbox_mask", "hdmap_bev_images": "hdmap_mask"}
"""Pictures from above in the order of their channels → the mask of those that are kept."""


def run_voxelizer(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    grid = VoxelGrid(**arguments_of(case, *GRID))
    clips = clouds(case.inputs, "points")
    cells = grid.stack([[sweep.to(setup.device) for sweep in clip] for clip in clips])
    results = {f"voxel_coordinates/{axis}": _coordinates(grid, axis) for axis in "xyz"}
    for i, clip in enumerate(cells):
        results |= {f"points_from_voxels/{i}/{j}": grid.points(frame) for j, frame in enumerate(clip)}
    return results | {"voxels_bits": packed(cells)}


def run_points(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(int(case.need("global_seed")))
    reach, most = case.config.get("filter"), case.config.get("take")
    results = {}
    for name in sorted(case.inputs, key=_order):
        if not name.startswith("lidar_points/"):
            continue
        b, t = _order(name)[1:]
        sweep = case.inputs[name]
        if reach is not None:
            sweep = within(sweep, reach["min_distance"], reach["max_distance"])
        if most is not None:
            sweep = thinned(sweep, most["max_count"], generator)
        ego_from_lidar = case.input("lidar_transforms")[b, t, 0]
        ego = moved(sweep.double()[:, :3], ego_from_lidar.double())
        back = moved(ego, torch.linalg.inv(ego_from_lidar.double()))
        results |= {f"filtered/{b}/{t}": sweep, f"ego/{b}/{t}": ego, f"back/{b}/{t}": back}
    return results


def run_bernoulli(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    draws = read_tensors(case.folder / "draws.safetensors")
    results = {}
    for name, index, tau in (("hard", 0, 1.0), ("soft", 1, float(case.call["tau"]))):
        logits = case.input("logits").to(setup.device, setup.dtype).clone().requires_grad_()
        result = draw_occupancy(logits, draws[f"draw{index}"].to(logits), tau, hard=name == "hard")
        weight = case.inputs.get(f"loss_weight/{name}", case.input("loss_weight/hard"))
        (result * weight.to(result)).sum().backward()
        results |= {name: result, f"grad/logits_of_{name}": logits.grad}
    return results


def run_tables(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    results = {}
    for channels, rows, columns in case.call["position_tables"]:
        results[f"sincos/{channels}_{rows}x{columns}"] = position_table(channels, rows, columns)
    for (rows, columns), window_of_config, shift_of_config in case.call["swin_blocks"]:
        name = f"swin/{rows}x{columns}_window{window_of_config}_shift{shift_of_config}"
        window, shift = fit_window(rows, columns, window_of_config, shift_of_config)
        results[f"{name}/window_and_shift"] = torch.tensor([window, shift])
        results[f"{name}/relative_position_index"] = relative_index(window)
        if shift:
            results[f"{name}/attn_mask"] = shift_mask(rows, columns, window, shift)
    return results


def run_schedule(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    return {
        f"hidden_after_step/{tokens}_{steps}": torch.tensor([hidden_after(s, steps, tokens) for s in range(steps)])
        for tokens, steps in case.call["pairs_tokens_steps"]
    }


def run_conditions(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    config = case.config
    statistics = tuple(config["mean"]), tuple(config["std"])
    pictures = {
        name: birdseye_layout.normalise(case.input(name), *statistics) for name in LAYOUTS if name in case.inputs
    }
    results = {f"normalised/{name}": picture for name, picture in pictures.items()}
    for index, call in enumerate(case.call["calls"]):
        results |= {f"call{index}.{name}": tensor for name, tensor in _conditions(config, call, pictures).items()}
    return results


def run_preview(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    names = ("ground_truth", "3dbox_bev_images_denorm", "hdmap_bev_images_denorm", "generated")
    columns = [case.inputs[name] for name in names if name in case.inputs]
    columns = [
        (column.float() if column.is_floating_point() else column.amax(2, keepdim=True).float()) for column in columns
    ]
    columns = [column.expand(*column.shape[:2], 3, *column.shape[-2:]) for column in columns]
    rows = torch.cat(columns, dim=-1).flatten(0, 1)
    return {"preview": torch.cat(list(rows), dim=-2)}


def run_metrics(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    results: dict[str, Tensor] = {}
    metrics: Mapping[str, Any] = case.config["metrics"]
    for name, (path, options) in metrics.items():
        each = [value for update in range(case.call["updates"]) for value in _scores(case, update, path, options)]
        results |= {f"{name}/each": torch.tensor(each), name: torch.tensor(sweeps.finite_mean(each))}
    results |= _histogram(case)
    if "ray.gt_points" in case.inputs:
        call = case.call["ray_errors"]
        box = np.array(call["range"])
        truth, generated = (case.input(f"ray.{name}_points").double().numpy() for name in ("gt", "pred"))
        errors = sweeps.ray_errors(truth, generated, np.array(call["origin"]), box[:3], box[3:])
        results |= {f"ray_errors/{name}": torch.tensor(value) for name, value in asdict(errors).items()}
    return results


def clouds(inputs: Mapping[str, Tensor], prefix: str) -> list[list[Tensor]]:
    """The sweeps named `prefix/B/T`, by clip and frame."""
    keys = sorted((name for name in inputs if re.fullmatch(rf"{re.escape(prefix)}/\d+/\d+", name)), key=_order)
    clips: dict[int, list[Tensor]] = {}
    for name in keys:
        clips.setdefault(_order(name)[1], []).append(inputs[name])
    if not clips:
        raise DwmError(f"inputs.safetensors: lacks {prefix}/0/0")
    return list(clips.values())


def packed(cells: Tensor) -> Tensor:
    """Zeros and ones, eight to a byte along the last axis, the most significant bit first."""
    return torch.from_numpy(np.packbits(cells.cpu().numpy().astype(bool), axis=-1))


def _coordinates(grid: VoxelGrid, axis: str) -> Tensor:
    """Recorded from a function that nothing calls: half a step, then equal parts of the whole range."""
    count, lower, upper = grid.shape["zyx".index(axis)], getattr(grid, f"{axis}_min"), getattr(grid, f"{axis}_max")
    step = grid.z_step if axis == "z" else grid.step
    return lower + step / 2 + torch.arange(count) * ((upper - lower) / count)


def _order(name: str) -> tuple[str, int, int]:
    prefix, *numbers = name.split("/")
    return (prefix, int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else (prefix, 0, 0)


def _conditions(
    config: Mapping[str, Any], call: Mapping[str, Any], pictures: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What one network gets of one call."""
    tokens = call["network"] == "maskgit"
    t = next(iter(pictures.values())).shape[1]
    parts = []
    for name, mask in LAYOUTS.items():
        if name in pictures:
            keep = None if call.get(mask) is None else torch.tensor(call[mask])
            parts.append(birdseye_layout.drop(pictures[name].flatten(0, 1) if tokens else pictures[name], keep))
    layout = torch.cat(parts, dim=-3)
    layout = birdseye_layout.with_blank(layout) if call.get("guidance") else layout
    if tokens:
        return {"context": layout.flatten(2).transpose(1, 2)}
    common = config.get("common_config", {})
    results = {
        "condition_image_tensor": layout,
        "encoder_hidden_states": torch.zeros(len(layout), t, 1, common.get("text_embeddings_dim", 1024)),
    }
    if call["network"] == "dit":
        results["pooled_projections"] = torch.zeros(len(layout), t, common["pooled_text_embeddings_dim"])
    return results


def _scores(case: Case, update: int, path: str, options: Mapping[str, Any]) -> list[float]:
    """The values that one update adds to a metric."""
    metric = path.rpartition(".")[2]
    if metric.startswith("Voxel"):
        truth, generated = (case.input(f"update{update}.{name}").numpy() > 0 for name in ("voxels", "pred_voxels"))
        score = {"VoxelIoU": sweeps.overlap, "VoxelDiff": sweeps.differing}[metric]
        return [float(score(a, b)) for a, b in zip(truth, generated, strict=True)]
    truth, generated = (_flat(case, f"update{update}.{name}_points") for name in ("gt", "pred"))
    if metric == "PointCloudMMD":
        return [sweeps.mean_discrepancy(truth, generated)]
    pairs = zip(truth, generated, strict=True)
    if metric == "PointCloudJSD":
        return [sweeps.divergence(a, b) for a, b in pairs]
    if metric == "PointCloudChamfer":
        return [sweeps.chamfer(a, b, options.get("inner_dist")) for a, b in pairs]
    raise DwmError(f"config.metrics: {path!r} is not a metric of sweeps")


def _histogram(case: Case) -> dict[str, Tensor]:
    truth, generated = (_flat(case, f"update0.{name}_points")[0] for name in ("gt", "pred"))
    counts = sweeps.histogram(truth)
    cells = np.argwhere(counts > 0)
    shares = sweeps.share(truth), sweeps.share(generated)
    rows = np.column_stack([cells, counts[counts > 0]]).astype(np.int64)
    norm = np.linalg.norm(shares[0] - shares[1], 2)
    return {
        "histogram/true_nonzero_cells": torch.from_numpy(rows),
        "histogram/spectral_norm_of_difference": torch.tensor(norm),
        "histogram/kernel": torch.tensor(sweeps.kernel(*shares)),
    }


def _flat(case: Case, prefix: str) -> list[NDArray[np.floating]]:
    return [sweep.numpy() for clip in clouds(case.inputs, prefix) for sweep in clip]
