"""Autoencoders of sweeps as stages: cut and resumed to the bit, codes placed once a step, bad sweeps taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sweep_clips import CODES, VAE, VQ, clip, cloud, feed

from dwm.networks.lidar.build import autoencoder_of, grid_of
from dwm.networks.lidar.rendering import Box
from dwm.training.loop.options import LoopOptions
from dwm.training.loop.step import Moment
from dwm.training.objectives.sweeps import corners
from dwm.training.stages.codes import TABLE, StepOfCodes
from dwm.training.stages.stage import Context, run_stages
from dwm.training.stages.sweep_stage import WEIGHTS, SweepStage
from dwm.training.stages.sweeps import CodesTask, DistributionTask, SweepSettings, SweepTask

LOOP = LoopOptions(steps=5, accumulate=2, save_every=2, ema_decay=0.5)


def task(options, clips=None) -> SweepTask:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = autoencoder_of(options)
    grid = grid_of(options.grid)
    settings = SweepSettings(grid, box=Box(*corners(grid), 0.5))
    sweeps = feed(clips or [clip(number) for number in range(4)])
    if options is VQ:
        return CodesTask(net, sweeps, settings, StepOfCodes(2, 1))
    return DistributionTask(net, sweeps, settings)


def stage(options, loop=LOOP) -> SweepStage:
    return SweepStage("autoencoder", loop, lambda context: task(options))


@pytest.mark.parametrize("options", [VQ, VAE], ids=["codes", "distribution"])
def test_a_stage_that_was_cut_goes_on_and_ends_the_same(options, tmp_path):
    run_stages([stage(options)], Context(tmp_path / "whole"))

    def cut(moment: Moment) -> None:
        if moment.step == 3:
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        run_stages([stage(options)], Context(tmp_path / "cut", callbacks=(cut,)))
    run_stages([stage(options)], Context(tmp_path / "cut"))
    whole, resumed = (load_file(tmp_path / name / "autoencoder" / WEIGHTS) for name in ("whole", "cut"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_codes_are_placed_before_the_first_step_and_averages_start_there(tmp_path):
    seen = []

    def note(moment: Moment) -> None:
        live = moment.training.module.vector_quantizer.embedding.weight.detach().clone()
        seen.append((live, moment.training.ema.average[TABLE].clone()))

    run_stages([stage(VQ, LOOP.with_(steps=1))], Context(tmp_path, callbacks=(note,)))
    ((live, average),) = seen
    spread = 1 / CODES  # codes of chance are uniform within this
    assert live.abs().max() > 1.5 * spread  # the latents lie further out
    # One step of averaging from the placed table, not from that of chance.
    assert (live - average).abs().max() < 0.01
    saved = load_file(tmp_path / "autoencoder" / WEIGHTS)
    assert saved["code_usage"].sum() == 2 * 4 and saved["code_age"].min() == 0


def test_empty_and_broken_sweeps_train_with_finite_losses(tmp_path):
    nan, far = cloud(9), cloud(9)
    nan[::3] = np.nan
    nan[1::3, 0] = np.inf
    far[:, :3] = 1e4
    sweeps = [np.zeros((0, 5), np.float32), nan, far, np.zeros((5, 5), np.float32)]
    clips = [clip(number, 1, [sweep]) for number, sweep in enumerate(sweeps)]
    for options in (VQ, VAE):
        broken = task(options, clips)
        batches = broken.batches(0)
        for _ in clips:
            batch = next(batches)
            losses = broken.losses(batch, torch.Generator().manual_seed(0))
            losses.loss.backward()
            assert torch.isfinite(losses.loss), batch.scenes
        assert all(torch.isfinite(p.grad).all() for p in broken.module.parameters() if p.grad is not None)
