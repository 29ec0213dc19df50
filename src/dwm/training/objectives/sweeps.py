"""What the autoencoders of sweeps are trained on: cells, codes or a distribution, and depths rendered along the rays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from dwm.networks.lidar.quantizer import Quantized
from dwm.networks.lidar.rendering import Box, Occupied, depth_loss, render, rendered_points
from dwm.networks.lidar.vae import Posterior, VaeAutoencoder
from dwm.networks.lidar.voxels import VoxelGrid
from dwm.networks.lidar.vq import VqAutoencoder

Sweeps = Sequence[Tensor]
Point = tuple[float, float, float]

POOL = (4, 8, 8)
"""Cells (z, y, x) of one cell of the renderer's mask."""

VQ_STEP = 0.05
"""Metres between samples of a ray, in the training of the autoencoder with codes."""

VQ_WEIGHTS = {"voxel_loss": 100.0, "emb_loss": 10.0, "depth_loss": 0.05, "sdf_loss": 0.05}
VAE_WEIGHTS = {"pred_voxel_loss": 10.0, "depth_loss": 1.0, "sdf_loss": 0.05, "kl_loss": 1e-9}


@dataclass(frozen=True)
class Rendered:
    """Mean losses over clouds, and where each cloud's rays end."""

    depth_loss: Tensor
    sdf_loss: Tensor
    points: list[Tensor]


@dataclass(frozen=True)
class SweepLosses:
    """Losses before their weights; `weighted` sums up to `total`."""

    raw: Mapping[str, Tensor]
    weights: Mapping[str, float]
    logits: Tensor
    rendered: Rendered | None
    quantized: Quantized | None = None
    posterior: Posterior | None = None
    seen: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def weighted(self) -> dict[str, Tensor]:
        return {name: loss * self.weights[name] for name, loss in self.raw.items()}

    @property
    def total(self) -> Tensor:
        return torch.stack([loss.float() for loss in self.weighted.values()]).sum()


def vq_losses(
    net: VqAutoencoder,
    grid: VoxelGrid,
    cells: Tensor,
    sweeps: Sweeps,
    centre: Point,
    weights: Mapping[str, float] = VQ_WEIGHTS,
    generator: torch.Generator | None = None,
    kept_alive: bool = True,
) -> SweepLosses:
    """Of cells (n, z, y, x) and their points in the same frame, n clouds; rays go from `centre`. What has no weight counts 1.

    kept_alive: codes are counted and placed anew on the way, as OpenDWM does; else the codes stay as they are.
    """
    features = net.lidar_encoder(cells)
    quantized = net.vector_quantizer(features, net.usage if kept_alive else None, generator)
    density, logits = net.decode(quantized.codes)
    mask = coarse_mask(cells)
    rendered = render_sweeps(
        density, net.density_mlp, sweeps, centre, Box(*corners(grid), VQ_STEP), [occupied(each, grid) for each in mask]
    )
    raw = {
        "voxel_loss": F.binary_cross_entropy_with_logits(logits, cells),
        "emb_loss": quantized.commitment_loss + quantized.codebook_loss,
        "depth_loss": rendered.depth_loss,
        "sdf_loss": rendered.sdf_loss,
    }
    named = {name: weights.get(name, 1.0) for name in raw}
    seen = {"features": features, "density": density, "mask": mask}
    return SweepLosses(raw, named, logits, rendered, quantized=quantized, seen=seen)


def vae_losses(
    net: VaeAutoencoder,
    grid: VoxelGrid,
    cells: Tensor,
    sweeps: Sweeps,
    centre: Point,
    box: Box,
    weights: Mapping[str, float] = VAE_WEIGHTS,
    generator: torch.Generator | None = None,
) -> SweepLosses:
    """Like `vq_losses`; `box` is where rays are followed. What has no weight counts nothing."""
    features = net.lidar_encoder(cells)
    posterior = net.variational_model(features, generator)
    decoded = net.decode(posterior.sample)
    logits = decoded.logits
    raw = {
        "kl_loss": posterior.divergence(),
        "pred_voxel_loss": (logits.clamp_min(0) - logits * cells + (1 + (-logits.abs()).exp() + 1e-7).log()).mean(),
    }
    rendered = None
    if decoded.features is not None:
        rendered = render_sweeps(decoded.features, net.lidar_decoder.density_mlp, sweeps, centre, box)
        raw |= {"depth_loss": rendered.depth_loss, "sdf_loss": rendered.sdf_loss}
    named = {name: weights.get(name, 0.0) for name in raw}
    return SweepLosses(raw, named, logits, rendered, posterior=posterior, seen={"features": features})


def render_sweeps(
    features: Tensor,
    opacity: torch.nn.Module,
    sweeps: Sweeps,
    centre: Point,
    box: Box,
    masks: Sequence[Occupied | None] | None = None,
) -> Rendered:
    """Depths along the rays from `centre` to the points of n clouds, through features (n, c, z, y, x).

    Points that are not finite are left out; a cloud without points has losses of 0.
    """
    depths, empty, points = [], [], []
    for index, sweep in enumerate(sweeps):
        sweep = sweep[sweep[:, :3].isfinite().all(1)]
        origins = sweep.new_tensor(centre).expand(len(sweep), 3)
        rays = sweep[:, :3] - origins
        volume = features[index].permute(0, 3, 2, 1)
        seen = render(volume, opacity, origins, rays, box, None if masks is None else masks[index])
        depths.append(depth_loss(seen.values, rays))
        empty.append(seen.empty_loss)
        points.append(rendered_points(seen.values, origins, rays).detach())
    return Rendered(torch.stack(depths).mean(), torch.stack(empty).mean(), points)


def coarse_mask(cells: Tensor) -> Tensor:
    """Cells (n, z, y, x) → which coarse cells hold any (n, z / 4, y / 8, x / 8)."""
    return F.max_pool3d(cells[:, None], POOL)[:, 0]


def occupied(mask: Tensor, grid: VoxelGrid) -> Occupied:
    z, y, x = POOL
    return Occupied(mask, corners(grid)[0], (grid.step * x, grid.step * y, grid.z_step * z))


def corners(grid: VoxelGrid) -> tuple[Point, Point]:
    return (grid.x_min, grid.y_min, grid.z_min), (grid.x_max, grid.y_max, grid.z_max)
