"""Recorded generations, computed by our sampler with OpenDWM's oddities kept, and recorded under the same names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dwm.base_models import BaseModel, VideoAutoencoder
from dwm.clip_batch import ClipBatch
from dwm.diffusion import Ddim, FlowMatchEuler, Multistep, Solver
from dwm.errors import DwmError
from dwm.generation.forcing import force_as_published, force_window_as_published
from dwm.generation.rollout import roll_out_as_published
from dwm.generation.sampler import Latents, Prepared, Sampler
from dwm.generation.streaming import Stream, advance_as_published
from dwm.networks import Conditions, CrossviewTemporalDiT, CrossviewTemporalUNet
from dwm.opendwm.config.networks import DIT, UNET, dit_options, unet_options
from dwm.opendwm.config.pipeline import CTSD, FORCING_SOLVER, MULTISTEP_SOLVER, STREAMING
from dwm.opendwm.parity.batches import condition_options, read_case_batch
from dwm.opendwm.parity.cases import Case, Setup, read_tensors
from dwm.opendwm.parity.networks import CONDITIONS

SOLVERS_OF = {
    DIT: ("diffusers.FlowMatchEulerDiscreteScheduler", FORCING_SOLVER),
    UNET: ("diffusers.DDIMScheduler", "dwm.schedulers.temporal_independent.DDIMScheduler", MULTISTEP_SOLVER),
}
"""The solvers that a network of each class can be run with; the first one where none is named."""


def run_pipeline(case: Case, setup: Setup) -> dict[str, Tensor]:
    """Generates a recorded case from its seed; every recorded tensor under its name."""
    pipeline = pipeline_of(case)
    common, inference = pipeline["common_config"], pipeline.get("inference_config", {})
    batch = read_case_batch(case.folder, case.data).to(setup.device)
    watch = Watch()
    sampler = _sampler(case, setup, watch, tuple(case.need("latent_shape")))
    with torch.no_grad():
        images = torch.cat(list(_generate(sampler, batch, case.need("method"), common, inference, watch)))
    results = {"images": images, **watch.results, **_schedule(sampler.solver)}
    reductions = case.data.get("reduced_outputs", {})
    return {name: reduced(results[name], reductions.get(name, "")) for name in case.outputs if name in results}


def pipeline_of(case: Case) -> Mapping[str, Any]:
    """The pipeline section of a case's config. Raises DwmError for a class that is not known."""
    pipeline = case.config.get("pipeline")
    if not isinstance(pipeline, Mapping):
        raise DwmError(f"{case.folder / 'case.json'}: config has no pipeline")
    if (name := pipeline.get("_class_name", CTSD)) not in (CTSD, STREAMING):
        raise DwmError(f"config.pipeline._class_name: {name!r} cannot be computed; known: {CTSD}, {STREAMING}")
    for key in ("common_config", "model", "model_checkpoint_path", "pretrained_model_name_or_path"):
        if key not in pipeline:
            raise DwmError(f"{case.folder / 'case.json'}: config.pipeline lacks {key}")
    common = pipeline["common_config"]
    loading, autocast = common.get("text_encoder_load_args") or {}, common.get("autocast") or {}
    for key, value in (("model_dtype", pipeline.get("model_dtype")), ("torch_dtype", loading.get("torch_dtype"))):
        if value is not None and "float32" not in str(value):
            raise DwmError(
                f"config.pipeline: {key} {value!r} cannot be computed; cases are computed in one precision, --dtype"
            )
    if autocast.get("device_type") == "cpu":
        raise DwmError(
            "config.pipeline.common_config.autocast: cannot be computed on a CPU; take it off, or give --dtype"
        )
    return pipeline


