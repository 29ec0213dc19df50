"""All random numbers of a training step, drawn at once and in the order of OpenDWM's, from one generator or from its two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dwm.conditions import ConditionOptions, drawn_names
from dwm.diffusion.process import Flow, Latents, NoiseProcess
from dwm.training.objectives.options import ObjectiveOptions


def flow_of(options: ObjectiveOptions) -> Flow:
    """The rectified flow of a training's options."""
    return Flow(options.shift, options.times)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step, in the order in which they were drawn; uniform ones are in [0, 1).

    positions are places in the noise schedule: in [0, 1] for the flow, integer times for DDPM.
    """

    noise: Latents
    positions: Shaped[Tensor, "b *t"]
    keep: Mapping[str, Float[Tensor, "b"]]
    """By condition: a clip keeps it where its number lies below the share that keeps it."""
    scale: Float[Tensor, "b t"] | None = None
    offset: Float[Tensor, "b t"] | None = None
    generation: Float[Tensor, "b"] | None = None
    image: Float[Tensor, "b"] | None = None
    all_visible: Float[Tensor, "b"] | None = None
    visible: Float[Tensor, "b t v"] | None = None
    count: Float[Tensor, "b"] | None = None
    drop_all: Float[Tensor, "b"] | None = None
    rising: Bool[Tensor, "b"] | None = None
    """Clips whose noise rises from frame to frame; `positions` then has one for each frame."""
    finished: Bool[Tensor, "b t"] | None = None
    """Their first frames without any noise."""


def draw(
    shape: tuple[int, ...],
    options: ObjectiveOptions,
    generator: torch.Generator,
    conditions: ConditionOptions = ConditionOptions(),
    noising: NoiseProcess | None = None,
    others: torch.Generator | None = None,
) -> Draws:
    """The random numbers of one step for latents of `shape` (b, t, v, c, h, w), on the CPU.

    `conditions`: what the network is told; who keeps which is drawn in the order of their table. `noising`: how noise is
    added, none: the flow of the options. `others` gives what OpenDWM takes from torch's global generator (the flow's noise
    levels), none: `generator` gives all.
    """
    b, t, v = shape[:3]
    noising = flow_of(options) if noising is None else noising

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    forcing, ctsd = options.style == "diffusion_forcing", options.style == "ctsd"
    draws = Draws(
        noise=torch.randn(shape, generator=generator),
        positions=noising.draw((b, t) if forcing else (b,), generator, generator if others is None else others),
        keep={name: uniform(b) for name in drawn_names(conditions)},
        scale=None if options.reference_scale_std is None else torch.randn((b, t), generator=generator),
        offset=None if options.reference_offset_std is None else torch.randn((b, t), generator=generator),
        generation=uniform(b) if ctsd else None,
        image=uniform(b) if ctsd or forcing else None,
        all_visible=uniform(b) if ctsd else None,
        visible=uniform(b, t, v) if ctsd else None,
        count=uniform(b) if isinstance(options.reference_frames, dict) and ctsd else None,
        drop_all=uniform(b) if options.drop_all else None,
    )
    if not options.rising:
        return draws
    rising = uniform(b) < options.rising
    left = rising_shares(uniform(b), uniform(b), t)
    places = noising.places(left.clamp(min=torch.finfo(left.dtype).tiny))
    positions = torch.where(rising[:, None], places, draws.positions.reshape(b, -1))
    return replace(draws, positions=positions, rising=rising, finished=rising[:, None] & (left == 0))


def rising_shares(slope: Float[Tensor, "b"], last: Float[Tensor, "b"], frames: int) -> Float[Tensor, "b t"]:
    """The shares of the way from noise to pictures that are left for each frame of a queue, by numbers in [0, 1).

    From frame to frame they rise by a quarter to a half: queues of four to two frames, behind frames that are finished (0) and
    before ones that have not set out (1). Half of the clips are a queue that runs: its last frame is in its first round.
    """
    rise = (1 + slope) / 4
    anywhere = (2 * last - 1) * (1 + rise * (frames - 1))
    end = torch.where(last < 0.5, 1 - rise * 2 * last, anywhere)
    behind = torch.arange(frames - 1, -1, -1)
    return (end[:, None] - rise[:, None] * behind).clamp(0, 1)
