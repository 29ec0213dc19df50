"""What a training step asks of the driving network: rectified flow on latents, with the mix of tasks and dropped conditions.

Random numbers are drawn first, all at once and in a fixed order (`draw`); everything after is a pure function of them. It
knows no network and no dataset. σ, times and tasks are those of the published training runs unless an option says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from dwm.conditions import Kept
from dwm.diffusion.flow import STEPS, Weighting, add_noise, draw_positions, sigmas_at, spread, training_sigmas
from dwm.options import Options

Latents = Float[Tensor, "b t v c h w"]


class ObjectiveOptions(Options):
    """The task mix: generation from noise, single images, or prediction from given first frames."""

    shift: float = Field(3.0, gt=0, description="shift of the noise levels towards noise")
    times: Weighting = Field("logit_normal", description="how often each noise level is trained")
    weighting: Literal["sigma_squared", "velocity"] = Field(
        "sigma_squared",
        description="sigma_squared: error of the clean latents, as published; velocity: of the velocity",
    )
    style: Literal["ctsd", "diffusion_forcing"] | None = Field(
        None, description="ctsd: first frames may be given; diffusion_forcing: a noise level per frame; null: neither"
    )
    keep_text: float = Field(1.0, ge=0, le=1, description="share of clips that keep their captions")
    keep_boxes: float = Field(1.0, ge=0, le=1, description="share of clips that keep their box pictures")
    keep_map: float = Field(1.0, ge=0, le=1, description="share of clips that keep their map pictures")
    keep_action: float = Field(1.0, ge=0, le=1, description="share of clips that keep speed and steering")
    keep_explicit_view: float = Field(1.0, ge=0, le=1, description="share of clips that keep their cameras' matrices")
    drop_all: float = Field(0.0, ge=0, le=1, description="share of clips that lose captions, boxes and map together")
    generation_tasks: float = Field(0.0, ge=0, le=1, description="ctsd: share of clips without given frames")
    image_tasks: float = Field(
        0.0, ge=0, le=1, description="share of generation clips whose frames do not see each other"
    )
    all_references_visible: float = Field(
        0.0, ge=0, le=1, description="ctsd: share of clips with all given frames shown"
    )
    reference_visible: float = Field(1.0, ge=0, le=1, description="ctsd: else, share of given frames and views shown")
    reference_frames: int | dict[int, float] = Field(0, description="ctsd: given frames, a number or number → share")
    reference_scale_std: float | None = Field(None, ge=0, description="deviation of a random scale of given latents")
    reference_offset_std: float | None = Field(None, ge=0, description="deviation of a random offset of given latents")
    disable_reference_loss: bool = Field(False, description="given frames do not count in the loss")
    box_weight: float = Field(1.0, ge=1, description="weight of the latents under drawn boxes; 1: like all others")

    @model_validator(mode="after")
    def _shares(self) -> ObjectiveOptions:
        if isinstance(self.reference_frames, dict) and abs(sum(self.reference_frames.values()) - 1) > 1e-3:
            raise ValueError(f"reference_frames: the shares must sum to 1, found {sum(self.reference_frames.values())}")
        return self


@dataclass(frozen=True)
class Draws:
    """All random numbers of one step, in the order in which they were drawn; uniform ones are in [0, 1)."""

    noise: Latents
    positions: Float[Tensor, "b *t"]
    text: Float[Tensor, "b"]
    boxes: Float[Tensor, "b"]
    map: Float[Tensor, "b"]
    action: Float[Tensor, "b"]
    explicit_view: Float[Tensor, "b"] | None = None
    scale: Float[Tensor, "b t"] | None = None
    offset: Float[Tensor, "b t"] | None = None
    generation: Float[Tensor, "b"] | None = None
    image: Float[Tensor, "b"] | None = None
    all_visible: Float[Tensor, "b"] | None = None
    visible: Float[Tensor, "b t v"] | None = None
    count: Float[Tensor, "b"] | None = None
    drop_all: Float[Tensor, "b"] | None = None


@dataclass(frozen=True)
class Noised:
    """What the network gets: its input, the time of each picture (1000·σ, 0 where given), and which frames are given."""

    sample: Latents
    timestep: Float[Tensor, "b t v"]
    sigma: Float[Tensor, "b t v"]
    given: Bool[Tensor, "b t v"]
    alone: Bool[Tensor, "b"]
    kept: Kept


def draw(
    shape: tuple[int, ...], options: ObjectiveOptions, generator: torch.Generator, explicit: bool = False
) -> Draws:
    """The random numbers of one step for latents of `shape` (b, t, v, c, h, w), on the CPU."""
    b, t, v = shape[:3]

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    forcing, ctsd = options.style == "diffusion_forcing", options.style == "ctsd"
    return Draws(
        noise=torch.randn(shape, generator=generator),
        positions=draw_positions((b, t) if forcing else (b,), options.times, generator),
        text=uniform(b),
        boxes=uniform(b),
        map=uniform(b),
        action=uniform(b),
        explicit_view=uniform(b) if explicit else None,
        scale=None if options.reference_scale_std is None else torch.randn((b, t), generator=generator),
        offset=None if options.reference_offset_std is None else torch.randn((b, t), generator=generator),
        generation=uniform(b) if ctsd else None,
        image=uniform(b) if ctsd or forcing else None,
        all_visible=uniform(b) if ctsd else None,
        visible=uniform(b, t, v) if ctsd else None,
        count=uniform(b) if isinstance(options.reference_frames, dict) and ctsd else None,
        drop_all=uniform(b) if options.drop_all else None,
    )


def noised(latents: Latents, draws: Draws, options: ObjectiveOptions) -> Noised:
    """Noise, tasks and dropped conditions applied to clean latents."""
    b, t, v = latents.shape[:3]
    table = training_sigmas(options.shift, latents.device)
    sigma = spread(sigmas_at(draws.positions, table), latents[..., 0, 0, 0]).expand(b, t, v)
    sample = add_noise(latents, draws.noise.to(latents), sigma)
    given = torch.zeros(b, t, v, dtype=torch.bool)
    alone = torch.zeros(b, dtype=torch.bool)
    if options.style == "ctsd":
        given, alone = _ctsd_tasks(draws, options, (b, t, v))
        given = given.to(latents.device)
        sample = torch.where(spread(given, latents), _perturbed(latents, draws, options), sample)
    elif options.style == "diffusion_forcing":
        alone = draws.image < options.image_tasks
        sample = torch.where(spread(alone.to(latents.device), latents), sample, _perturbed(sample, draws, options))
    timestep = torch.where(given, 0.0, sigma * STEPS)
    return Noised(sample, timestep, sigma, given, alone.to(latents.device), _kept(draws, options))


def flow_loss(
    velocity: Latents,
    latents: Latents,
    inputs: Noised,
    options: ObjectiveOptions,
    weight: Float[Tensor, "b t v 1 h w"] | None = None,
) -> Float[Tensor, ""]:
    """The mean square error of the clean latents that the predicted velocity points to, or of the velocity itself.

    Given frames are asked for a velocity of zero, at the clip's σ, unless they do not count.
    """
    sigma = spread(inputs.sigma, latents)
    error = inputs.sample.float() - sigma * velocity.float() - latents
    if options.weighting == "velocity":
        error = error / sigma
    square = error.square()
    if weight is not None:
        square = square * (weight / weight.mean())
    if options.disable_reference_loss:
        square = torch.where(spread(inputs.given, square), 0.0, square)
    return square.mean()


def box_weights(
    layout_boxes: Float[Tensor, "b t v 3 H W"], size: tuple[int, int], weight: float
) -> Float[Tensor, "b t v 1 h w"]:
    """`weight` for latents (rows, columns = size) that a drawn box touches or neighbours, 1 elsewhere."""
    flat = layout_boxes.amax(3).flatten(0, 2)[:, None]
    touched = torch.nn.functional.adaptive_max_pool2d(flat, size) > 0
    near = torch.nn.functional.max_pool2d(touched.float(), 3, 1, 1)
    return (1 + (weight - 1) * near).unflatten(0, layout_boxes.shape[:3])


def _ctsd_tasks(
    draws: Draws, options: ObjectiveOptions, shape: tuple[int, int, int]
) -> tuple[Bool[Tensor, "b t v"], Bool[Tensor, "b"]]:
    """Which frames and views are given clean, and which clips are images that do not see each other."""
    _, t, _ = shape
    generation = draws.generation < options.generation_tasks
    alone = generation & (draws.image < options.image_tasks)
    shown = spread(draws.all_visible < options.all_references_visible, draws.visible) | (
        draws.visible < options.reference_visible
    )
    count = _reference_counts(draws, options, len(generation))
    within = torch.arange(t)[None] < count[:, None]
    return shown & within[:, :, None] & ~spread(generation, shown), alone


def _reference_counts(draws: Draws, options: ObjectiveOptions, b: int) -> Tensor:
    if isinstance(options.reference_frames, int):
        return torch.full((b,), options.reference_frames)
    counts = torch.tensor(list(options.reference_frames))
    limits = torch.tensor(list(options.reference_frames.values())).cumsum(0)
    return counts[torch.searchsorted(limits, draws.count).clamp(max=len(counts) - 1)]


def _perturbed(latents: Latents, draws: Draws, options: ObjectiveOptions) -> Latents:
    """Latents with a random scale and offset of each frame, where options ask for them."""
    if draws.scale is not None:
        latents = latents * (1 + options.reference_scale_std * spread(draws.scale.to(latents), latents))
    if draws.offset is not None:
        latents = latents + options.reference_offset_std * spread(draws.offset.to(latents), latents)
    return latents


def _kept(draws: Draws, options: ObjectiveOptions) -> Kept:
    stays = torch.ones_like(draws.text, dtype=torch.bool)
    if draws.drop_all is not None:
        stays = draws.drop_all >= options.drop_all
    return Kept(
        text=stays & (draws.text < options.keep_text),
        boxes=stays & (draws.boxes < options.keep_boxes),
        map=stays & (draws.map < options.keep_map),
        action=draws.action < options.keep_action,
        explicit_view=None if draws.explicit_view is None else draws.explicit_view < options.keep_explicit_view,
    )
