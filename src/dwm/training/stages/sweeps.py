"""Trains the networks of sweeps: a micro-batch of clouds → cells, codes or latents, losses. Knows neither files nor recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dwm.clip_batch import ClipBatch, SweepBatch
from dwm.conditions.birdseye_layout import layout_of
from dwm.devices import autocast
from dwm.diffusion.process import NoiseProcess
from dwm.generation.sweep_latents import predict
from dwm.networks.lidar.rays import RayCodec
from dwm.networks.lidar.rendering import Box
from dwm.networks.lidar.swin import SwinBlock
from dwm.networks.lidar.tokens import TokenNetwork
from dwm.networks.lidar.vae import VaeAutoencoder
from dwm.networks.lidar.voxels import VoxelGrid
from dwm.networks.lidar.vq import VqAutoencoder
from dwm.training.loop.task import Losses, Work
from dwm.training.objectives.options import SweepObjective
from dwm.training.objectives.sweep_latents import NoisySweeps, draw_noisy
from dwm.training.objectives.sweep_tokens import draw_hidden, dropped, keep_draws, latent_loss, token_loss
from dwm.training.objectives.sweeps import VAE_WEIGHTS, VQ_WEIGHTS, SweepLosses, vae_losses, vq_losses
from dwm.training.parallel.ranks import Ranks
from dwm.training.stages.codes import CodeKeeper, StepOfCodes

Point = tuple[float, float, float]

STALE = 256
"""Steps after which an unused code no longer counts as in use."""


@runtime_checkable
class Sweeps(Protocol):
    """What gives micro-batches of sweeps by number."""

    @property
    def seed(self) -> int: ...

    def batches(self, start: int, every: int = 1) -> Iterator[ClipBatch]: ...


@dataclass(frozen=True)
class SweepSettings:
    """How sweeps are seen. centre: where rays start (metres, vehicle's frame); box: where they are followed, None without
    rendering; weights: of the losses, empty as published. flattened: as OpenDWM drops layouts."""

    grid: VoxelGrid
    centre: Point = (1.0, 0.0, 2.0)
    box: Box | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    objective: SweepObjective = field(default_factory=SweepObjective)
    flattened: bool = False
    dtype: torch.dtype = torch.float32


class SweepTask:
    """What the four tasks have in common. `frozen`: networks that help and do not learn."""

    def __init__(
        self,
        module: nn.Module,
        feed: Sweeps,
        settings: SweepSettings,
        device: torch.device | str = "cpu",
        frozen: Sequence[nn.Module] = (),
    ) -> None:
        self.device, self.dtype = torch.device(device), settings.dtype
        self.module = module.train().to(self.device)
        self.feed, self.settings = feed, settings
        for network in frozen:
            network.eval().requires_grad_(False).to(self.device)

    def batches(self, start: int, every: int = 1) -> Iterator[ClipBatch]:
        return self.feed.batches(start, every)

    def work(self, batch: ClipBatch) -> Work:
        return Work(clips=batch.shape[0])

    def identity(self, batch: ClipBatch) -> str:
        return ", ".join(batch.scenes)

    def sweeps(self, batch: ClipBatch) -> SweepBatch:
        """The batch's sweeps on the device."""
        assert batch.lidar is not None, "a batch without LiDAR"
        return batch.to(self.device).lidar  # type: ignore[return-value]

    def cells(self, sweeps: SweepBatch) -> Tensor:
        """(b * t, z, y, x)."""
        return self.settings.grid.stack(sweeps.points).flatten(0, 1)


class CodesTask(SweepTask):
    """The autoencoder with codes. Codes are placed anew between steps, by what all micro-batches and processes saw."""

    def __init__(
        self,
        module: VqAutoencoder,
        feed: Sweeps,
        settings: SweepSettings,
        step: StepOfCodes,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(module, feed, settings, device)
        self.network, self.keeper = module, CodeKeeper(module, feed.seed, step)

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> Losses:
        sweeps, settings = self.sweeps(batch), self.settings
        cells = self.cells(sweeps)
        weights = settings.weights or VQ_WEIGHTS
        with autocast(self.device, settings.dtype):
            losses = vq_losses(
                self.network, settings.grid, cells, _clouds(sweeps), settings.centre, weights, kept_alive=False
            )
        assert losses.quantized is not None
        self.keeper.saw(losses.seen["features"], losses.quantized.indices, generator)
        share = (self.network.code_age < STALE).float().mean()
        return _losses(losses, cells, {"codes_used": share})

    def blocks(self) -> Sequence[nn.Module]:
        return [module for module in self.network.modules() if isinstance(module, SwinBlock)]

    def begin(self, ranks: Ranks) -> Sequence[str]:
        return self.keeper.begin(self._features(ranks), ranks)

    def settle(self, step: int, ranks: Ranks) -> Sequence[str]:
        return self.keeper.settle(step, ranks)

    @torch.no_grad()
    def _features(self, ranks: Ranks) -> Iterator[Tensor]:
        """Of this process's micro-batches of the first step what the encoder makes of them (n, channels)."""
        batches = self.feed.batches(ranks.rank, ranks.count)
        for _ in range(ranks.rank, self.keeper.of_step.accumulate, ranks.count):
            cells = self.cells(self.sweeps(next(batches)))
            with autocast(self.device, self.settings.dtype):
                features = self.network.lidar_encoder(cells)
            yield features.flatten(0, -2)


class DistributionTask(SweepTask):
    """The autoencoder with a distribution of latents."""

    def __init__(
        self, module: VaeAutoencoder, feed: Sweeps, settings: SweepSettings, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(module, feed, settings, device)
        self.network = module

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> Losses:
        sweeps, settings = self.sweeps(batch), self.settings
        cells = self.cells(sweeps)
        assert settings.box is not None
        weights = settings.weights or VAE_WEIGHTS
        with _seeded(generator, self.device), autocast(self.device, settings.dtype):
            losses = vae_losses(
                self.network, settings.grid, cells, _clouds(sweeps), settings.centre, settings.box, weights, generator
            )
        return _losses(losses, cells, {})

    def blocks(self) -> Sequence[nn.Module]:
        decoder = self.network.lidar_decoder
        heads = [getattr(decoder, name, None) for name in ("blocks", "voxel_block", "visual_block")]
        attention = [block for head in heads if head is not None for block in head.transformer_blocks]
        return [*(block for layer in self.network.lidar_encoder.encoder.layers for block in layer.blocks), *attention]


class TokensTask(SweepTask):
    """The network of hidden tokens; the autoencoder's codes are what it is to find."""

    def __init__(
        self,
        module: TokenNetwork,
        autoencoder: VqAutoencoder,
        feed: Sweeps,
        settings: SweepSettings,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(module, feed, settings, device, (autoencoder,))
        self.network, self.autoencoder = module, autoencoder

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> Losses:
        sweeps, settings = self.sweeps(batch), self.settings
        b, t = sweeps.shape
        with torch.no_grad(), autocast(self.device, settings.dtype):
            quantizer = self.autoencoder.vector_quantizer
            ids = quantizer(self.autoencoder.lidar_encoder(self.cells(sweeps))).indices
        layout = layout_of(sweeps)
        keeps = keep_draws(b, layout, settings.objective, generator)
        layout = dropped(layout, keeps, flattened=settings.flattened)
        hidden = draw_hidden(ids.view(b, t, -1), settings.objective, generator, generator)
        codes = None if self.network.options.own_table else quantizer.entries(ids)
        pictures = None if layout is None else layout.flatten(0, 1)
        with autocast(self.device, settings.dtype):
            logits = self.network(hidden.ids, codes, pictures, t, generator)
        loss, right = token_loss(logits.float(), ids, hidden.hidden)
        return Losses(loss, _means(b, {"cross_entropy": loss, "accuracy": right}))

    def work(self, batch: ClipBatch) -> Work:
        b, t, _ = batch.shape
        rows, columns = self.network.options.size
        return Work(clips=b, tokens=b * t * rows * columns)

    def blocks(self) -> Sequence[nn.Module]:
        layers = self.network.blocks
        return [*layers.blocks, *getattr(layers, "temporal_blocks", ())]


class LatentsTask(SweepTask):
    """The network that denoises latents. text: channels of words and pooled words, which are zeros. clean: it answers with the
    latents themselves."""

    def __init__(
        self,
        module: nn.Module,
        autoencoder: VaeAutoencoder | RayCodec,
        process: NoiseProcess,
        feed: Sweeps,
        settings: SweepSettings,
        text: tuple[int, int | None],
        scaling: tuple[float, float] = (1.0, 0.0),
        device: torch.device | str = "cpu",
        clean: bool = False,
    ) -> None:
        super().__init__(module, feed, settings, device, (autoencoder,))
        self.network, self.autoencoder, self.process, self.clean = module, autoencoder, process, clean
        self.text, (self.scale, self.bias) = text, scaling

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> Losses:
        sweeps, settings = self.sweeps(batch), self.settings
        latents = self._latents(sweeps, generator)
        noisy = draw_noisy(
            latents, layout_of(sweeps), self.process, settings.objective, self.text, generator, generator
        )
        with autocast(self.device, settings.dtype):
            output = predict(self.network, noisy.sample, noisy.times, noisy.conditions)
        loss = self._loss(noisy, output)
        return Losses(loss, _means(len(latents), {"latents": loss}))

    @torch.no_grad()
    def _latents(self, sweeps: SweepBatch, generator: torch.Generator) -> Tensor:
        """(b, t, c, h, w)"""
        if isinstance(self.autoencoder, RayCodec):
            return self.autoencoder.encode(sweeps)
        with autocast(self.device, self.settings.dtype):
            encoded = self.autoencoder.encode(self.cells(sweeps), generator).sample.float()
        return (encoded.unflatten(0, sweeps.shape).permute(0, 1, 4, 2, 3) - self.bias) / self.scale

    def _loss(self, noisy: NoisySweeps, output: Tensor) -> Tensor:
        return latent_loss(output, noisy.target, noisy.known) if self.clean else noisy.loss(output)

    def blocks(self) -> Sequence[nn.Module]:
        return self.network.blocks()  # type: ignore[operator]


def _clouds(sweeps: SweepBatch) -> list[Tensor]:
    return [sweep for clip in sweeps.points for sweep in clip]


def _losses(losses: SweepLosses, cells: Tensor, more: Mapping[str, Tensor]) -> Losses:
    occupied, prediction = cells > 0, losses.logits.detach() > 0
    overlap = (occupied & prediction).sum() / (occupied | prediction).sum().clamp_min(1)
    parts = {name: loss.float() for name, loss in losses.raw.items()}
    return Losses(losses.total, _means(len(cells), {**parts, "overlap": overlap, **more}))


def _means(count: int, values: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Means over `count` clips as sums and counts."""
    return {
        name: (value.detach().float() * count, value.new_tensor(count, dtype=torch.int64))
        for name, value in values.items()
    }


@contextmanager
def _seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """A block in which PyTorch's own numbers follow from the generator: a library drops branches by them."""
    seed = int(torch.randint(1 << 62, (), generator=generator))
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        torch.manual_seed(seed)
        yield
