import json

import pytest
import torch
from safetensors.torch import load_file

from dwm.diffusion import FlowMatchEuler
from dwm.diffusion.flow import add_noise, draw_positions, sigmas_at, training_sigmas


@pytest.mark.parametrize("name", ["scheduler_flow_match", "scheduler_flow_match_shift1"])
def test_recorded_steps(vectors, name: str) -> None:
    folder = vectors(f"unet/{name}")
    case = json.loads((folder / "case.json").read_text())
    given, recorded = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    shift, steps = case["config"]["shift"], case["call"]["num_inference_steps"]
    tolerance = {"atol": case["tolerance"]["float32"]["suggested_abs"], "rtol": 0}
    solver = FlowMatchEuler.create(steps, shift, double_shift=True)
    torch.testing.assert_close(training_sigmas(shift), recorded["training_sigmas"], **tolerance)
    torch.testing.assert_close(solver.sigmas[:-1], recorded["sigmas"], **tolerance)
    torch.testing.assert_close(solver.times[:-1], recorded["timesteps"], atol=1e-3, rtol=0)
    for index, key in ((given["timestep_indices"], "step_by_indices"), (2, "step_by_scalar_index")):
        found = solver.step(given["sample"], given["model_output"], index)
        torch.testing.assert_close(found, recorded[key], **tolerance)


@pytest.mark.parametrize("double_shift", [False, True])
def test_a_perfect_network_leads_to_the_clean_latents(double_shift: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, 3, 4, generator=generator), torch.randn(2, 1, 3, 4, generator=generator)
    solver = FlowMatchEuler.create(7, 3.0, double_shift)
    sample = noise
    for index in range(solver.steps):
        sample = solver.step(sample, noise - clean, index)
    torch.testing.assert_close(sample, clean)


def test_levels_begin_with_noise_and_finished_frames_rest() -> None:
    solver = FlowMatchEuler.create(4, 3.0)
    assert solver.times[0] == 1000 and solver.times[-1] == 0 and (solver.sigmas.diff()[:-1] < 0).all()
    sample, velocity = torch.ones(1, 3, 2, 4), torch.ones(1, 3, 2, 4)
    moved = solver.step(sample, velocity, torch.tensor([[4, 0, 3]]))
    assert torch.equal(moved[:, 0], sample[:, 0])
    torch.testing.assert_close(moved[0, 1], sample[0, 1] + solver.sigmas[1] - 1)


def test_noising_and_back() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 3, 4, 5, generator=generator)
    sigma = torch.rand(2, 3, generator=generator)
    noisy = add_noise(clean, noise, sigma)
    torch.testing.assert_close(noisy - sigma[..., None, None] * (noise - clean), clean)


def test_drawn_levels_lie_where_the_scheme_says() -> None:
    table = training_sigmas(1.0)
    means = {}
    for weighting in ("logit_normal", "mode", "uniform"):
        u = draw_positions((20000,), weighting, torch.Generator().manual_seed(1))
        assert u.min() >= 0 and u.max() <= 1
        means[weighting] = sigmas_at(u, table).std().item()
    assert means["logit_normal"] < 0.24 < means["uniform"] < 0.3
    assert sigmas_at(torch.tensor([0.0, 1.0]), table).tolist() == pytest.approx([1.0, 0.001])
