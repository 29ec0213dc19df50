"""What a LiDAR run costs before anything is loaded: parameters, memory and arithmetic of its stages, counted on shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dwm.config.generation_memory import MARGIN, gigabytes
from dwm.config.lidar import AUTOENCODER, GENERATOR, LatentGenerator, LidarRecipe, LidarTraining, TokenGenerator
from dwm.generation.sweep_latents import blank_conditions
from dwm.networks.cost import Cost, learning_cost
from dwm.networks.dryrun import tally
from dwm.networks.kinds import kind_of
from dwm.networks.lidar.build import SweepCodec, autoencoder_of
from dwm.networks.lidar.options import RayCodecOptions, VaeOptions
from dwm.networks.lidar.rays import RayCodec
from dwm.networks.lidar.rendering import SAMPLES_AT_ONCE
from dwm.networks.lidar.tokens import TokenNetwork
from dwm.networks.lidar.vae import VaeAutoencoder
from dwm.networks.lidar.vq import DENSITY_CHANNELS

META = torch.device("meta")
PLACES = 16
"""Numbers of a sample of a ray besides its features: its place, its ray, whether it counts."""


@dataclass(frozen=True)
class SweepStage:
    """One network that learns. training: of a micro-batch of `clips` clips of `frames` sweeps, with what helps and does not learn
    among the weights. rays: bytes besides at most while depths are followed, 0 where none are."""

    name: str
    parameters: int
    training: Cost
    clips: int
    frames: int
    rays: int = 0


@dataclass(frozen=True)
class SweepEstimate:
    """What `dwm show memory` tells of a LiDAR run. generation: of one pass over a window, and one sweep decoded; of an
    autoencoder alone a sweep there and back."""

    stages: tuple[SweepStage, ...]
    generation: Cost
    window: int
    dtype: str

    @property
    def needed(self) -> int:
        """Bytes of a device at most while sweeps are generated."""
        return int(MARGIN * self.generation.memory)

    def card(self, memory: float) -> str:
        """Whether sweeps are generated on a device with so many bytes free, in a line."""
        verdict = "fit" if self.needed <= memory else "do not fit"
        return f"  {memory / 1e9:.0f} GB: windows of {self.window} {verdict}; {gigabytes(self.needed)} at most"


def sweep_estimate(run: LidarRecipe, dtype: torch.dtype = torch.float32) -> SweepEstimate:
    """Of all stages of a run and of generating with what they leave. Products are computed in `dtype`, weights are float32."""
    stages = tuple(_stage(run, name, training, dtype) for name, training in run.stages().items())
    window = 1 if run.generator is None else run.sampling.window
    return SweepEstimate(stages, _generation(run, window, dtype), window, str(dtype).removeprefix("torch."))


def _stage(run: LidarRecipe, name: str, training: LidarTraining, dtype: torch.dtype) -> SweepStage:
    autoencoder = _built(lambda: autoencoder_of(run.autoencoder), dtype)
    moments = 1.0 if training.optimizer.kind == "muon" else 2.0
    average, count = training.ema_decay > 0, training.clips * training.frames
    if name == AUTOENCODER:
        cost = learning_cost(
            autoencoder, lambda: _there_and_back(autoencoder, _cells(run, count, dtype)), moments, average
        )
        inputs, rays = _bytes(_cells(run, count, dtype)), _bytes_of_rays(run)
        learns, helps = autoencoder, None
    else:
        learns, helps = _generator_network(run, dtype), autoencoder.eval().requires_grad_(False)
        has_encoder = not isinstance(run.autoencoder, RayCodecOptions)
        encoding = _peak(lambda: helps.lidar_encoder(_cells(run, count, dtype))) if has_encoder else 0
        ask, inputs = _question(run, learns, training.clips, training.frames, dtype)
        cost, rays = learning_cost(learns, ask, moments, average), 0
        cost = replace(cost, activations=max(cost.activations, encoding))
    weights = cost.weights + (0 if helps is None else 4 * _numbers(helps))
    cost = replace(cost, weights=weights, activations=cost.activations + inputs)
    parameters = sum(parameter.numel() for parameter in learns.parameters())
    return SweepStage(name, parameters, cost, training.clips, training.frames, rays)


def _generation(run: LidarRecipe, window: int, dtype: torch.dtype) -> Cost:
    """Peak and arithmetic of a window's pass or, where that is more, of a sweep there and back."""
    autoencoder = _built(lambda: autoencoder_of(run.autoencoder), dtype).eval()
    with torch.no_grad():
        one = tally(lambda: _there_and_back(autoencoder, _cells(run, 1, dtype)))
        weights = 4 * _numbers(autoencoder)
        if run.generator is None:
            return Cost(weights, 0, 0, 0, one.peak, one.flops)
        network = _generator_network(run, dtype).eval()
        ask, inputs = _question(run, network, _halves(run), window, dtype)
        step = tally(ask)
    return Cost(weights + 4 * _numbers(network), 0, 0, 0, inputs + max(step.peak, one.peak), step.flops)