def _generate(
    sampler: Sampler,
    batch: ClipBatch,
    method: str,
    common: Mapping[str, Any],
    inference: Mapping[str, Any],
    watch: Watch,
) -> Iterator[Float[Tensor, "n 3 H W"]]:
    """Pictures as OpenDWM lists them: call by call, in each clip by clip, frame by frame, view by view."""
    forcing = common.get("frame_prediction_style") == "diffusion_forcing"
    if forcing and (isinstance(sampler.autoencoder, VideoAutoencoder) or isinstance(sampler.solver, Multistep)):
        raise DwmError("diffusion forcing can be computed with picture autoencoders, and without the multistep solver")
    clear = inference.get("clear_reference_frame_count", 0)
    if method == "inference_pipeline":
        if forcing:
            latents, pictures = force_window_as_published(sampler, batch, clear)
            watch.finish(latents)
            yield pictures.flatten(0, 1)
        else:
            yield sampler.decode(sampler.window(batch)).flatten(0, 2)
        return
    if method not in ("autoregressive_inference_pipeline", "fifo_inference_pipeline"):
        raise DwmError(
            f"method {method!r} is not known; known: inference, autoregressive_inference or fifo_inference _pipeline"
        )
    if "sequence_length_per_iteration" not in inference:
        raise DwmError(f"inference_config lacks sequence_length_per_iteration, which {method} needs")
    length = inference["sequence_length_per_iteration"]
    if method == "fifo_inference_pipeline":
        yield from _streamed(sampler, batch, length, inference.get("text_prompt_interval", 1), watch)
        return
    overlap = inference.get("reference_frame_count", 1)
    references_first = overlap > 0 and not inference.get("generate_frames_for_reference", True)
    if references_first and batch.frames is None:
        raise DwmError("inputs.safetensors: lacks vae_images, from which the first frames are to come")
    if forcing:
        queue = sampler.reference_latents(batch, overlap if references_first else 0)
        for call, (latents, pictures) in enumerate(force_as_published(sampler, batch, length, clear, queue)):
            watch.finish(latents)
            if call:
                yield pictures.flatten(0, 1)
        return
    yield from roll_out_as_published(sampler, batch, length, overlap, references_first)


def _streamed(sampler: Sampler, batch: ClipBatch, length: int, text_interval: int, watch: Watch) -> Iterator[Tensor]:
    """Frames sent one by one, pictures taken as they come, the rest at the end."""
    stream = Stream(sampler, length, text_interval, advance_as_published)
    for pictures in stream.run(batch):
        assert stream.moved is not None  # a frame is finished
        watch.finish(stream.moved)
        yield pictures.flatten(0, 1)


@dataclass
class Watch:
    """What happens in each denoising run, under the recorded names."""

    results: dict[str, Tensor] = field(default_factory=dict)
    draws: int = 0
    call: int = 0
    conditions: Conditions | None = None
    steps: list[dict[str, Tensor]] = field(default_factory=list)

    def noise_drawn(self, noise: Tensor) -> None:
        self.results[f"draw{self.draws}"] = noise
        self.draws += 1

    def finish(self, latents: Latents) -> None:
        """Ends a run: keeps its latents, conditions, first and last step."""
        prefix = f"call{self.call}"
        self.results[f"{prefix}.latents"] = latents
        for step, when in zip((self.steps[:1], self.steps[-1:]), ("first_step", "last_step"), strict=True):
            self.results.update({f"{prefix}.{when}.{name}": value for name, value in (step or [{}])[0].items()})
        for name, attribute in CONDITIONS.items():
            if (value := getattr(self.conditions, attribute)) is not None:
                self.results[f"{prefix}.{name}"] = value
        self.steps = []
        self.call += 1


class WatchedNetwork(nn.Module):
    """A network that tells the watch what it is given and what it gives; `guided`: the second half of what it is given."""

    def __init__(self, network: nn.Module, watch: Watch, guided: bool, first_layout_alone: bool):
        super().__init__()
        self.network, self.watch = network, watch
        self.guided, self.first_layout_alone = guided, first_layout_alone

    def prepare(self, conditions: Conditions, latent_shape: tuple[int, ...]):
        self.watch.conditions = conditions = first_layout(conditions) if self.first_layout_alone else conditions
        return self.network.prepare(conditions, latent_shape)

    def forward(self, sample: Tensor, time: Tensor, prepared) -> Tensor:
        result = self.network(sample, time, prepared)
        inputs = sample.chunk(2)[1] if self.guided else sample
        self.watch.steps.append({"timesteps": time, "model_input": inputs, "model_output": result})
        return result


