"""From a LiDAR run to its parts: clips, networks with their weights, the pipeline. Trains and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from dwm.checkpoints.lidar import load_lidar, read_blank_codes, weights_file
from dwm.config.data import SourceOptions
from dwm.config.lidar import AUTOENCODER, GENERATOR, LatentGenerator, LidarRecipe, TokenGenerator
from dwm.data import DatasetWindows
from dwm.data.sweep_package import PackageSweeps
from dwm.data.sweeps import SweepPreparation, SweepReader
from dwm.diffusion.process import NoiseProcess, process_of
from dwm.errors import DwmError
from dwm.generation.sweep_latents import SweepDenoiser
from dwm.generation.sweep_rays import RayPipeline
from dwm.generation.sweeps import Generator, SweepPipeline, Windows
from dwm.generation.sweeps import LatentGenerator as Denoising
from dwm.generation.sweeps import TokenGenerator as Drawing
from dwm.generation.tokens import TokenSampler
from dwm.networks.kinds import kind_of
from dwm.networks.lidar.build import SweepAutoencoder, SweepCodec, autoencoder_of, grid_of
from dwm.networks.lidar.options import RayCodecOptions
from dwm.networks.lidar.rays import RayCodec
from dwm.networks.lidar.tokens import TokenNetwork
from dwm.networks.lidar.vae import VaeAutoencoder
from dwm.networks.lidar.vq import VqAutoencoder
from dwm.runs.clips import DRAWN_CLIPS, HELD_OUT_CLIPS, check_kinds, opened

CLEAN = "clean"
"""What a network answers with in whose flow it is the latents."""
PACKAGE = "layouts"
"""The kind of OpenDWM's packages."""
BLANK_CODES = 16
"""Codes that count as empty space where no file names them: those used most while the table was trained."""


def training_sweeps(run: LidarRecipe) -> list[SweepReader]:
    """What a run trains on, set by set."""
    return _readers(run, run.data.train, run.data.points, range(run.data.clips or DRAWN_CLIPS))


def held_out_sweeps(run: LidarRecipe) -> list[SweepReader | PackageSweeps]:
    """What it is looked at with."""
    if not run.data.validation:
        raise DwmError(f"{run.name or 'config'}: data.validation is empty; there is nothing to look at")
    points, readers, count = run.data.held_out_points, [], run.data.clips or DRAWN_CLIPS
    for source in run.data.validation:
        if source.kind != PACKAGE:
            readers += _readers(run, (source,), points, range(count, count + HELD_OUT_CLIPS))
            continue
        if source.path is None or not Path(source.path).is_file():
            raise DwmError(
                f"data.validation: the package of sweeps {source.path} is not here; give the path of its JSON"
            )
        readers.append(PackageSweeps(Path(source.path), source.frames, source.rates, used_points(run, points)))
    return readers


def used_points(run: LidarRecipe, points: int) -> SweepPreparation:
    """What of sweeps of `points` points at most a run sees, and how it is told of boxes and map."""
    data = run.data
    rays = run.autoencoder.rays if isinstance(run.autoencoder, RayCodecOptions) else None
    return SweepPreparation(data.nearest, data.farthest, points, data.boxes, data.map, data.birdseye, rays)


def _readers(run: LidarRecipe, sources: Sequence[SourceOptions], points: int, scenes: range) -> list[SweepReader]:
    """`scenes`: those of a world that is drawn. Raises DwmError for a set that is not there, cannot be read, or has no sweeps."""
    check_kinds(sources)
    data, used = run.data, used_points(run, points)
    readers = []
    for source in sources:
        dataset = opened(source, scenes, cameras=False, maps=data.map)
        windows = DatasetWindows(dataset, source.frames, source.rates, check=source.check_times)
        readers.append(SweepReader(windows, source.frames, used))
    return readers


def start_autoencoder(run: LidarRecipe) -> SweepCodec:
    """With the weights that the run names; else with first numbers, which depend on the seed alone."""
    with _seeded(run):
        net = autoencoder_of(run.autoencoder)
    if run.autoencoder_weights is not None:
        _load(net, run.autoencoder_weights, AUTOENCODER, run)
    return net


