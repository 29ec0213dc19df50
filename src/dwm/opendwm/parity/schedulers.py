"""Cases of noise schedules and solvers: tables, one step with a time per frame and view, a whole loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dwm.diffusion import Multistep, Solver
from dwm.diffusion.ddpm import Ddim, add_noise, alphas_of, velocity
from dwm.diffusion.flow import STEPS, FlowMatchEuler, training_sigmas
from dwm.errors import DwmError
from dwm.opendwm.parity.cases import Case, Setup

FLOW_SETTINGS = frozenset(("num_train_timesteps", "shift", "_class_name", "_diffusers_version"))
"""What the flow's schedule is made of. Others, which change it, are refused unless they are off."""


def run_scheduler(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    kind = str(case.data.get("class", "")).rsplit(".", 1)[-1]
    runs = {
        "DDPMScheduler": _ddpm,
        "DDIMScheduler": _ddim,
        "FlowMatchEulerDiscreteScheduler": _flow_match,
        "DPMSolverMultistepScheduler": _multistep,
    }
    if kind not in runs:
        raise DwmError(f"scheduler {kind!r} is not known; known: {', '.join(runs)}")
    if case.call.get("eta"):
        raise DwmError(f"call.eta: {case.call['eta']}, but solvers here draw nothing; only 0 can be computed")
    needed = ("original_samples", "noise", "timesteps") if kind == "DDPMScheduler" else ("sample",)
    for name in needed:
        case.input(name)
    return runs[kind](case, {name: tensor.to(setup.device) for name, tensor in case.inputs.items()})


def _ddpm(case: Case, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    table = alphas_of(dict(case.config)).to(inputs["noise"].device)
    arguments = (inputs["original_samples"], inputs["noise"], inputs["timesteps"], table)
    return {"add_noise": add_noise(*arguments), "get_velocity": velocity(*arguments), "alphas_cumprod": table}


def _ddim(case: Case, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    sample, config, steps = inputs["sample"], dict(case.config), _steps(case)
    solver = Ddim.create(steps, config, sample.device)
    results = {"timesteps": solver.times[: solver.steps], **_loop(solver, inputs)}
    if "timestep" in inputs:
        # Any time may be asked for, whether the even steps come by it or not.
        times, index = inputs["timestep"].unique(return_inverse=True)
        at = Ddim.create(steps, config, sample.device, times)
        results["prev_sample"] = at.step(sample, inputs["model_output"], index)
        results["pred_original_sample"] = at.clean(sample, inputs["model_output"], index)
    return results


def _flow_match(case: Case, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    changing = [key for key, value in case.config.items() if key not in FLOW_SETTINGS and value is True]
    if changing:
        raise DwmError(f"config.{changing[0]}: only an even, shifted list of noise levels can be computed; take it off")
    sample = inputs["sample"]
    shift, count = case.config.get("shift", 1.0), case.config.get("num_train_timesteps", STEPS)
    table = training_sigmas(shift, sample.device, count)
    solver = FlowMatchEuler.create(_steps(case), shift, double_shift=True, device=sample.device, count=count)
    results = {
        "training_sigmas": table,
        "training_timesteps": table * count,
        "sigmas": solver.sigmas[:-1],
        "timesteps": solver.times[: solver.steps],
        **_loop(solver, inputs),
    }
    if "timestep_indices" in inputs:
        results["step_by_indices"] = solver.step(sample, inputs["model_output"], inputs["timestep_indices"])
    if "scalar_index" in case.call:
        results["step_by_scalar_index"] = solver.step(sample, inputs["model_output"], case.call["scalar_index"])
    return results


def _multistep(case: Case, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    solver = Multistep(_steps(case), dict(case.config), inputs["sample"].device)
    return {"timesteps": solver.times[: solver.steps], "sigmas": solver.sigmas, **_loop(solver, inputs)}


def _loop(solver: Solver, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sample after each step down from noise, where the case has a weight for its toy network."""
    if "weight" not in inputs:
        return {}
    sample, after = inputs["sample"], {}
    for i in range(solver.steps):
        sample = solver.step(sample, 0.7 * torch.tanh(sample * inputs["weight"]), i)
        after[f"after_step.{i}"] = sample
    return after


def _steps(case: Case) -> Any:
    if "num_inference_steps" not in case.call:
        raise DwmError("call.num_inference_steps is missing")
    return case.call["num_inference_steps"]
