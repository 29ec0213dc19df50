"""What a training step asks of the driving network: denoised latents, with the mix of tasks and dropped conditions.

Random numbers are drawn first, all at once and in a fixed order (`draws`); everything after is a pure function of them. It
knows no network and no dataset. σ, times and tasks are those of the published training runs unless an option says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dwm.conditions import dropped_together
from dwm.devices import send_together
from dwm.diffusion.flow import spread
from dwm.diffusion.process import Latents, NoiseProcess
from dwm.training.loop.task import Losses
from dwm.training.objectives.draws import Draws, draw, flow_of
from dwm.training.objectives.options import ObjectiveOptions

__all__ = [
    "Draws",
    "Noised",
    "ObjectiveOptions",
    "box_weights",
    "draw",
    "losses_of",
    "noised",
    "sides",
    "task_parts",
]


ON_PROCESSOR = frozenset(("text",))
"""Conditions whose flags are read by the processor: it picks the words."""


@dataclass(frozen=True)
class Noised:
    """What the network gets: its input, the time of each picture (0 where given), and which frames are given.

    target is what its answer is compared with (see `sides`); sigma the flow's noise level, that of the clip where given.
    """

    sample: Latents
    timestep: Shaped[Tensor, "b t v"]
    target: Latents
    sigma: Float[Tensor, "b t v"] | None
    is_reference: Bool[Tensor, "b t v"]
    alone: Bool[Tensor, "b"]
    keep: Mapping[str, Bool[Tensor, "b"]]
    """Which clips keep which condition; that of text in the processor's memory."""
    any_together: bool = True
    """Whether frames of any clip see each other: known without asking the device for `alone`."""


def noised(
    latents: Latents,
    draws: Draws,
    options: ObjectiveOptions,
    noising: NoiseProcess | None = None,
    references: Latents | None = None,
) -> Noised:
    """Noise, tasks and dropped conditions applied to clean latents.

    `noising`: how noise is added, none: the flow of the options. `references`: what given frames show, none: `latents`.
    """
    b, t, v = latents.shape[:3]
    is_reference, alone = _tasks(draws, options, (b, t, v))
    any_together = not bool(alone.all())
    draws, is_reference, alone, keep = _sent(draws, is_reference, alone, _keep(draws, options), latents.device)
    noisy = (flow_of(options) if noising is None else noising).add(latents, draws.noise.to(latents), draws.positions)
    sample, shown = noisy.sample, latents if references is None else references
    if options.style == "ctsd":
        sample = torch.where(spread(is_reference, latents), _perturbed(shown, draws, options), sample)
    elif options.style == "diffusion_forcing":
        sample = torch.where(spread(alone, latents), sample, _perturbed(sample, draws, options))
    time = torch.where(is_reference, 0, noisy.time)
    return Noised(sample, time, noisy.target, noisy.sigma, is_reference, alone, keep, any_together)


def sides(predicted: Latents, inputs: Noised, options: ObjectiveOptions) -> tuple[Latents, Latents]:
    """What is compared, the network's side and the target, in float32.

    The flow compares clean latents (each frame's error is weighted by σ²) or velocities, DDPM what the network answers.
    Given frames are asked for a velocity of zero, at the clip's σ, unless they do not count: then both sides are zero.
    """
    predicted, target = predicted.float(), inputs.target
    if inputs.sigma is not None:
        sigma = spread(inputs.sigma, predicted)
        if options.weighting == "velocity":
            target = (inputs.sample - target) / sigma
        else:
            predicted = inputs.sample.float() - sigma * predicted
    if options.disable_reference_loss:
        counts = ~spread(inputs.is_reference, predicted)
        predicted, target = predicted * counts, target * counts
    return predicted, target


def losses_of(
    predicted: Latents,
    inputs: Noised,
    options: ObjectiveOptions,
    weight: Float[Tensor, "b t v 1 h w"] | None = None,
) -> Losses:
    """The mean square error that is minimised, and what each task's clips have of it. `weight`: see `box_weights`."""
    compared, target = sides(predicted, inputs, options)
    square = (compared - target).square()
    if weight is not None:
        square = square * (weight / weight.mean())
    each = square.flatten(1).mean(1)
    return Losses(options.loss_scale * each.mean(), task_parts(each, inputs))


def task_parts(each: Float[Tensor, "b"], inputs: Noised) -> dict[str, tuple[Tensor, Tensor]]:
    """The clips' losses by task, as (sum, count): prediction from given frames, image (frames apart), generation."""
    prediction = inputs.is_reference.flatten(1).any(1)
    tasks = {
        "generation": ~prediction & ~inputs.alone,
        "image": inputs.alone,
        "prediction": prediction,
    }
    each = each.detach()
    return {name: ((each * clips).sum(), clips.sum()) for name, clips in tasks.items()}