def start_generator(run: LidarRecipe) -> nn.Module:
    """The generator's network, likewise."""
    net = blank_generator(run)
    if run.weights is not None:
        _load(net, run.weights, GENERATOR, run)
    return net


def blank_generator(run: LidarRecipe) -> nn.Module:
    options = run.generator
    assert options is not None
    with _seeded(run):
        if isinstance(options, TokenGenerator):
            return TokenNetwork(options.network)
        network = options.network.with_compatibility(run.compatibility)
        return kind_of(network).network()(network)


def noise_process(run: LidarRecipe) -> NoiseProcess:
    """Of a generator of latents."""
    assert isinstance(run.generator, LatentGenerator)
    prediction = "flow" if run.generator.prediction == CLEAN else run.generator.prediction
    return process_of(prediction, run.generator.scheduler, double_shift=run.published)


def text_of(options: LatentGenerator) -> tuple[int, int | None]:
    """Channels of the words that there are none of, and of the pooled ones."""
    return options.text_channels, options.pooled_channels


def pipeline_of(
    run: LidarRecipe,
    autoencoder: SweepCodec,
    network: nn.Module | None,
    device: torch.device,
    dtype: torch.dtype,
) -> SweepPipeline | RayPipeline:
    """The pipeline around these networks, which stay as they are."""
    sampling = run.sampling
    if isinstance(autoencoder, RayCodec):
        assert network is not None
        return RayPipeline(
            _denoiser(run, network, device), autoencoder, grid_of(run.autoencoder.grid), sampling.window, device, dtype
        )
    windows = Windows(sampling.window, sampling.known, sampling.carried)
    generator = None if network is None else _generator(run, autoencoder, network, device)
    grid = grid_of(run.autoencoder.grid)
    return SweepPipeline(autoencoder, grid, generator, windows, device, dtype, centred=not run.published)


def _generator(run: LidarRecipe, autoencoder: SweepAutoencoder, network: nn.Module, device: torch.device) -> Generator:
    options = run.generator
    if isinstance(options, TokenGenerator):
        assert isinstance(autoencoder, VqAutoencoder) and isinstance(network, TokenNetwork)
        sampling = options.sampling.with_(blank=blank_codes(options, autoencoder))
        return Drawing(TokenSampler(network, autoencoder.vector_quantizer, sampling), autoencoder)
    assert isinstance(options, LatentGenerator) and isinstance(autoencoder, VaeAutoencoder)
    return Denoising(_denoiser(run, network, device), autoencoder, options.scale, options.bias)


def _denoiser(run: LidarRecipe, network: nn.Module, device: torch.device) -> SweepDenoiser:
    options = run.generator
    assert isinstance(options, LatentGenerator)
    how = options.sampling
    solver = noise_process(run).solver(how.steps, device=device)
    return SweepDenoiser(
        network, solver, text_of(options), how.guidance, how.separate, clean=options.prediction == CLEAN
    )


def blank_codes(options: TokenGenerator, autoencoder: VqAutoencoder) -> tuple[int, ...]:
    """The codes of empty space: those of the file, those that the run names, or those that training used most."""
    if options.blank_codes is not None:
        return read_blank_codes(Path(options.blank_codes))
    if options.sampling.blank or not options.sampling.blank_steps:
        return options.sampling.blank
    count = min(BLANK_CODES, max(1, len(autoencoder.code_usage) // 8))
    used = autoencoder.code_usage.topk(count)
    return tuple(int(code) for code, times in zip(used.indices, used.values, strict=True) if times > 0)


def _load(net: nn.Module, where: str, name: str, run: LidarRecipe) -> None:
    path = Path(where)
    if not path.exists():
        raise DwmError(f"{run.name or 'config'}: the {name}'s weights {path} are not here; {_advice(name)}")
    load_lidar(net, weights_file(path, name), f"the {name} of {run.name or 'config'}")


def _advice(name: str) -> str:
    key = "autoencoder_weights" if name == AUTOENCODER else "weights"
    return f"fetch or train them first, and name them by {key}=… (a file, or a folder that dwm train wrote)"


@contextmanager
def _seeded(run: LidarRecipe) -> Iterator[None]:
    """A block in which first numbers depend on the run's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        yield
