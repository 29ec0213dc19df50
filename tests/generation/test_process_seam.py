"""A noise process from outside, with a solver of its own: training adds noise by it, the pipeline goes back by it."""

import math

import pytest
import torch
from invented_batches import invented_batch

from dwm.diffusion import NoiseProcess, Solver
from dwm.diffusion.process import Noisy, per_picture
from dwm.training.objectives.draws import draw
from dwm.training.objectives.driving import ObjectiveOptions, noised

QUARTER = math.pi / 2
"""The angle of pure noise."""


class Turning:
    """Along a circle from noise to clean, in equal angles. Exact in one step where the network is right."""

    initial_noise = 1.0

    def __init__(self, steps):
        self.angles = torch.linspace(QUARTER, 0, steps + 1)

    @property
    def steps(self):
        return len(self.angles) - 1

    @property
    def times(self):
        return self.angles / QUARTER * 1000

    def step(self, sample, predicted, index):
        turn = self.angles[index] - self.angles[min(index + 1, self.steps)]
        return turn.cos() * sample - turn.sin() * predicted


class Arc:
    """cos a · clean + sin a · noise; the network answers with the direction of growing a."""

    def draw(self, shape, generator, others):
        return torch.rand(shape, generator=generator) * QUARTER

    def places(self, left):
        return left * QUARTER

    def add(self, latents, noise, positions):
        angle = per_picture(positions, latents)
        cos, sin = angle.cos()[..., None, None, None], angle.sin()[..., None, None, None]
        return Noisy(cos * latents + sin * noise, angle / QUARTER * 1000, cos * noise - sin * latents)

    def solver(self, steps, kind="usual", device="cpu"):
        return Turning(steps)


def test_it_is_what_the_protocols_ask_for():
    assert isinstance(Arc(), NoiseProcess) and isinstance(Turning(2), Solver)


def test_training_adds_its_noise_and_its_solver_takes_it_away():
    shape, options = (2, 3, 2, 4, 2, 2), ObjectiveOptions()
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    draws = draw(shape, options, torch.Generator().manual_seed(0), noising=Arc())
    inputs = noised(latents, draws, options, Arc())
    torch.testing.assert_close(inputs.timestep[:, 0, 0], draws.positions / QUARTER * 1000)
    answers = Arc().add(latents, draws.noise, torch.full((2,), QUARTER))
    torch.testing.assert_close(Turning(1).step(draws.noise, answers.target, 0), latents)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_pipeline_generates_by_it(pipe, monkeypatch, steps):
    usual = pipe(invented_batch(1, 1, 2), num_inference_steps=steps, output_type="pt")
    monkeypatch.setattr("dwm.generation.pipeline.process_of", lambda *_: Arc())
    seen = []
    turned = pipe(
        invented_batch(1, 1, 2),
        num_inference_steps=steps,
        output_type="pt",
        callback_on_step_end=lambda pipe, index, time, values: seen.append(time) or values,
    )
    assert len(seen) == steps and seen[0] == 1000
    assert torch.isfinite(turned).all() and not torch.equal(turned, usual)
