"""Starts a training run of sweeps from its recipe: clips, stages, a folder of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dwm.checkpoints.lidar import load_lidar, save_lidar
from dwm.checkpoints.tensor_files import read_tensors
from dwm.clip_batch import ClipBatch
from dwm.config.files import save
from dwm.config.lidar import AUTOENCODER, GENERATOR, LatentGenerator, LidarRecipe, LidarTraining
from dwm.errors import DwmError
from dwm.generation.sweep_rays import RayPipeline
from dwm.generation.sweeps import SweepPipeline
from dwm.networks.lidar.build import SweepCodec, grid_of
from dwm.networks.lidar.options import RayCodecOptions, VaeOptions
from dwm.networks.lidar.rays import RayCodec
from dwm.networks.lidar.rendering import Box
from dwm.networks.lidar.tokens import TokenNetwork
from dwm.networks.lidar.vae import VaeAutoencoder
from dwm.networks.lidar.vq import VqAutoencoder
from dwm.report.sweeps import save_picture, sheet
from dwm.runs.clips import check_kinds
from dwm.runs.lidar.parts import (
    CLEAN,
    PACKAGE,
    blank_generator,
    held_out_sweeps,
    noise_process,
    pipeline_of,
    start_autoencoder,
    start_generator,
    text_of,
    training_sweeps,
)
from dwm.runs.start import started
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan
from dwm.training.feed.sweeps import SweepFeed
from dwm.training.loop.step import Callback, Moment
from dwm.training.objectives.sweeps import corners
from dwm.training.stages.codes import StepOfCodes
from dwm.training.stages.stage import Context, run_stages
from dwm.training.stages.sweep_stage import WEIGHTS, SweepStage
from dwm.training.stages.sweeps import CodesTask, DistributionTask, LatentsTask, SweepSettings, SweepTask, TokensTask


def train_lidar(run: LidarRecipe, output: Path, resume: bool, callbacks: Sequence[Callback] = ()) -> Path:
    """Trains and returns the folder of weights. A run that was stopped goes on with `resume`.

    Several processes that a launcher started share it. Raises DwmError where `output` holds another run, or this one and
    `resume` was not given.
    """

    def check() -> None:
        _require(run)
        check_kinds(run.data.train)
        check_kinds(run.data.validation if run.preview.every else (), also=(PACKAGE,))

    with started(run, output, resume, callbacks, check) as context:
        return _Training(run, context).run_all()


def _require(run: LidarRecipe) -> None:
    """A generator needs its autoencoder's weights, or the stage that trains it."""
    has_weights = not isinstance(run.autoencoder, RayCodecOptions)
    if run.generator and has_weights and run.autoencoder_weights is None and run.autoencoder_training is None:
        raise DwmError(
            f"{run.name or 'config'}: autoencoder_weights names no weights of the autoencoder that the generator works on; "
            "train or fetch them and name them (a file, or a folder that dwm train wrote)"
        )