def box_weights(
    layout_boxes: Float[Tensor, "b t v 3 H W"], size: tuple[int, int], weight: float
) -> Float[Tensor, "b t v 1 h w"]:
    """`weight` for latents (rows, columns = size) that a drawn box touches or neighbours, 1 elsewhere."""
    flat = layout_boxes.amax(3).flatten(0, 2)[:, None]
    touched = torch.nn.functional.adaptive_max_pool2d(flat, size) > 0
    near = torch.nn.functional.max_pool2d(touched.float(), 3, 1, 1)
    return (1 + (weight - 1) * near).unflatten(0, layout_boxes.shape[:3])


def _tasks(
    draws: Draws, options: ObjectiveOptions, shape: tuple[int, int, int]
) -> tuple[Bool[Tensor, "b t v"], Bool[Tensor, "b"]]:
    """Which frames and views are given clean, and which clips' frames do not see each other; where the draws are."""
    if options.style == "ctsd":
        return _ctsd_tasks(draws, options, shape)
    is_reference = torch.zeros(shape, dtype=torch.bool)
    if options.style == "diffusion_forcing":
        return is_reference, _required(draws.image) < options.image_tasks
    return is_reference, torch.zeros(shape[0], dtype=torch.bool)


def _sent(
    draws: Draws, is_reference: Tensor, alone: Tensor, keep: Mapping[str, Tensor], device: torch.device
) -> tuple[Draws, Tensor, Tensor, Mapping[str, Tensor]]:
    """All that was drawn and decided by the processor, on the device, in one copy for each kind of number."""
    used = {name: getattr(draws, name) for name in ("noise", "positions", "scale", "offset")}
    decided = {f"keep {name}": value for name, value in keep.items() if name not in ON_PROCESSOR}
    sent: dict[str, Any] = send_together({**used, **decided, "given": is_reference, "alone": alone}, device)
    keep = {name: sent.get(f"keep {name}", value) for name, value in keep.items()}
    return replace(draws, **{name: sent[name] for name in used}), sent["given"], sent["alone"], keep


def _ctsd_tasks(
    draws: Draws, options: ObjectiveOptions, shape: tuple[int, int, int]
) -> tuple[Bool[Tensor, "b t v"], Bool[Tensor, "b"]]:
    """Which frames and views are given clean, and which clips are images that do not see each other."""
    _, t, _ = shape
    generation = _required(draws.generation) < options.generation_tasks
    alone = generation & (_required(draws.image) < options.image_tasks)
    visible = _required(draws.visible)
    shown = spread(_required(draws.all_visible) < options.all_references_visible, visible) | (
        visible < options.reference_visible
    )
    count = _reference_counts(draws, options, len(generation))
    within = torch.arange(t)[None] < count[:, None]
    given = shown & within[:, :, None] & ~spread(generation, shown)
    if draws.rising is None or draws.finished is None:
        return given, alone
    return torch.where(spread(draws.rising, given), draws.finished[:, :, None], given), alone & ~draws.rising


def _required(numbers: Tensor | None) -> Tensor:
    """What `draw` drew for these options."""
    if numbers is None:
        raise ValueError("the draws are of other options: they lack numbers that these ask for")
    return numbers


def _reference_counts(draws: Draws, options: ObjectiveOptions, b: int) -> Tensor:
    if isinstance(options.reference_frames, int):
        return torch.full((b,), options.reference_frames)
    counts = torch.tensor(list(options.reference_frames))
    limits = torch.tensor(list(options.reference_frames.values())).cumsum(0)
    return counts[torch.searchsorted(limits, _required(draws.count)).clamp(max=len(counts) - 1)]


def _perturbed(latents: Latents, draws: Draws, options: ObjectiveOptions) -> Latents:
    """Latents with a random scale and offset of each frame, where options ask for them."""
    if draws.scale is not None and options.reference_scale_std is not None:
        latents = latents * (1 + options.reference_scale_std * spread(draws.scale.to(latents), latents))
    if draws.offset is not None and options.reference_offset_std is not None:
        latents = latents + options.reference_offset_std * spread(draws.offset.to(latents), latents)
    return latents


def _keep(draws: Draws, options: ObjectiveOptions) -> dict[str, Bool[Tensor, "b"]]:
    """Which clips keep which condition."""
    keep = {name: draw < options.share(name) for name, draw in draws.keep.items()}
    if draws.drop_all is None:
        return keep
    stays, together = draws.drop_all >= options.drop_all, dropped_together()
    return {name: keeps & stays if name in together else keeps for name, keeps in keep.items()}
