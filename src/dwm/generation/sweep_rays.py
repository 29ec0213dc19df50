"""`RayPipeline`: boxes and map as a LiDAR's rays meet them → sweeps of that LiDAR. Knows neither files nor training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dwm.clip_batch import ClipBatch, SweepBatch
from dwm.conditions.birdseye_layout import layout_of
from dwm.data.points import moved
from dwm.devices import autocast
from dwm.errors import DwmError
from dwm.generation.sweep_latents import SweepDenoiser
from dwm.generation.sweeps import CPU, GeneratedSweeps
from dwm.networks.lidar.rays import RayCodec, ray_points
from dwm.networks.lidar.voxels import VoxelGrid


@dataclass(frozen=True)
class RayPipeline:
    """A network that denoises images along rays. Sweeps are made one by one, `most` at a time.

    All sweeps of a clip begin with the same noise, so that what the layout says nothing of changes little between them.
    """

    denoiser: SweepDenoiser
    codec: RayCodec
    grid: VoxelGrid
    most: int = 8
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    centred: bool = True

    @torch.no_grad()
    def __call__(self, batch: ClipBatch, generator: torch.Generator) -> GeneratedSweeps:
        """Sweeps of every frame of a batch. Raises DwmError for a batch that was not prepared along rays."""
        if batch.lidar is None or batch.lidar.surfaces is None:
            raise DwmError(f"{', '.join(batch.scenes)}: has no layout along a LiDAR's rays")
        sweeps = batch.lidar.map(lambda value: value.to(self.device))
        ranges = self.ranges(sweeps, generator)
        points = [
            [self.points(ranges[clip, frame], sweeps.ego_from_lidar[clip, frame]) for frame in range(ranges.shape[1])]
            for clip in range(len(ranges))
        ]
        return GeneratedSweeps(points, [list(clip) for clip in self.grid.stack(points)], ranges)

    @torch.no_grad()
    def ranges(self, sweeps: SweepBatch, generator: torch.Generator) -> Tensor:
        """(b, t, 2, R, C): metres (`NOWHERE`: no echo) and intensity of each ray."""
        b, t = sweeps.shape
        layout, surfaces = layout_of(sweeps), sweeps.surfaces
        assert surfaces is not None
        shape = (b, 1, 4, *self.codec.options.shape)
        noise = torch.randn(shape, generator=generator).to(self.device).expand(-1, t, -1, -1, -1)
        parts = []
        for start in range(0, t, self.most):
            frames = slice(start, start + self.most)
            with autocast(self.device, self.dtype):
                images = self.denoiser.window(noise[:, frames], None, None if layout is None else layout[:, frames])
            parts.append(self.codec.decode(images.float(), surfaces[:, frames]))
        return torch.cat(parts, dim=1)

    def points(self, ranges: Tensor, ego_from_lidar: Tensor) -> Tensor:
        """One sweep's ranges and intensities (2, R, C) as points (n, 5) in the vehicle's frame."""
        points = ray_points(ranges, self.codec.options)
        return torch.cat([moved(points[:, :3], ego_from_lidar.float()), points[:, 3:]], dim=1)
