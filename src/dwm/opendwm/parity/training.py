"""Recorded training steps, computed from their seeds by the functions that training uses, and judged by what was recorded.

OpenDWM draws from two generators, adds gradients up over calls without dividing, and moves its schedule in every call.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from dwm.base_models import BaseModel, VideoAutoencoder
from dwm.clip_batch import ClipBatch
from dwm.conditions import ConditionOptions, build_conditions
from dwm.diffusion.process import Ddpm, Flow, NoiseProcess
from dwm.errors import DwmError
from dwm.networks import Conditions, Masking
from dwm.opendwm.config.pipeline import read_training
from dwm.opendwm.config.reader import Ledger, Section
from dwm.opendwm.config.translation import read_optimizer
from dwm.opendwm.parity.batches import case_batch, condition_options
from dwm.opendwm.parity.cases import Case, Deviation, Setup, read_words
from dwm.opendwm.parity.networks import CONDITIONS
from dwm.opendwm.parity.pipelines import driving_network, first_layout, load_base, pipeline_of, reduced
from dwm.opendwm.parity.schedules import Schedule, constant_schedule, read_schedule
from dwm.opendwm.parity.training_judge import judge
from dwm.training.loop.optimizers import build_optimizers
from dwm.training.loop.options import OptimizerOptions
from dwm.training.objectives.driving import Draws, Noised, draw, losses_of, noised, sides
from dwm.training.objectives.options import ObjectiveOptions
from dwm.training.stages.freezing import freeze


def run_training(case: Case, setup: Setup) -> list[Deviation]:
    """Runs all recorded calls of the training step; every recorded tensor and number is judged."""
    session = _session(case, setup)
    tensors: dict[str, Tensor] = {}
    numbers = []
    for step in range(case.data["steps"]):
        result = session.call(step, _batch(case, step).to(setup.device))
        for name, value in result.tensors.items():
            name = f"step{step}.{name}"
            if name in case.outputs:
                tensors[name] = reduced(value.detach().clone(), case.data.get("reduced_outputs", {}).get(name, ""))
        numbers.append(result.numbers)
    return judge(case, setup, tensors, numbers)


@dataclass
class CallResult:
    """What one call computed, under the recorded names."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Session:
    """A run with OpenDWM's two generators and its way of updating; its state lives from call to call."""

    network: nn.Module
    base: BaseModel
    conditions: ConditionOptions
    objective: ObjectiveOptions
    noising: NoiseProcess
    references_alone: int
    first_layout_alone: bool
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    accumulate: int
    clip_norm: float
    pipeline: torch.Generator
    others: torch.Generator

    def call(self, step: int, batch: ClipBatch) -> CallResult:
        result = CallResult()
        loss = self._loss(batch, result.tensors)
        loss.backward()
        gradients = {name: p.grad for name, p in self.network.named_parameters() if p.grad is not None}
        result.tensors |= {f"gradient.{name}": gradient.clone() for name, gradient in gradients.items()}
        result.numbers |= {
            "loss": float(loss.detach()),
            "gradient_norms": {name: float(gradient.norm()) for name, gradient in gradients.items()},
            "total_gradient_norm": float(_norm(gradients.values())),
            "parameters_without_gradient": [n for n, _ in self.network.named_parameters() if n not in gradients],
            "optimizer_stepped": (step + 1) % self.accumulate == 0,
        }
        if result.numbers["optimizer_stepped"]:
            result.numbers |= self._update(result.tensors)
        with warnings.catch_warnings():
            # OpenDWM moves the schedule before the first update; torch thinks that this is a slip.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.schedule.step()
        result.numbers["lr_after"] = self.optimizer.param_groups[0]["lr"]
        return result

    def _loss(self, batch: ClipBatch, tensors: dict[str, Tensor]) -> Tensor:
        assert batch.frames is not None and self.base.autoencoder is not None
        with torch.no_grad():
            latents = self.base.autoencoder.encode(batch.frames, self.others)
        draws = draw(
            tuple(latents.shape),
            self.objective,
            self.pipeline,
            self.conditions,
            self.noising,
            self.others,
        )
        references = latents
        if self.references_alone:
            with torch.no_grad():
                alone = self.base.autoencoder.encode(batch.frames[:, : self.references_alone], self.others)
            references = torch.cat([alone, latents[:, alone.shape[1] :]], 1)
        inputs = noised(latents, draws, self.objective, self.noising, references)
        network_conditions = self._conditions(batch, inputs)
        prepared = self.network.prepare(network_conditions, tuple(latents.shape))
        predicted = self.network(inputs.sample, inputs.timestep, prepared, *self._masking(draws))
        compared = sides(predicted, inputs, self.objective)
        forcing = self.objective.style == "diffusion_forcing"
        noisy = self.noising.add(latents, draws.noise.to(latents), draws.positions)
        tensors |= {
            "latents": latents,
            "latents_for_reference": references,
            "timesteps_drawn": noisy.time,
            "timesteps": inputs.timestep,
            "noisy_latents": inputs.sample,
            "reference_frame_indicator": inputs.is_reference,
            "disable_temporal": inputs.alone,
            "model_output": predicted,
            "loss_prediction": compared[0],
            "loss_target": compared[1],
        }
        if inputs.sigma is not None:
            tensors["sigmas"] = inputs.sigma[:, :, 0] if forcing else inputs.sigma[:, 0, 0]
            tensors["timestep_indices"] = (draws.positions * 1000).long().clamp(max=999)
        tensors |= {
            name: value for name, key in CONDITIONS.items() if (value := getattr(network_conditions, key)) is not None
        }
        return losses_of(predicted, inputs, self.objective).loss

    def _conditions(self, batch: ClipBatch, inputs: Noised) -> Conditions:
        network_conditions = build_conditions(
            batch, self.conditions, self.base.text, keep=inputs.keep, latent_frames=inputs.sample.shape[1]
        )
        # A style replaces what common_config says about the blocks over time.
        if self.objective.style is not None:
            network_conditions = replace(network_conditions, disable_temporal=inputs.alone, any_temporal=None)
        return first_layout(network_conditions) if self.first_layout_alone else network_conditions

    def _masking(self, draws: Draws) -> tuple[Masking, ...]:
        """What the transformer gets besides where it has a mask module: OpenDWM draws its places from the global generator."""
        if getattr(self.network, "mask_module", None) is None:
            return ()
        return (Masking(draws.noise, lambda shape: torch.rand(shape, generator=self.others)),)

    def _update(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        numbers: dict[str, Any] = {"lr_used": self.optimizer.param_groups[0]["lr"]}
        parameters = dict(self.network.named_parameters())
        if self.clip_norm:
            nn.utils.clip_grad_norm_(parameters.values(), self.clip_norm)
            clipped = _norm(p.grad for p in parameters.values() if p.grad is not None)
            numbers["total_gradient_norm_after_clip"] = float(clipped)
        before = {name: p.detach().clone() for name, p in parameters.items()}
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        changes = (p.detach() - before[name] for name, p in parameters.items())
        numbers["parameter_change_norm"] = float(_norm(changes))
        tensors |= {f"parameter_after.{name}": p for name, p in parameters.items()}
        return numbers


def _session(case: Case, setup: Setup) -> Session:
    config, pipeline = case.config, pipeline_of(case)
    common, inference = pipeline["common_config"], pipeline.get("inference_config", {})
    ledger = Ledger(str(case.folder / "case.json"))
    loop = read_training(
        Section(pipeline.get("training_config", {}), "pipeline.training_config", ledger),
        common.get("frame_prediction_style"),
    )
    base = load_base(case, setup)
    network = driving_network(pipeline["model"], case.find(pipeline["model_checkpoint_path"]))
    network = network.to(setup.device, setup.dtype).requires_grad_(True).train()
    freeze(network, loop["freeze"])
    # OpenDWM runs blocks that no clip wants, so that their parameters get a gradient of zero and decay.
    network.agreed = lambda flag: True  # type: ignore[assignment]
    objective = ObjectiveOptions(**loop["objective"])
    if inference.get("vae_pre", 0):
        objective = objective.in_latents(inference.get("vae_stride", 1))
    options = OptimizerOptions(**read_optimizer(Section(config["optimizer"], "optimizer", ledger)))
    (optimizer,) = build_optimizers(network.named_parameters(), options)
    schedule = Section(config, "", ledger).maybe("lr_scheduler")
    conditions = condition_options(common, [name.removeprefix("step0.") for name in case.inputs])
    return Session(
        network=network,
        base=base,
        conditions=conditions,
        objective=objective,
        noising=Flow(base.scheduler["shift"], objective.times)
        if network.options.process == "flow"
        else Ddpm.create(base.scheduler),
        # Only a video autoencoder makes other latents of the first frames alone.
        references_alone=loop["references_alone"] if isinstance(base.autoencoder, VideoAutoencoder) else 0,
        first_layout_alone=network.options.process == "ddpm" and not conditions.condition_on_all_frames,
        optimizer=optimizer,
        schedule=constant_schedule(optimizer) if schedule is None else read_schedule(schedule, optimizer),
        accumulate=loop["accumulate"],
        clip_norm=loop["clip_norm"],
        pipeline=torch.Generator().manual_seed(config["generator_seed"]),
        others=torch.Generator().manual_seed(case.data["global_seed"]),
    )


def _batch(case: Case, step: int) -> ClipBatch:
    prefix = f"step{step}."
    tensors = {name.removeprefix(prefix): value for name, value in case.inputs.items() if name.startswith(prefix)}
    for name in ("pts", "fps", "vae_images"):
        if name not in tensors:
            raise DwmError(f"{case.folder / 'inputs.safetensors'}: lacks {prefix}{name}")
    words = read_words(case.folder)["steps"][step]
    return case_batch(tensors, words, case.data.get("uint8_inputs", ()), pipeline_of(case)["common_config"])


def _norm(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack([tensor.float().norm() for tensor in tensors]).norm()