@dataclass(frozen=True)
class _Training:
    """One call of `train_lidar`."""

    run: LidarRecipe
    context: Context

    def run_all(self) -> Path:
        context = self.context
        run_stages([self._stage(name, training) for name, training in self.run.stages().items()], context)
        weights = context.folder / "weights"
        if context.ranks.first:
            self._write(weights)
        context.ranks.barrier()
        return weights

    def _write(self, weights: Path) -> None:
        weights.mkdir(exist_ok=True)
        stages = self.run.stages()
        if AUTOENCODER in stages:
            save_lidar(weights / f"{AUTOENCODER}.safetensors", read_tensors(self._left(AUTOENCODER)))
        elif not isinstance(self.run.autoencoder, RayCodecOptions):
            save_lidar(weights / f"{AUTOENCODER}.safetensors", start_autoencoder(self.run).state_dict())
        if GENERATOR in stages:
            save_lidar(weights / f"{GENERATOR}.safetensors", read_tensors(self._left(GENERATOR)))
        save(self.run, weights)

    def _left(self, name: str) -> Path:
        return self.context.folder / name / WEIGHTS

    def _stage(self, name: str, training: LidarTraining) -> SweepStage:
        return SweepStage(
            name,
            training.loop(),
            lambda context: self._task(name, training),
            training.epochs,
            lambda context, task: self._watchers(name, training, task),
        )

    def _task(self, name: str, training: LidarTraining) -> SweepTask:
        run, context = self.run, self.context
        feed, settings = self._feed(training), self._settings(training)
        if name == AUTOENCODER:
            net = start_autoencoder(run)
            if isinstance(net, VqAutoencoder):
                step = StepOfCodes(training.accumulate, training.clips * training.frames)
                return CodesTask(net, feed, settings, step, context.device)
            assert isinstance(net, VaeAutoencoder)
            return DistributionTask(net, feed, settings, context.device)
        autoencoder, network = self._autoencoder(), start_generator(run)
        if isinstance(network, TokenNetwork):
            assert isinstance(autoencoder, VqAutoencoder)
            return TokensTask(network, autoencoder, feed, settings, context.device)
        options = run.generator
        assert isinstance(options, LatentGenerator) and isinstance(autoencoder, VaeAutoencoder | RayCodec)
        scaling = options.scale, options.bias
        return LatentsTask(
            network,
            autoencoder,
            noise_process(run),
            feed,
            settings,
            text_of(options),
            scaling,
            context.device,
            clean=options.prediction == CLEAN,
        )

    def _autoencoder(self) -> SweepCodec:
        """As the stage before left it, or as its weights say."""
        net = start_autoencoder(self.run)
        if AUTOENCODER in self.run.stages():
            load_lidar(net, self._left(AUTOENCODER), "the autoencoder of this run")
        return net

    def _feed(self, training: LidarTraining) -> SweepFeed:
        data, readers = self.run.data, training_sweeps(self.run)
        joined = Joined.of([len(reader) for reader in readers], [source.ratio for source in data.train])
        bucket = Bucket(data.birdseye.size, training.frames, training.clips)
        plan = Plan(
            [(np.arange(len(joined)), [bucket])], training.accumulate, training.seed, data.shuffle, data.fixed_order
        )
        return SweepFeed(readers, joined, plan, training.seed, data.workers, data.in_memory)

    def _settings(self, training: LidarTraining) -> SweepSettings:
        run = self.run
        return SweepSettings(
            grid=grid_of(run.autoencoder.grid),
            centre=run.centre,
            box=render_box(run),
            weights=training.losses,
            objective=training.objective,
            flattened=run.published,
            dtype=self.context.dtype,
        )

    def _watchers(self, name: str, training: LidarTraining, task: SweepTask) -> tuple[Callback, ...]:
        run, device = self.run, self.context.device
        if not run.preview.every or not run.data.validation:
            return ()
        if isinstance(task, CodesTask | DistributionTask):
            pipe = pipeline_of(run, task.network, None, device, self.context.dtype)
        else:
            assert isinstance(task, TokensTask | LatentsTask)
            pipe = pipeline_of(run, task.autoencoder, task.network, device, self.context.dtype)
        clip = held_out_sweeps(run)[0].read(0, generator=torch.Generator().manual_seed(0))
        return (SweepPreviews(pipe, clip, run.preview.every),)


@dataclass(frozen=True)
class SweepPreviews:
    """A callback of the training loop; writes `previews/STEP.png`, a clip's sweeps from above, into the stage's folder.

    It draws from a generator of its own, so that a run with previews and one without have the same losses.
    """

    pipe: SweepPipeline | RayPipeline
    clip: ClipBatch
    every: int

    def __call__(self, moment: Moment) -> None:
        if moment.step % self.every:
            return
        with moment.sampled() as mine:
            if mine:
                made = self.pipe(self.clip, torch.Generator().manual_seed(0))
                assert self.clip.lidar is not None
                truth = self.pipe.grid.stack(self.clip.lidar.points)[0]
                picture = sheet(self.clip.lidar, 0, list(truth), made.cells[0], made.ranges)
                save_picture(picture, moment.folder / "previews" / f"{moment.step:06d}.png")


def render_box(run: LidarRecipe) -> Box | None:
    """Where the rays of an autoencoder with a distribution are followed; None for others, which know it themselves."""
    options = run.autoencoder
    if not isinstance(options, VaeOptions):
        return None
    how = options.render
    lower, upper = corners(grid_of(options.grid))
    moved = [tuple(a + b for a, b in zip(*pair, strict=True)) for pair in ((lower, how.lower), (upper, how.upper))]
    return Box(moved[0], moved[1], how.step, how.near, how.far)  # type: ignore[arg-type]


def blank_networks(run: LidarRecipe) -> dict[str, nn.Module]:
    """The networks of a run by name, without memory for their weights."""
    with torch.device("meta"):
        networks: dict[str, nn.Module] = {AUTOENCODER: start_autoencoder(run.with_(autoencoder_weights=None))}
        if run.generator is not None:
            networks[GENERATOR] = blank_generator(run)
    return networks
