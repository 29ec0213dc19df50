"""Cases of noise schedules and solvers: tables, one step with a time per frame and view, a whole loop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dwm.diffusion.ddpm import Ddim, add_noise, alphas_of, velocity
from dwm.diffusion.flow import STEPS, FlowMatchEuler, training_sigmas
from dwm.errors import DwmError
from dwm.opendwm.parity.cases import Case, Setup


def run_scheduler(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    kind = str(case.data.get("class", "")).rsplit(".", 1)[-1]
    runs = {"DDPMScheduler": _ddpm, "DDIMScheduler": _ddim, "FlowMatchEulerDiscreteScheduler": _flow_match}
    if kind not in runs:
        raise DwmError(f"{case.name}: scheduler {kind!r} is not known; known: {', '.join(runs)}")
    return runs[kind](case, {name: tensor.to(setup.device) for name, tensor in case.inputs.items()})


def _ddpm(case: Case, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    table = alphas_of(dict(case.config)).to(given["noise"].device)
    arguments = (given["original_samples"], given["noise"], given["timesteps"], table)
    return {"add_noise": add_noise(*arguments), "get_velocity": velocity(*arguments), "alphas_cumprod": table}


def _ddim(case: Case, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    sample = given["sample"]
    solver = Ddim.create(case.call["num_inference_steps"], dict(case.config), sample.device)
    times = solver.times[: solver.steps]
    if "weight" in given:
        after = []
        for i in range(solver.steps):
            sample = solver.step(sample, 0.7 * torch.tanh(sample * given["weight"]), i)
            after.append(sample)
        return {"timesteps": times} | {f"after_step.{i}": tensor for i, tensor in enumerate(after)}
    index = (given["timestep"][..., None] == times).int().argmax(-1)
    return {
        "timesteps": times,
        "prev_sample": solver.step(sample, given["model_output"], index),
        "pred_original_sample": solver.clean(sample, given["model_output"], index),
    }


def _flow_match(case: Case, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    sample, predicted = given["sample"], given["model_output"]
    shift = case.config["shift"]
    table = training_sigmas(shift, sample.device)
    solver = FlowMatchEuler.create(case.call["num_inference_steps"], shift, double_shift=True, device=sample.device)
    return {
        "training_sigmas": table,
        "training_timesteps": table * STEPS,
        "sigmas": solver.sigmas[:-1],
        "timesteps": solver.times[: solver.steps],
        "step_by_indices": solver.step(sample, predicted, given["timestep_indices"]),
        "step_by_scalar_index": solver.step(sample, predicted, case.call["scalar_index"]),
    }
