"""Cases of LiDAR's training calls: losses, gradients before clipping, the update, the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dwm.networks.lidar.rendering import Box
from dwm.networks.lidar.vae import VaeAutoencoder
from dwm.networks.lidar.voxels import VoxelGrid, draw_occupancy
from dwm.networks.lidar.vq import VqAutoencoder
from dwm.opendwm.config.lidar_networks import vae_autoencoder, vq_autoencoder
from dwm.opendwm.config.reader import Ledger, Section
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.lidar_batches import SweepBatch, batch_of, generators, grid_of, load_file, pipeline_of
from dwm.opendwm.parity.lidar_networks import thinned
from dwm.opendwm.parity.networks import gradient
from dwm.opendwm.parity.schedules import constant_schedule, read_schedule
from dwm.training.objectives.sweeps import (
    VQ_STEP,
    SweepLosses,
    coarse_mask,
    corners,
    occupied,
    render_sweeps,
    vae_losses,
    vq_losses,
)

Tensors = dict[str, Tensor]
Loss = Callable[[SweepBatch, Tensors], Tensor]

STALE = 256
"""Steps after which an unused code no longer counts as in use."""


def run_vq_train(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    pipeline = pipeline_of(case)
    grid = grid_of(pipeline["vq_point_cloud"], "vq_point_cloud")
    net: VqAutoencoder = load_file(case, setup, "vq_point_cloud", vq_autoencoder(pipeline["vq_point_cloud"], case.name))
    shared, own = generators(case)

    def loss(batch: SweepBatch, results: Tensors) -> Tensor:
        sweeps = [sweep for clip in batch.sweeps for sweep in clip]
        losses = vq_losses(net, grid, batch.cells.flatten(0, 1), sweeps, _centre(pipeline), _weights(pipeline), shared)
        results |= _vq_results(losses, batch) | _qualities(losses, batch, grid, own, net)
        return losses.total

    results = train(case, setup, net, grid, loss)
    return thinned(results | {"code_age_after": net.code_age, "code_usage_after": net.code_usage}, case)


def run_vae_train(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    pipeline = pipeline_of(case)
    section = pipeline["lidar_vae"]
    grid = grid_of(section, "lidar_vae")
    net: VaeAutoencoder = load_file(case, setup, "lidar_vae", vae_autoencoder(section, case.name))
    # A library drops branches by PyTorch's global numbers, and the posterior is drawn between them.
    torch.manual_seed(int(case.data.get("global_seed", 0)))
    weights = pipeline.get("training_config", {}).get("loss_coef_dict", {})

    def loss(batch: SweepBatch, results: Tensors) -> Tensor:
        sweeps = [clip[0] for clip in batch.sweeps]
        box = render_box(section["lidar_decoder"], grid)
        losses = vae_losses(net, grid, batch.cells[:, 0], sweeps, _centre(pipeline), box, weights)
        results |= _vae_results(losses, batch)
        return losses.total

    return thinned(train(case, setup, net, grid, loss, divided=True), case)


def run_vq_preview(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    pipeline = pipeline_of(case)
    grid = grid_of(pipeline["vq_point_cloud"], "vq_point_cloud")
    net: VqAutoencoder = load_file(case, setup, "vq_point_cloud", vq_autoencoder(pipeline["vq_point_cloud"], case.name))
    batch, (_, own) = batch_of(case, grid, setup), generators(case)
    b, t = batch.cells.shape[:2]
    sweeps = [sweep for clip in batch.sweeps for sweep in clip]
    with torch.no_grad():
        density, logits = net.decode(net.encode(batch.cells.flatten(0, 1)).codes)
        sample = draw_occupancy(logits, torch.rand((b, t, *logits.shape[1:]), generator=own).to(logits).flatten(0, 1))
        mask = coarse_mask(sample)
        masks = [occupied(each, grid) for each in mask]
        rendered = render_sweeps(
            density, net.density_mlp, sweeps, _centre(pipeline), Box(*corners(grid), VQ_STEP), masks
        )
    rendering = torch.stack([grid.occupancy(points) for points in rendered.points])
    columns = [cells.amax(1) for cells in (batch.cells.flatten(0, 1), sample, rendering.to(sample))]
    size = tuple(pipeline["inference_config"]["preview_image_size"])[::-1]
    columns = [nn.functional.interpolate(column[:, None], size)[:, 0] for column in columns]
    results = {
        "coarse_mask": mask.unflatten(0, (b, t)),
        "depth_loss": rendered.depth_loss,
        "sdf_loss": rendered.sdf_loss,
        "rendered_voxel_count": rendering.sum((1, 2, 3)).view(b, t),
        "picture": 255 * torch.cat(columns, dim=2).flatten(0, 1)[None],
    }
    return thinned(results | _points(rendered.points, (b, t)), case)


def train(case: Case, setup: Setup, net: nn.Module, grid: VoxelGrid, loss: Loss, divided: bool = False) -> Tensors:
    """The case's training calls; `loss` puts what it saw on the way into its second argument.

    `divided`: the loss of the VAE's trainer is divided by the calls of an update, that of the codebook's is not.
    """
    config, settings = case.config, pipeline_of(case).get("training_config", {})
    keywords = {key: value for key, value in config["optimizer"].items() if key != "_class_name"}
    parameters = {name: net.get_parameter(name) for name in case.need("parameter_names")}
    optimizer = torch.optim.AdamW(parameters.values(), **keywords)
    schedule = Section(config, "", Ledger(str(case.folder / "case.json"))).maybe("lr_scheduler")
    rates = constant_schedule(optimizer) if schedule is None else read_schedule(schedule, optimizer)
    every = _accumulated(case)
    net.train()
    result: Tensors = {}
    for step in range(case.need("steps")):
        results: Tensors = {}
        value = loss(batch_of(case, grid, setup, f"step{step}."), results)
        (value / (every if divided else 1)).backward()
        stepped = (step + 1) % every == 0
        if stepped and settings.get("max_norm_for_grad_clip") is not None:
            nn.utils.clip_grad_norm_(parameters.values(), settings["max_norm_for_grad_clip"])
        results["gradient_norms"] = torch.tensor(
            [float("nan") if p.grad is None else float(p.grad.norm()) for p in parameters.values()]
        )
        results |= {
            f"gradient.{name}": gradient(parameters[name]).clone() for name in case.data.get("stored_gradients", ())
        }
        if stepped:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            rates.step()
        results["optimizer_stepped"] = torch.tensor(stepped)
        results["learning_rate_after"] = torch.tensor([group["lr"] for group in optimizer.param_groups])
        for name in case.data.get("stored_parameters", ()):
            results[f"parameter_after.{name}"] = parameters[name].detach().clone()
        result |= {f"step{step}.{name}": tensor for name, tensor in results.items()}
    return result


def render_box(section: Mapping[str, Any], grid: VoxelGrid) -> Box:
    """Where the decoder's section follows rays."""
    lower, upper = corners(grid)
    offsets = section.get("grid_size_offset", ((0, 0, 0), (0, 0, 0)))
    lower, upper = (
        tuple(a + b for a, b in zip(*pair, strict=True)) for pair in zip((lower, upper), offsets, strict=True)
    )
    settings = section["render_config"]
    return Box(lower, upper, settings["stepsize"], settings.get("near", 0.0), settings.get("far", 1e9))


