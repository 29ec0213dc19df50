"""Recorded generations, computed by our sampler with OpenDWM's oddities kept, and recorded under the same names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dwm.base_models import BaseModel, VideoAutoencoder
from dwm.clip import ClipBatch
from dwm.diffusion import Ddim, FlowMatchEuler, Multistep, Solver
from dwm.errors import DwmError
from dwm.generation.forcing import force_as_published
from dwm.generation.rollout import roll_out
from dwm.generation.sampler import Latents, Sampler
from dwm.generation.streaming import Stream
from dwm.networks import Conditions, CrossviewTemporalDiT, CrossviewTemporalUNet
from dwm.opendwm.config.networks import DIT, UNET, dit_options, unet_options
from dwm.opendwm.config.pipeline import MULTISTEP_SOLVER
from dwm.opendwm.parity.batches import condition_options, read_case_batch
from dwm.opendwm.parity.cases import Case, Setup, read_tensors

CONDITIONS = {
    "encoder_hidden_states": "text",
    "pooled_projections": "pooled",
    "condition_image_tensor": "layout",
    "added_time_ids": "added_ids",
    "camera_intrinsics_norm": "intrinsics_norm",
    "camera2referego": "ego0_from_camera",
}
"""Recorded names of conditions → fields of `Conditions`."""


def run_pipeline(case: Case, setup: Setup) -> dict[str, Tensor]:
    """Generates a recorded case from its seed; every recorded tensor under its name."""
    pipeline = case.config["pipeline"]
    common, inference = pipeline["common_config"], pipeline["inference_config"]
    batch = read_case_batch(case.folder, case.data).to(setup.device)
    watch = Watch()
    sampler = _sampler(case, setup, watch, tuple(case.data["latent_shape"]))
    with torch.no_grad():
        images = _generate(sampler, batch, case.data["method"], common, inference, watch)
    found = {"images": images, **watch.found, **_schedule(sampler.solver)}
    return {
        name: reduced(found[name], case.data["reduced_outputs"].get(name, "")) for name in case.outputs if name in found
    }


def _generate(
    sampler: Sampler,
    batch: ClipBatch,
    method: str,
    common: Mapping[str, Any],
    inference: Mapping[str, Any],
    watch: Watch,
) -> Tensor:
    """Pictures frame by frame, the views of each together."""
    if method == "inference_pipeline":
        return sampler.decode(sampler.window(batch)).flatten(0, 2)
    if method not in ("autoregressive_inference_pipeline", "fifo_inference_pipeline"):
        raise DwmError(
            f"method {method!r} is not known; known: inference, autoregressive_inference or fifo_inference _pipeline"
        )
    length = inference["sequence_length_per_iteration"]
    if method == "fifo_inference_pipeline":
        return _streamed(sampler, batch, length, inference.get("text_prompt_interval", 1), watch)
    if common.get("frame_prediction_style") == "diffusion_forcing":
        pictures = []
        for latents, picture in force_as_published(
            sampler, batch, length, inference.get("clear_reference_frame_count", 0)
        ):
            watch.finish(latents)
            pictures.append(picture)
        return torch.stack(pictures[1:], 1).flatten(0, 2)
    overlap = inference.get("reference_frame_count", 1)
    given = 0 if inference.get("generate_frames_for_reference", True) else overlap
    return roll_out(sampler, batch, length, overlap, given, whole=False)[:, given:].flatten(0, 2)


def _streamed(sampler: Sampler, batch: ClipBatch, length: int, text_interval: int, watch: Watch) -> Tensor:
    """Frames sent one by one, pictures taken as they come, the rest at the end."""
    stream = Stream(sampler, length, text_interval, as_published=True)
    pictures = []
    for made in stream.run(batch):
        pictures.append(made)
        watch.finish(stream.moved)
    return torch.stack(pictures, 1).flatten(0, 2)


@dataclass
class Watch:
    """What happens in each denoising run, under the recorded names."""

    found: dict[str, Tensor] = field(default_factory=dict)
    draws: int = 0
    call: int = 0
    told: Conditions | None = None
    steps: list[dict[str, Tensor]] = field(default_factory=list)

    def drawn(self, noise: Tensor) -> None:
        self.found[f"draw{self.draws}"] = noise
        self.draws += 1

    def finish(self, latents: Latents) -> None:
        """Ends a run: keeps its latents, conditions, first and last step."""
        prefix = f"call{self.call}"
        self.found[f"{prefix}.latents"] = latents
        for step, when in ((self.steps[0], "first_step"), (self.steps[-1], "last_step")):
            self.found.update({f"{prefix}.{when}.{name}": value for name, value in step.items()})
        for name, attribute in CONDITIONS.items():
            if (value := getattr(self.told, attribute)) is not None:
                self.found[f"{prefix}.{name}"] = value
        self.steps = []
        self.call += 1


class WatchedNetwork(nn.Module):
    """A network that tells the watch what it is given and what it gives."""

    def __init__(self, network: nn.Module, watch: Watch):
        super().__init__()
        self.network, self.watch = network, watch

    def prepare(self, told: Conditions, latent_shape: tuple[int, ...]):
        self.watch.told = told
        return self.network.prepare(told, latent_shape)

    def forward(self, sample: Tensor, time: Tensor, prepared) -> Tensor:
        result = self.network(sample, time, prepared)
        given = sample.chunk(2)[1] if len(sample) > 1 else sample
        self.watch.steps.append({"timesteps": time, "model_input": given, "model_output": result})
        return result


@dataclass
class WatchedSampler(Sampler):
    """The sampler itself; only looks on."""

    watch: Watch = field(default_factory=Watch)

    def noise(self, shape: tuple[int, ...]) -> Latents:
        noise = super().noise(shape)
        self.watch.drawn(noise)
        return noise

    def predict(self, sample: Latents, time: Tensor, prepared) -> Latents:
        guided = super().predict(sample, time, prepared)
        self.watch.steps[-1]["guided_output"] = guided
        return guided

    def window(self, batch: ClipBatch, known: Latents | None = None) -> Latents:
        if known is not None:
            self.watch.found[f"call{self.watch.call}.image_latents"] = known
        latents = super().window(batch, known)
        self.watch.finish(latents)
        return latents


def _sampler(case: Case, setup: Setup, watch: Watch, latent_shape: tuple[int, ...]) -> WatchedSampler:
    pipeline = case.config["pipeline"]
    common, inference = pipeline["common_config"], pipeline["inference_config"]
    network = driving_network(pipeline["model"], case.find(pipeline["model_checkpoint_path"]))
    network = network.to(setup.device, setup.dtype)
    base = load_base(case, setup)
    factor = base.autoencoder.factor
    return WatchedSampler(
        network=WatchedNetwork(network, watch),
        autoencoder=base.autoencoder,
        text=base.text,
        options=condition_options(common, "condition_image_adapter_config" in pipeline["model"]),
        solver=_solver(base.scheduler, pipeline["model"], inference, setup.device),
        generator=torch.Generator().manual_seed(case.config["generator_seed"]),
        size=(latent_shape[-1] * factor, latent_shape[-2] * factor),
        guidance=inference.get("guidance_scale"),
        watch=watch,
    )


def load_base(case: Case, setup: Setup) -> BaseModel:
    """The base model that a case names, with the autoencoder that it wants."""
    pipeline = case.config["pipeline"]
    common = pipeline["common_config"]
    elsewhere = common.get("vae_pretrained_model_name_or_path")
    base = BaseModel.load(
        case.find(pipeline["pretrained_model_name_or_path"], setup),
        autoencoder_folder=None if elsewhere is None else case.find(elsewhere, setup),
        piece=max(0, common.get("memory_efficient_batch", 0)),
    ).to(setup.device)
    wants_video = common.get("vae", "").endswith("CogVideoX")
    if wants_video != isinstance(base.autoencoder, VideoAutoencoder):
        raise DwmError(f"{case.folder}: common_config.vae is not the kind of autoencoder in {base.folder}")
    return base


def driving_network(config: Mapping[str, Any], weights: Path) -> nn.Module:
    name = config["_class_name"]
    if name == DIT:
        network = CrossviewTemporalDiT(dit_options(config, "pipeline.model"))
    elif name == UNET:
        network = CrossviewTemporalUNet(unet_options(config, "pipeline.model"))
    else:
        raise DwmError(f"pipeline.model._class_name: {name!r} is not known; known: {DIT}, {UNET}")
    network.load_state_dict(read_tensors(weights), strict=True)
    return network.eval().requires_grad_(False)


def _solver(
    scheduler: dict[str, Any], model: Mapping[str, Any], inference: Mapping[str, Any], device: torch.device
) -> Solver:
    steps = inference["inference_steps"]
    if model["_class_name"] == DIT:
        return FlowMatchEuler.create(steps, scheduler["shift"], double_shift=True, device=device)
    if inference.get("scheduler") == MULTISTEP_SOLVER:
        return Multistep(steps, scheduler, device)
    return Ddim.create(steps, scheduler, device=device)


def _schedule(solver: Solver) -> dict[str, Tensor]:
    found = {"scheduler.timesteps": solver.times[:-1]}
    if isinstance(solver, FlowMatchEuler):
        found["scheduler.sigmas"] = solver.sigmas[:-1]
    return found


def reduced(value: Tensor, how: str) -> Tensor:
    """The part of a tensor that was recorded; `how` names slices in square brackets, as in "[..., 3::8, 3::8]"."""
    for slices in re.findall(r"\[([^\]]*)\]", how):
        value = value[tuple(_slice(part.strip()) for part in slices.split(","))]
    return value


def _slice(text: str) -> Any:
    if text == "...":
        return Ellipsis
    parts = text.split(":")
    if not 2 <= len(parts) <= 3 or not all(re.fullmatch(r"-?\d*", part) for part in parts):
        raise DwmError(f"reduced_outputs: {text!r} is not a slice")
    return slice(*(int(part) if part else None for part in parts))