def _halves(run: LidarRecipe) -> int:
    """Passes of one clip that go through a generator at once: both halves of guidance, or one."""
    options = run.generator
    assert options is not None
    together = not (isinstance(options, LatentGenerator) and options.sampling.separate)
    return 2 if options.sampling.guidance is not None and together else 1


def _generator_network(run: LidarRecipe, dtype: torch.dtype) -> Any:
    options = run.generator
    if isinstance(options, TokenGenerator):
        # Which visible tokens are replaced by others in training depends on numbers; it costs next to nothing.
        return _built(lambda: TokenNetwork(options.network.with_(perturbed=0.0)), dtype)
    assert isinstance(options, LatentGenerator)
    return kind_of(options.network).without_numbers(options.network).to(META, dtype).train()


def _question(
    run: LidarRecipe, network: Any, clips: int, frames: int, dtype: torch.dtype
) -> tuple[Callable[[], Tensor], int]:
    """The generator's pass over so many clips, and the bytes of what it is asked."""
    options, count = run.generator, clips * frames
    height, width = _layout_size(run)
    channels = run.data.layout_channels
    layout = torch.empty(count, channels, height, width, dtype=dtype, device=META) if channels else None
    if isinstance(options, TokenGenerator):
        rows, columns = options.network.size
        ids = torch.empty(count, rows * columns, dtype=torch.long, device=META)
        own = options.network.own_table
        codes = None if own else torch.empty(*ids.shape, options.network.code_channels, dtype=dtype, device=META)
        return lambda: network(ids, codes, layout, frames), _bytes(ids, codes, layout)
    assert isinstance(options, LatentGenerator)
    autoencoder = run.autoencoder
    rows, columns = autoencoder.decoder.coarse if isinstance(autoencoder, VaeOptions) else _layout_size(run)
    shape = (clips, frames, 1, options.network.in_channels, rows, columns)
    sample = torch.empty(shape, dtype=dtype, device=META)
    pictures = None if layout is None else layout.unflatten(0, (clips, frames))
    conditions = blank_conditions(sample[:, :, 0], pictures, (options.text_channels, options.pooled_channels))
    conditions = replace(conditions, any_crossview=False, any_temporal=frames > 1)
    times = torch.empty(clips, frames, 1, device=META)
    return lambda: network(sample, times, network.prepare(conditions, shape)), _bytes(sample, layout)


def _layout_size(run: LidarRecipe) -> tuple[int, int]:
    """Rows and columns of a layout's picture, as rays meet it or from above."""
    options = run.autoencoder
    return options.rays.shape if isinstance(options, RayCodecOptions) else run.data.birdseye.size[::-1]


def _there_and_back(autoencoder: SweepCodec, cells: Tensor) -> Tensor:
    """A number that depends on all that an autoencoder makes of cells; images along rays cost next to nothing."""
    if isinstance(autoencoder, RayCodec):
        return torch.empty((), device=META)
    if isinstance(autoencoder, VaeAutoencoder):
        decoded = autoencoder.decode(autoencoder.encode(cells).sample)
        parts = [part for part in decoded if part is not None]
    else:
        codes = autoencoder.vector_quantizer(autoencoder.lidar_encoder(cells)).codes
        parts = list(autoencoder.decode(codes))
    return torch.stack([part.float().mean() for part in parts])


def _bytes_of_rays(run: LidarRecipe) -> int:
    """A piece of rays that is followed at once, with its gradient: features, their small network, places."""
    if isinstance(run.autoencoder, VaeOptions):
        if not run.autoencoder.decoder.rendered:
            return 0
        features = hidden = run.autoencoder.decoder.feature_channels
    else:
        features, hidden = DENSITY_CHANNELS, 2 * DENSITY_CHANNELS
    return 4 * SAMPLES_AT_ONCE * (2 * features + 2 * hidden + PLACES)


def _cells(run: LidarRecipe, count: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(count, *run.autoencoder.grid.shape, dtype=dtype, device=META)


def _built(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    with META:
        return make().to(META, dtype).train()


def _peak(work: Callable[[], Any]) -> int:
    with torch.no_grad():
        return tally(work).peak


def _numbers(network: nn.Module) -> int:
    return sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))


def _bytes(*tensors: Tensor | None) -> int:
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def stage_named(estimated: SweepEstimate, stages: Sequence[str] = (GENERATOR, AUTOENCODER)) -> SweepStage:
    """The stage that a run is named for: its generator's, or the autoencoder's where it has none."""
    return next(stage for name in stages for stage in estimated.stages if stage.name == name)
