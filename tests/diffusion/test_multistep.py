"""DPM-Solver++ where the noise in a sample is known, so that the way to the clean data is too."""

from __future__ import annotations

import torch
from torch import Tensor

from dwm.diffusion import Multistep
from dwm.diffusion.ddpm import alphas_of

SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def known() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 64, generator=generator), torch.randn(2, 64, generator=generator)


def mixed(clean: Tensor, noise: Tensor, time: int) -> Tensor:
    alpha = alphas_of(SCHEDULER)[time]
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def solved(solver: Multistep, sample: Tensor, noise: Tensor) -> Tensor:
    for index in range(solver.steps):
        sample = solver.step(sample, noise, index)
    return sample


def test_where_the_noise_is_known_it_ends_at_the_clean_data():
    clean, noise = known()
    solver = Multistep(12, SCHEDULER)
    start = mixed(clean, noise, int(solver.times[0]))
    torch.testing.assert_close(solved(solver, start, noise), clean, atol=1e-4, rtol=1e-4)


def test_on_the_way_it_follows_the_noise_levels_that_the_network_is_told():
    clean, noise = known()
    solver = Multistep(12, SCHEDULER)
    sample = mixed(clean, noise, int(solver.times[0]))
    for index in range(6):
        sample = solver.step(sample, noise, index)
    torch.testing.assert_close(sample, mixed(clean, noise, int(solver.times[6])), atol=1e-4, rtol=1e-4)


def test_earlier_predictions_count_and_index_0_forgets_the_window_before():
    clean, noise = known()
    solver = Multistep(8, SCHEDULER)
    start = mixed(clean, noise, int(solver.times[0]))
    wrong_first = solver.step(start, -noise, 0)
    after_wrong = solver.step(wrong_first, noise, 1)
    again = solver.step(start, -noise, 0)
    assert torch.equal(again, wrong_first) and torch.equal(solver.step(again, noise, 1), after_wrong)
    ddim_like = Multistep(8, SCHEDULER)
    ddim_like.step(wrong_first, noise, 0)
    assert not torch.allclose(ddim_like.step(wrong_first, noise, 1), after_wrong)
