"""`SweepPipeline`: what is known of a clip from above, or its first sweeps, → sweeps. Knows neither files nor training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dwm.clip_batch import ClipBatch, SweepBatch
from dwm.conditions.birdseye_layout import layout_of
from dwm.devices import autocast
from dwm.errors import DwmError
from dwm.generation.sweep_latents import SweepDenoiser
from dwm.generation.tokens import TokenSampler
from dwm.networks.lidar.build import SweepAutoencoder
from dwm.networks.lidar.tokens import HIDDEN
from dwm.networks.lidar.vae import VaeAutoencoder
from dwm.networks.lidar.voxels import VoxelGrid, draw_occupancy
from dwm.networks.lidar.vq import VqAutoencoder

CPU = torch.device("cpu")


@dataclass(frozen=True)
class GeneratedSweeps:
    """cells[b][t] are the occupied cells (z, y, x) of a sweep, points[b][t] the points in the vehicle's frame (metres): those of
    the cells (n, 3), or along rays (n, 5), with intensity (0 … 255) and ring."""

    points: list[list[Tensor]]
    cells: list[list[Tensor]]
    ranges: Tensor | None = None
    """(b, t, 2, R, C) along rays: metres and intensity."""


@dataclass(frozen=True)
class Windows:
    """How a clip is made: `length` sweeps at a time, of which a later window shares `carried` with the one before; the first
    `known` sweeps of the clip are given."""

    length: int = 8
    known: int = 0
    carried: int = 3


@runtime_checkable
class Generator(Protocol):
    """Makes what the autoencoder decodes: codes' indices (b, t, n), or latents (b, t, c, h, w)."""

    def encode(self, cells: Tensor, generator: torch.Generator) -> Tensor:
        """What real sweeps (b, t, z, y, x) are."""
        ...

    def window(self, known: Tensor | None, layout: Tensor | None, length: int, generator: torch.Generator) -> Tensor:
        """A window of `length` sweeps that begins with the known ones (b, k, …); the layout is (b, length, 3 or 6, H, W)."""
        ...

    def decode(self, made: Tensor) -> Tensor:
        """Logits of cells (b, z, y, x) of one frame of what was made (b, …)."""
        ...


@dataclass(frozen=True)
class TokenGenerator:
    sampler: TokenSampler
    autoencoder: VqAutoencoder

    def encode(self, cells: Tensor, generator: torch.Generator) -> Tensor:
        return _codes(self.autoencoder, cells.flatten(0, 1)).unflatten(0, cells.shape[:2])

    def window(self, known: Tensor | None, layout: Tensor | None, length: int, generator: torch.Generator) -> Tensor:
        rows, columns = self.sampler.network.options.size
        device = self.sampler.network.mask_token.device
        b = 1 if layout is None else len(layout)
        blank = torch.full((b, length, rows * columns), HIDDEN, device=device)
        if known is not None:
            blank = torch.cat([known, blank[:, known.shape[1] :].expand(len(known), -1, -1)], dim=1)
        return self.sampler.window(blank, layout, generator, protect=True)

    def decode(self, made: Tensor) -> Tensor:
        return self.autoencoder.decode(self.autoencoder.vector_quantizer.entries(made))[1]


@dataclass(frozen=True)
class LatentGenerator:
    """Latents are (z - bias) / scale of the autoencoder's."""

    denoiser: SweepDenoiser
    autoencoder: VaeAutoencoder
    scale: float = 1.0
    bias: float = 0.0

    def encode(self, cells: Tensor, generator: torch.Generator) -> Tensor:
        latents = self.autoencoder.encode(cells.flatten(0, 1), generator).sample.unflatten(0, cells.shape[:2])
        return (latents.permute(0, 1, 4, 2, 3) - self.bias) / self.scale

    def window(self, known: Tensor | None, layout: Tensor | None, length: int, generator: torch.Generator) -> Tensor:
        options = self.autoencoder.lidar_decoder.options
        device = next(self.autoencoder.parameters()).device
        b = len(layout) if layout is not None else 1 if known is None else len(known)
        noise = torch.randn((b, length, options.latent_channels, *options.coarse), generator=generator)
        return self.denoiser.window(noise.to(device), known, layout)

    def decode(self, made: Tensor) -> Tensor:
        return self.autoencoder.decode((made * self.scale + self.bias).permute(0, 2, 3, 1)).logits