def _accumulated(case: Case) -> int:
    settings = pipeline_of(case).get("training_config", {})
    return int(settings.get("gradient_accumulation_steps", case.config.get("gradient_accumulation_steps", 1)))


def _centre(pipeline: Mapping[str, Any]) -> tuple[float, float, float]:
    return tuple(pipeline["common_config"].get("ray_cast_center", (0.0, 0.0, 0.0)))


def _weights(pipeline: Mapping[str, Any]) -> Mapping[str, float]:
    return pipeline.get("training_config", {}).get("loss_coef_dict", {})


def _points(points: list[Tensor], shape: tuple[int, int]) -> Tensors:
    return {f"rendered_points/{i // shape[1]}/{i % shape[1]}": cloud for i, cloud in enumerate(points)}


def _common(losses: SweepLosses) -> Tensors:
    results = {f"weighted.{name}": loss for name, loss in losses.weighted.items()}
    results |= {name: loss for name, loss in losses.raw.items() if name in ("depth_loss", "sdf_loss", "kl_loss")}
    results["encoder_features"] = losses.seen["features"]
    return results


def _vq_results(losses: SweepLosses, batch: SweepBatch) -> Tensors:
    assert losses.quantized is not None and losses.rendered is not None
    shape = (batch.cells.shape[0], batch.cells.shape[1])
    results = _common(losses) | _points(losses.rendered.points, shape)
    return results | {
        "commitment_loss": losses.quantized.commitment_loss,
        "codebook_loss": losses.quantized.codebook_loss,
        "code_indices": losses.quantized.indices,
        "density": losses.seen["density"],
        "lidar_voxel": losses.logits.unflatten(0, shape),
        "coarse_mask": losses.seen["mask"].unflatten(0, shape),
        "voxels_per_column": batch.cells.sum(2),
    }


def _qualities(
    losses: SweepLosses, batch: SweepBatch, grid: VoxelGrid, generator: torch.Generator, net: VqAutoencoder
) -> Tensors:
    assert losses.rendered is not None
    cells = batch.cells
    uniform = torch.rand(cells.shape, generator=generator).to(cells)
    sample = draw_occupancy(losses.logits.detach().view(cells.shape), uniform)
    rendering = torch.stack([grid.occupancy(points) for points in losses.rendered.points]).view(cells.shape)
    results = {"codebook_used": net.vector_quantizer.embedding.weight.detach().clone()}
    for name, generated in (("voxel", sample), ("lidar", rendering)):
        both, any_, apart = cells * generated, torch.maximum(cells, generated), (cells - generated).abs()
        results[f"metric.{name}_rec_iou"] = both.sum() / any_.sum()
        results[f"metric.{name}_rec_diff"] = apart.sum((1, 2, 3, 4)).mean()
    usage = net.code_usage.sort(descending=True).values
    results["metric.code_util"] = (net.code_age < STALE).float().mean()
    results["metric.code_uniformity"] = usage[:10].sum() / usage.sum()
    return results


def _vae_results(losses: SweepLosses, batch: SweepBatch) -> Tensors:
    assert losses.posterior is not None
    results = _common(losses)
    if losses.rendered is not None:
        results |= {f"rendered_points/{i}": cloud for i, cloud in enumerate(losses.rendered.points)}
    return results | {
        "latent": losses.posterior.sample,
        "mu": losses.posterior.mean,
        "log_var": losses.posterior.log_variance,
        "pred_voxel": losses.logits,
        "voxels_per_column": batch.cells[:, 0].sum(1),
    }