@dataclass
class WatchedSampler(Sampler):
    """The sampler itself; only looks on."""

    watch: Watch = field(default_factory=Watch)

    def noise(self, shape: tuple[int, ...]) -> Latents:
        noise = super().noise(shape)
        self.watch.noise_drawn(noise)
        return noise

    def predict(self, sample: Latents, time: Tensor, prepared: Prepared, indices: Sequence[int] = (0,)) -> Latents:
        guided = super().predict(sample, time, prepared, indices)
        self.watch.steps[-1]["guided_output"] = guided
        return guided

    def window(self, batch: ClipBatch, reference: Float[Tensor, "b n v c h w"] | None = None) -> Latents:
        if reference is not None:
            self.watch.results[f"call{self.watch.call}.image_latents"] = reference
        latents = super().window(batch, reference)
        self.watch.finish(latents)
        return latents


def first_layout(conditions: Conditions) -> Conditions:
    """OpenDWM's U-Net spreads the first frame's layout over all frames; its transformer cannot be told one frame alone."""
    return conditions if conditions.layout is None else replace(conditions, layout=conditions.layout[:, :1])


def _sampler(case: Case, setup: Setup, watch: Watch, latent_shape: tuple[int, ...]) -> WatchedSampler:
    pipeline = pipeline_of(case)
    inference = pipeline.get("inference_config", {})
    network = driving_network(pipeline["model"], case.find(pipeline["model_checkpoint_path"]))
    network = network.to(setup.device, setup.dtype)
    base = load_base(case, setup)
    assert base.autoencoder is not None  # loaded with it
    factor = base.autoencoder.factor
    options = condition_options(pipeline["common_config"], case.inputs)
    guidance = inference.get("guidance_scale")
    alone = network.options.process == "ddpm" and not options.condition_on_all_frames
    return WatchedSampler(
        network=WatchedNetwork(network, watch, guidance is not None, alone),
        autoencoder=base.autoencoder,
        text=base.text,
        options=options,
        solver=_solver(base.scheduler, pipeline["model"], inference, setup.device),
        generator=torch.Generator().manual_seed(case.config["generator_seed"]),
        size=(latent_shape[-1] * factor, latent_shape[-2] * factor),
        guidance=guidance,
        watch=watch,
    )


def load_base(case: Case, setup: Setup) -> BaseModel:
    """The base model that a case names, with the autoencoder that it wants."""
    pipeline = pipeline_of(case)
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


def driving_network(config: Mapping[str, Any], weights: Path) -> CrossviewTemporalDiT | CrossviewTemporalUNet:
    name = config.get("_class_name")
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
    if "inference_steps" not in inference:
        raise DwmError("config.pipeline.inference_config lacks inference_steps")
    steps, kind = inference["inference_steps"], DIT if model.get("_class_name") == DIT else UNET
    name = inference.get("scheduler") or SOLVERS_OF[kind][0]
    if name not in SOLVERS_OF[kind]:
        raise DwmError(f"inference_config.scheduler: {name!r} cannot be computed; known: {', '.join(SOLVERS_OF[kind])}")
    if kind == DIT:
        return FlowMatchEuler.create(steps, scheduler["shift"], double_shift=True, device=device)
    if name == MULTISTEP_SOLVER:
        return Multistep(steps, scheduler, device)
    return Ddim.create(steps, scheduler, device=device)


def _schedule(solver: Solver) -> dict[str, Tensor]:
    results = {"scheduler.timesteps": solver.times[:-1]}
    if isinstance(solver, FlowMatchEuler):
        results["scheduler.sigmas"] = solver.sigmas[:-1]
    if isinstance(solver, Multistep):
        results["scheduler.sigmas"] = solver.sigmas
    return results


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
