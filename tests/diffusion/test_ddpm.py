import json

import pytest
import torch
from safetensors.torch import load_file

from dwm.diffusion import Ddim
from dwm.diffusion.ddpm import add_noise, alphas_of, velocity

SD21 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}


def _case(vectors, name: str) -> tuple[dict, dict, dict, float]:
    folder = vectors(f"unet/{name}")
    case = json.loads((folder / "case.json").read_text())
    tolerance = case["tolerance"]["float32"]["suggested_abs"]
    return case, load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors"), tolerance


@pytest.mark.parametrize("kind", ["clip", "epsilon", "sample", "v_prediction"])
def test_recorded_steps(vectors, kind: str) -> None:
    case, given, recorded, tolerance = _case(vectors, f"scheduler_ddim_{kind}")
    solver = Ddim.create(case["call"]["num_inference_steps"], case["config"])
    assert torch.equal(solver.times[:-1], recorded["timesteps"])
    index = (given["timestep"][..., None] == solver.times[:-1]).int().argmax(-1)
    found = solver.step(given["sample"], given["model_output"], index)
    torch.testing.assert_close(found, recorded["prev_sample"], atol=tolerance, rtol=0)
    clean = solver.clean(given["sample"], given["model_output"], index)
    torch.testing.assert_close(clean, recorded["pred_original_sample"], atol=tolerance, rtol=0)


def test_recorded_loop(vectors) -> None:
    case, given, recorded, tolerance = _case(vectors, "scheduler_ddim_loop")
    solver = Ddim.create(10, case["config"])
    sample = given["sample"]
    for index in range(10):
        sample = solver.step(sample, 0.7 * torch.tanh(sample * given["weight"]), index)
        if f"after_step.{index}" in recorded:
            torch.testing.assert_close(sample, recorded[f"after_step.{index}"], atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["scheduler_ddpm", "scheduler_ddpm_linear_per_item"])
def test_recorded_noising(vectors, name: str) -> None:
    case, given, recorded, tolerance = _case(vectors, name)
    alphas = alphas_of(case["config"])
    clean, noise, time = given["original_samples"], given["noise"], given["timesteps"]
    torch.testing.assert_close(add_noise(clean, noise, time, alphas), recorded["add_noise"], atol=tolerance, rtol=0)
    torch.testing.assert_close(velocity(clean, noise, time, alphas), recorded["get_velocity"], atol=tolerance, rtol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_finished_frames_rest(prediction: str) -> None:
    solver = Ddim.create(5, {**SD21, "prediction_type": prediction})
    sample, predicted = torch.rand(1, 2, 3), torch.rand(1, 2, 3)
    moved = solver.step(sample, predicted, torch.tensor([[5, 2]]))
    assert torch.equal(moved[:, 0], sample[:, 0]) and not torch.equal(moved[:, 1], sample[:, 1])
