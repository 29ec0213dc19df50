"""Few steps by distillation: what the teacher asks for, a run that is cut, the folder of weights and how it is sampled."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import InventedClips, options, train

from dwm import DrivingPipeline
from dwm.checkpoints.card import FastOptions, SamplingOptions
from dwm.checkpoints.folder import read_card
from dwm.config.checks import check
from dwm.config.registry import find
from dwm.diffusion.process import FlowGrid
from dwm.errors import DwmError
from dwm.runs import drive
from dwm.runs.drive import DriveRun
from dwm.runs.generate import GenerationRun
from dwm.runs.own_base import make_own_base, own_material
from dwm.runs.start import context
from dwm.runs.steps import with_sampling
from dwm.runs.train import card
from dwm.training.loop.step import step_generator
from dwm.training.stages.driving_stage import driving_trainings
from dwm.training.stages.options import DistillationOptions

NAME = "diffusion_pytorch_model.safetensors"
TAUGHT = DistillationOptions(steps=3, substeps=2, guidance=2.0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return train(options(2), tmp_path_factory.mktemp("teacher"))


def distilling(teacher, steps=6, **objective):
    """A run that distils the teacher: no stage before it."""
    run = options(steps)
    training = run.training.with_(distillation=TAUGHT, objective=run.training.objective.with_(**objective))
    return run.with_(weights=str(teacher), autoencoder=(), warmup=(), training=training)


def task_of(run, folder):
    where = context(run, folder)
    own = make_own_base(run, InventedClips(), where)
    material = own_material(run, card(run).fast_card(), own, where)
    (training,) = driving_trainings(run.driving_stages(), material, folder, distillation=run.training.distillation)
    return training.task(where)


def test_noise_that_rises_is_taught_from_frame_to_frame(teacher, tmp_path):
    run = distilling(teacher, rising=1, style="ctsd", drop_all=0)
    task = task_of(run.with_(autocast="float32"), tmp_path)
    batch = next(task.batches(0)).to(task.device)
    draws, inputs = task._inputs(batch, step_generator(0, 3))
    assert draws.positions.shape == inputs.timestep.shape[:2]
    begin = draws.positions[:, :, None].expand(inputs.timestep.shape)
    target = task._target(batch, inputs, begin)
    given = inputs.is_reference[..., None, None, None].expand(target.shape)
    assert torch.equal(target[given], inputs.sample[given]) and not torch.equal(target[~given], inputs.sample[~given])
    assert torch.isfinite(task.losses(batch, step_generator(0, 3)).loss)
    assert card(run).fast_card().queue is not None and card(distilling(teacher)).fast_card().queue is None


@pytest.mark.parametrize("references", [0, 1])
def test_the_target_is_where_the_teachers_guided_steps_lead(teacher, tmp_path, references):
    whole = {
        "style": "ctsd" if references else None,
        "drop_all": 0,
        "generation_tasks": 0,
        "reference_frames": references,
    }
    task = task_of(distilling(teacher, **whole).with_(autocast="float32"), tmp_path)
    batch = next(task.batches(0)).to(task.device)
    draws, inputs = task._inputs(batch, step_generator(0, 0))
    begin = draws.positions[:, None, None].expand(inputs.timestep.shape)
    target = task._target(batch, inputs, begin)

    pipe = DrivingPipeline.from_pretrained(teacher)
    count = TAUGHT.steps * TAUGHT.substeps
    sampler = pipe.sampler((32, 32), torch.Generator(), count, TAUGHT.guidance)
    shape, sigmas = tuple(inputs.sample.shape), sampler.solver.sigmas
    with torch.no_grad():
        prepared = sampler.prepare(batch.clips, shape)
        for clip, position in enumerate(draws.positions.tolist()):
            latents, first = inputs.sample, position * TAUGHT.substeps
            for index in range(first, first + TAUGHT.substeps):
                latents[:, :references] = inputs.sample[:, :references]
                time = sampler.solver.times[index].expand(shape[:3]).clone()
                time[:, :references] = 0
                latents = sampler.solver.step(latents, sampler.predict(latents, time, prepared), index)
            start, end = sigmas[first], sigmas[first + TAUGHT.substeps]
            # One straight step of the copy from where it starts must end there.
            velocity = (inputs.sample - target) / start
            reached = inputs.sample + (end - start) * velocity
            torch.testing.assert_close(reached[clip, references:], latents[clip, references:], atol=2e-3, rtol=1e-2)


def test_its_noise_levels_are_those_of_the_sampler():
    grid, latents = FlowGrid(1.5, 4), torch.zeros(4, 1, 2, 1, 2, 2)
    noisy = grid.add(latents, torch.ones_like(latents), torch.arange(4))
    solver = grid.solver(4)
    assert torch.equal(noisy.time[:, 0, 0], solver.times[:4]) and torch.equal(noisy.sigma[:, 0, 1], solver.sigmas[:4])
    draws = grid.draw((200,), torch.Generator(), torch.Generator().manual_seed(0))
    assert set(draws.tolist()) == {0, 1, 2, 3}


def test_a_run_that_was_cut_ends_in_the_same_weights_and_leaves_the_teacher_as_it_was(teacher, tmp_path):
    run = distilling(teacher)
    weights = train(run, tmp_path / "whole")

    def cut(moment):
        if moment.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "cut", [cut])
    again = train(run, tmp_path / "cut")
    one, other = (load_file(folder / "transformer_fast" / NAME) for folder in (weights, again))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    before, after = (load_file(folder / "transformer" / NAME) for folder in (teacher, weights))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(not torch.equal(value, one[name]) for name, value in before.items())
    assert read_card(weights) == read_card(teacher).with_(fast=FastOptions(num_inference_steps=TAUGHT.steps))


def test_the_copy_learns_what_it_is_taught(teacher, tmp_path):
    run = distilling(teacher, steps=40)
    losses = []
    train(run, tmp_path, [lambda moment: losses.append(moment.line["loss"])])
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_the_fast_network_is_sampled_in_its_steps_without_an_unconditional_half(teacher, tmp_path):
    weights = train(distilling(teacher, steps=2), tmp_path)
    fast = DrivingPipeline.from_pretrained(weights, fast=True)
    seen = []
    fast.network.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[0]))
    video = fast(InventedClips()[0], size=(32, 32))
    assert seen == [1] * TAUGHT.steps and torch.isfinite(video.frames).all()
    usual = DrivingPipeline.from_pretrained(weights)
    assert usual.card == read_card(teacher) and usual.card.fast is None
    fast.save_pretrained(tmp_path / "alone")
    assert read_card(tmp_path / "alone") == fast.card and not (tmp_path / "alone" / "transformer_fast").exists()


def test_weights_without_such_a_network_say_what_can_be_done(teacher):
    with pytest.raises(DwmError, match=r"--fast: tiny hold no network for few steps.*dwm train town-fast"):
        DrivingPipeline.from_pretrained(teacher, fast=True)


def test_fast_has_steps_and_guidance_of_its_own():
    seen = card(find("town-fast"))
    run = with_sampling(GenerationRun(fast=True), seen)
    assert (run.steps, run.guidance) == (4, 1)
    assert with_sampling(run, seen) == run  # as it is saved
    usual = with_sampling(GenerationRun(), seen)
    assert (
        SamplingOptions(num_inference_steps=usual.steps, guidance_scale=usual.guidance, reference_frames=2)
        == seen.sampling
    )
    for asked, sentence in (
        ({"steps": 8}, "--steps 8: .* knows 4 alone"),
        ({"guidance": 2}, "--guidance 2: .* 1 alone"),
    ):
        with pytest.raises(DwmError, match=sentence):
            with_sampling(GenerationRun(fast=True, **asked), seen)
        assert with_sampling(GenerationRun(fast=True, force=True, **asked), seen).with_(**asked).fast


def test_a_drive_is_fast_where_it_can_be_and_nothing_else_is_asked():
    seen = card(find("town-fast"))
    driven = drive.completed(DriveRun(), seen)
    assert (driven.fast, driven.steps, driven.guidance) == (True, 4, 1)
    assert drive.completed(driven, seen) == driven  # as it is recorded
    for asked in ({"fast": False}, {"steps": 16}, {"guidance": 2.0}):
        driven = drive.completed(DriveRun(**asked), seen)
        assert (driven.fast, driven.steps, driven.guidance) == (False, 16, 2)
    assert not drive.completed(DriveRun(), seen.with_(fast=None)).fast


def test_a_distillation_needs_a_teacher():
    run = find("town-fast")
    check(run, "mine")
    with pytest.raises(DwmError, match=r"training\.distillation .* set weights"):
        check(run.with_(weights=None), "mine")
