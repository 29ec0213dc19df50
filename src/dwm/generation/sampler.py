"""From noise to latents and pictures for one window: draws, guidance, known frames, steps.

Everything random comes from one generator on the CPU. Nothing in the loop waits for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dwm.base_models import Autoencoder, StoredText, TextSource
from dwm.base_models.text import TextEncoder
from dwm.clip_batch import ClipBatch
from dwm.conditions import ConditionOptions, build_conditions
from dwm.devices import send, send_numbers
from dwm.diffusion import Solver
from dwm.errors import DwmError
from dwm.generation.offload import Offload
from dwm.generation.processes import ALONE, Processes, half_of
from dwm.generation.shortcuts import EXACT, Shortcuts
from dwm.networks.inputs import Conditions
from dwm.networks.step_cache import FirstBlockCache

Latents = Float[Tensor, "b t v c h w"]
OnStep = Callable[[int, Latents], Latents]


def require_numbers(values: Float[Tensor, "b t v ..."], maker: str) -> None:
    """Raises DwmError for NaN and infinite numbers, which would be shown as grey or black. Waits for the device."""
    good = torch.isfinite(values).flatten(3).all(-1)
    if not good.all():
        raise DwmError(
            f"{maker} gave numbers that are not finite in {int((~good).sum())} of {good.numel()} pictures; compute in float32, "
            "or take a lower guidance"
        )


@dataclass(frozen=True)
class Prepared:
    """What the network computed of the conditions of some frames: of both halves of guidance (or of this process's, or of the
    only one), and of the conditional half alone, where guidance works in some steps only."""

    halves: Any
    conditional: Any = None


def guided(
    network: nn.Module,
    sample: Latents,
    time: Float[Tensor, "b t v"],
    prepared: Any,
    guidance: float | Float[Tensor, "b t 1 1 1 1"],
) -> Latents:
    """A network's guided prediction, float32; both halves, prepared together with the unconditional one first, go through at
    once."""
    return with_guidance(network(torch.cat([sample, sample]), torch.cat([time, time]), prepared).float(), guidance)


def with_guidance(
    both: Float[Tensor, "bb t v c h w"], guidance: float | Float[Tensor, "b t 1 1 1 1"]
) -> Float[Tensor, "b t v c h w"]:
    """What follows from the unconditional and the conditional half of a prediction."""
    without, with_ = both.chunk(2)
    return without + guidance * (with_ - without)


@dataclass
class Sampler:
    """The parts and settings of one generation; made anew for each.

    guidance None leaves the unconditional half out. `on_step(index, latents)` may look at or replace the latents.
    `size` is (width, height) of the pictures. `by_itself`: a single frame or view leaves the blocks across frames or views
    out, as our training does. `processes`: this one among those that share the generation.
    """

    network: nn.Module
    autoencoder: Autoencoder
    text: TextSource | None
    options: ConditionOptions
    solver: Solver
    generator: torch.Generator
    size: tuple[int, int]
    guidance: float | None = None
    negative_prompt: str = ""
    on_step: OnStep | None = None
    autocast: Callable[[], AbstractContextManager] = nullcontext
    offload: Offload | None = None
    by_itself: bool = False
    shortcuts: Shortcuts = EXACT
    processes: Processes = ALONE

    @property
    def device(self) -> torch.device:
        return self.offload.device if self.offload is not None else next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def remember(self, batch: ClipBatch) -> Sampler:
        """Encodes every distinct prompt of the whole batch at once, so that windows share them."""
        if self.text is None or not self.options.text:
            return self
        words = {"", self.negative_prompt}
        for clip in batch.captions or ():
            words.update(prompt for frame in clip for prompt in frame)
        prompts = sorted(words)
        if isinstance(self.text, TextEncoder) and (unread := self.text.unread(prompts)) is not None:
            warnings.warn(unread, stacklevel=3)
        return replace(self, text=StoredText(prompts, self.text.encode(prompts)))

    def latent_shape(self, batch: ClipBatch, frames: int | None = None) -> tuple[int, ...]:
        """(b, t, v, c, h, w) of the latents for `frames` frames of the batch (None: all)."""
        b, t, v = batch.shape
        return b, *self.autoencoder.latent_shape(frames or t, v, self.size)

    def noise(self, shape: tuple[int, ...]) -> Latents:
        """Fresh noise, drawn on the CPU so that every device gets the same."""
        drawn = self.processes.drawn(shape, lambda size: torch.randn(size, generator=self.generator))
        return send(drawn, self.device) * self.solver.initial_noise

    def prepare(
        self, batch: ClipBatch, latent_shape: tuple[int, ...], pose_before: Float[Tensor, "b v 4 4"] | None = None
    ) -> Prepared:
        """What the network computes once from the conditions of these frames, for both halves of guidance."""
        guided = self.guidance is not None
        conditions = build_conditions(
            batch,
            self._options(latent_shape),
            self.text,
            guidance=guided,
            negative_prompt=self.negative_prompt,
            latent_frames=latent_shape[1],
            size=self.size,
            dtype=self.dtype,
            pose_before=pose_before,
        )
        self._bring(self.network)
        halves = self._prepared(self.processes.told(conditions) if guided else conditions, latent_shape)
        if not guided or self.shortcuts.always_guided:
            return Prepared(halves)
        return Prepared(halves, self._prepared(half_of(conditions, 1), latent_shape))

    def predict(
        self, sample: Latents, time: Float[Tensor, "b t v"], prepared: Prepared, indices: Sequence[int] = (0,)
    ) -> Latents:
        """The network's guided prediction, float32; both halves of guidance go through at once. indices: of the solver, one
        for all frames or one for each, by which guidance may be left out."""
        self._bring(self.network)
        scale = self._scale(prepared, indices)
        with self.autocast():
            if scale is None:
                alone = prepared.halves if prepared.conditional is None else prepared.conditional
                return self.network(sample, time, alone).float()
            if self.processes.half is None:
                return guided(self.network, sample, time, prepared.halves, scale)
            return with_guidance(self.processes.both(self.network(sample, time, prepared.halves).float()), scale)

    def reference_latents(self, batch: ClipBatch, frames: int) -> Latents | None:
        """Latents of the batch's own first pictures; None where none are to be given."""
        if not frames:
            return None
        if batch.frames is None:
            raise DwmError(f"{frames} first frames are to be given, and the clip has no pictures to take them from")
        return self.encode(batch.frames[:, :frames])

    def window(self, batch: ClipBatch, reference: Float[Tensor, "b n v c h w"] | None = None) -> Latents:
        """Latents of all frames of `batch` from noise; `known` clean latents are its first ones, seen at time 0."""
        shape = self.latent_shape(batch)
        latents = self.noise(shape)
        prepared = self.prepare(batch, shape)
        times = self.solver.times.to(torch.float32)
        count = 0 if reference is None else reference.shape[1]
        for index in range(self.solver.steps):
            time = times[index].expand(shape[:3])
            shown = latents
            if reference is not None:
                shown = torch.cat([reference, latents[:, count:]], 1)
                time = torch.cat([torch.zeros_like(time[:, :count]), time[:, count:]], 1)
            latents = self.solver.step(latents, self.predict(shown, time, prepared, (index,)), index)
            latents = self._stepped(index, latents)
        return latents if reference is None else torch.cat([reference, latents[:, count:]], 1)

    def step_frames(
        self, latents: Latents, index: Sequence[int], moving: Sequence[bool], prepared: Prepared, counter: int
    ) -> Latents:
        """One step with an index of the solver for each frame; frames that are not `moving` stay as they are."""
        b, _, v = latents.shape[:3]
        spread = send_numbers(index, self.device)[None, :, None].expand(b, -1, v)
        moves = send_numbers(moving, self.device)[None, :, None, None, None, None]
        time = self.solver.times[spread].to(torch.float32)
        stepped = self.solver.step(latents, self.predict(latents, time, prepared, index), spread)
        return self._stepped(counter, torch.where(moves, stepped, latents))

    def encode(self, frames: Float[Tensor, "b t v 3 H W"]) -> Latents:
        """Latents of given pictures: the posterior's mode, so that nothing is drawn."""
        self._bring(self.autoencoder)
        return self.autoencoder.encode(frames)

    def decode(self, latents: Latents) -> Float[Tensor, "b T v 3 H W"]:
        """Pictures of finished latents. Raises DwmError where sampling or decoding gave what is no number.

        A processor is asked at once; a device, for which that would be to wait, when its pictures are fetched.
        """
        at_once = latents.device.type == "cpu"
        if at_once:
            require_numbers(latents, "sampling")
        self._bring(self.autoencoder)
        pictures = self.processes.decoded(latents, self.autoencoder.decode)
        if at_once:
            require_numbers(pictures, "the autoencoder")
        return pictures

    def _options(self, latent_shape: tuple[int, ...]) -> ConditionOptions:
        """What the network is told of latents of this shape."""
        options, (_, t, v) = self.options, latent_shape[:3]
        if not self.by_itself or (t > 1 and v > 1):
            return options
        return options.with_(
            disable_crossview=options.disable_crossview or v == 1, disable_temporal=options.disable_temporal or t == 1
        )

    def _prepared(self, conditions: Conditions, latent_shape: tuple[int, ...]) -> Any:
        assert conditions.disable_crossview is not None  # `build_conditions` always says
        with self.autocast():
            prepared = self.network.prepare(conditions, (len(conditions.disable_crossview), *latent_shape[1:]))
        if not self.shortcuts.cache:
            return prepared
        if not hasattr(prepared, "cache"):
            raise DwmError(f"cache {self.shortcuts.cache:g}: {type(self.network).__name__} has no first block to go by")
        return replace(prepared, cache=FirstBlockCache(self.shortcuts.cache, self.processes.summed))

    def _scale(self, prepared: Prepared, indices: Sequence[int]) -> float | Tensor | None:
        """How far to exaggerate the conditions at these indices, for each frame where they differ; None: not at all."""
        if self.guidance is None or prepared.conditional is None:
            return self.guidance
        guided = self.shortcuts.guided(indices, self.solver.steps)
        if all(guided) or not any(guided):
            return self.guidance if guided[0] else None
        scales = [self.guidance if one else 1.0 for one in guided]
        return send_numbers(scales, self.device)[None, :, None, None, None, None]

    def _bring(self, part: nn.Module) -> None:
        if self.offload is not None:
            self.offload.bring(part)

    def _stepped(self, index: int, latents: Latents) -> Latents:
        return latents if self.on_step is None else self.on_step(index, latents)
