"""What a LiDAR run will cost before anything is loaded, from its settings alone: parameters, memory and arithmetic of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dwm.config.lidar import AUTOENCODER, GENERATOR, LatentGenerator, LidarRecipe, TokenGenerator
from dwm.networks.cost import Cost, Shape, generation_cost, training_cost
from dwm.networks.kinds import kind_of
from dwm.networks.lidar.build import autoencoder_of
from dwm.networks.lidar.options import VaeOptions, VqOptions
from dwm.networks.lidar.tokens import TokenNetwork


@dataclass(frozen=True)
class LidarEstimate:
    """What `dwm show memory` tells of a LiDAR run. parameters: of its networks by name; training, generation: of a micro-batch
    and of a sampling step of a window, of generators of latents alone, whose networks are the cameras' kinds."""

    parameters: dict[str, int]
    clips: int
    frames: int
    window: int
    dtype: str
    training: Cost | None = None
    generation: Cost | None = None


def estimate_lidar(run: LidarRecipe, dtype: torch.dtype = torch.float32) -> LidarEstimate:
    """Nothing is read and no memory is taken for weights."""
    training, generator = run.training, run.generator
    window = min(run.sampling.window, run.data.validation[0].frames if run.data.validation else training.frames)
    estimate = LidarEstimate(
        _parameters(run), training.clips, training.frames, window, str(dtype).removeprefix("torch.")
    )
    if not isinstance(generator, LatentGenerator) or isinstance(run.autoencoder, VqOptions):
        return estimate
    options = run.autoencoder
    h, w = options.decoder.coarse if isinstance(options, VaeOptions) else options.rays.shape
    factor = run.data.birdseye.size[0] // w if isinstance(options, VaeOptions) else 1
    halves = 2 if generator.sampling.guidance is not None and not generator.sampling.separate else 1
    step = training_cost(
        generator.network,
        Shape(training.clips, training.frames, 1, h, w, 1, factor),
        dtype,
        moments=1.0 if training.optimizer.kind == "muon" else 2.0,
        average=training.ema_decay > 0,
    )
    sampled = generation_cost(generator.network, Shape(halves, window, 1, h, w, 1, factor), dtype)
    return LidarEstimate(estimate.parameters, training.clips, training.frames, window, estimate.dtype, step, sampled)


def _parameters(run: LidarRecipe) -> dict[str, int]:
    with torch.device("meta"):
        networks: dict[str, torch.nn.Module] = {AUTOENCODER: autoencoder_of(run.autoencoder)}
        if isinstance(run.generator, TokenGenerator):
            networks[GENERATOR] = TokenNetwork(run.generator.network)
        elif run.generator is not None:
            networks[GENERATOR] = kind_of(run.generator.network).network()(run.generator.network)
    counts = {name: sum(value.numel() for value in network.parameters()) for name, network in networks.items()}
    return {name: count for name, count in counts.items() if count}