@dataclass(frozen=True)
class SweepPipeline:
    """An autoencoder, and a generator or none: then sweeps are encoded and decoded.

    centred: points are the middles of cells; else their lower corners, as OpenDWM has them.
    """

    autoencoder: SweepAutoencoder
    grid: VoxelGrid
    generator: Generator | None = None
    windows: Windows = Windows()
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    centred: bool = True

    @torch.no_grad()
    def __call__(self, batch: ClipBatch, generator: torch.Generator) -> GeneratedSweeps:
        """Sweeps of every frame of a batch. Raises DwmError for a batch without LiDAR."""
        if batch.lidar is None:
            raise DwmError(f"{', '.join(batch.scenes)}: has no LiDAR")
        sweeps = batch.lidar.map(lambda value: value.to(self.device))
        with autocast(self.device, self.dtype):
            frames = self._rebuilt(sweeps, generator) if self.generator is None else self._made(sweeps, generator)
            cells = [self._drawn(logits, generator) for logits in frames]  # t of (b, z, y, x)
        clips = [[frame[index] for frame in cells] for index in range(sweeps.shape[0])]
        return GeneratedSweeps([[self.grid.points(frame, self.centred) for frame in clip] for clip in clips], clips)

    def _rebuilt(self, sweeps: SweepBatch, generator: torch.Generator) -> Iterator[Tensor]:
        for frame in range(sweeps.shape[1]):
            cells = self.grid.stack([clip[frame : frame + 1] for clip in sweeps.points])[:, 0]
            if isinstance(self.autoencoder, VqAutoencoder):
                yield self.autoencoder.decode(_quantized(self.autoencoder, cells))[1]
            else:
                yield self.autoencoder.decode(self.autoencoder.encode(cells, generator).sample).logits

    def _made(self, sweeps: SweepBatch, generator: torch.Generator) -> Iterator[Tensor]:
        assert self.generator is not None
        t, plan = sweeps.shape[1], self.windows
        length = min(plan.length, t)
        layout = layout_of(sweeps)
        known = None
        if plan.known:
            cells = self.grid.stack([clip[: min(plan.known, length - 1)] for clip in sweeps.points])
            known = self.generator.encode(cells, generator) if cells.shape[1] else None
        carried, start = min(plan.carried, length - 1), 0
        while True:
            made = self.generator.window(known, _part(layout, start, length), length, generator)
            skip = 0 if start == 0 else carried
            for frame in range(skip, min(length, t - start)):
                yield self.generator.decode(made[:, frame])
            if start + length >= t:
                return
            start += length - carried
            known = made[:, length - carried :] if carried else None

    def _drawn(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Occupied cells, drawn by their probabilities."""
        uniform = torch.rand(logits.shape, generator=generator).to(logits.device)
        return draw_occupancy(logits.float(), uniform) > 0.5


def _part(layout: Tensor | None, start: int, length: int) -> Tensor | None:
    """`length` frames from `start` on; the last one stands for those that are not there."""
    if layout is None:
        return None
    part = layout[:, start : start + length]
    return torch.cat([part, part[:, -1:].expand(-1, length - part.shape[1], -1, -1, -1)], dim=1)


def _codes(autoencoder: VqAutoencoder, cells: Tensor) -> Tensor:
    """Which code each token of cells (n, z, y, x) is; nothing is counted."""
    return autoencoder.vector_quantizer(autoencoder.lidar_encoder(cells)).indices


def _quantized(autoencoder: VqAutoencoder, cells: Tensor) -> Tensor:
    return autoencoder.vector_quantizer(autoencoder.lidar_encoder(cells)).codes
