"""Video that is made while it is looked at: conditions go in frame by frame, pictures come out as soon as there are any.

Weights that were trained for it stream, or draw in a queue behind what is finished; others roll out by short windows, whose first
frames are the last ones made. All hold a fixed number of frames however long it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.base_models import TextSource
from dwm.base_models.text import TextEmbedding
from dwm.checkpoints.card import Size, WeightsCard
from dwm.clip_batch import ClipBatch
from dwm.errors import DwmError
from dwm.generation.forcing import advance, setting_out, spacing_of
from dwm.generation.pipeline import DrivingPipeline
from dwm.generation.sampler import Latents, Sampler, require_numbers
from dwm.generation.streaming import Advance, Stream, advance_at_rest, joined

Pictures = Float[Tensor, "b v 3 H W"]
MOST_PROMPTS = 64
"""Prompts whose embeddings are kept; a drive says few, again and again."""


@runtime_checkable
class LiveVideo(Protocol):
    """delay: frames that are waited for before the first picture comes; burst: pictures that come at once, later on."""

    @property
    def delay(self) -> int: ...

    @property
    def burst(self) -> int: ...

    @property
    def way(self) -> str:
        """How it is made, in words."""

    def send(self, frame: ClipBatch) -> list[Pictures]:
        """Takes the conditions of one more frame; the pictures that are finished by it, in order: often none."""


class StreamedVideo:
    """Diffusion forcing without an end: a queue of frames, the head of which is finished with each frame that comes in."""

    def __init__(self, sampler: Sampler, length: int, text_every: int = 1, advance: Advance = advance_at_rest) -> None:
        self.stream = Stream(sampler, length, text_every, advance)
        self.delay, self.burst = length - 1, 1
        self.way = f"streaming: a queue of {length} frames, one picture for each frame"

    @torch.no_grad()
    def send(self, frame: ClipBatch) -> list[Pictures]:
        picture = self.stream.send(frame)
        return [] if picture is None else [_fetched(picture)]


class QueuedVideo:
    """A queue whose noise rises from frame to frame behind `finished` frames, which stay to be looked at: one picture for each
    frame that comes in.

    `alone`: as for windows. Raises DwmError where the steps do not divide among the frames that move.
    """

    def __init__(self, sampler: Sampler, length: int, finished: int, alone: bool) -> None:
        self.sampler, self.length, self.finished, self.alone = sampler, length, finished, alone
        self.spacing = spacing_of(sampler, length, finished)
        self.frames: list[ClipBatch] = []
        self.latents: Latents | None = None
        self.progress: list[int] = []
        self.delay, self.burst = 0 if alone else length - 1, 1
        moving = length - finished
        self.way = f"a queue of {moving} frames behind {finished} finished ones, one picture for each frame"

    @torch.no_grad()
    def send(self, frame: ClipBatch) -> list[Pictures]:
        _require_one(frame)
        fresh = self.sampler.noise(self.sampler.latent_shape(frame))
        self.latents = fresh if self.latents is None else torch.cat([self.latents, fresh], 1)[:, -self.length :]
        self.frames = [*self.frames, frame][-self.length :]
        self.progress = [*self.progress, 0][-self.length :]
        if self.alone and self.progress == [0]:
            return self._finish(1)
        return self._finish(self.finished + 1) if len(self.frames) == self.length else []

    def _finish(self, count: int) -> list[Pictures]:
        """Steps until the first `count` frames are finished; the pictures of those that were not before."""
        sampler, steps = self.sampler, self.sampler.solver.steps
        assert self.latents is not None
        prepared = sampler.prepare(joined(self.frames), tuple(self.latents.shape))
        head = self.progress.count(steps)
        while self.progress[count - 1] < steps:
            moving = setting_out(self.progress, steps, self.spacing)
            self.latents = advance(sampler, self.latents, self.progress, moving, prepared, 0)
        return list(_fetched(sampler.decode(self.latents[:, head:count])).unbind(1))


class WindowedVideo:
    """Windows of `length` frames, the first `overlap` of which are the last that were made.

    `alone`: whether the weights know a single frame, which then is the first window, so that there is something to see at once.
    """

    def __init__(self, sampler: Sampler, length: int, overlap: int, alone: bool) -> None:
        if not 0 < overlap < length:
            raise DwmError(f"windows of {length} frames cannot go on from {overlap}; give 1 to {length - 1}")
        self.sampler, self.length, self.overlap, self.alone = sampler, length, overlap, alone
        self.waiting: list[ClipBatch] = []
        self.history: list[ClipBatch] = []
        self.latents: Latents | None = None
        self.delay, self.burst = 0 if alone else length - 1, length - overlap
        self.way = f"rolled out by windows of {length} frames, {self.burst} new ones in each"

    @torch.no_grad()
    def send(self, frame: ClipBatch) -> list[Pictures]:
        _require_one(frame)
        self.waiting.append(frame)
        if len(self.waiting) < (1 if self.latents is None and self.alone else self.length - len(self.history)):
            return []
        frames = [*self.history, *self.waiting]
        latents = self.sampler.window(joined(frames), self.latents)
        pictures = _fetched(self.sampler.decode(latents[:, len(self.history) :]))
        keep = min(self.overlap, len(frames))
        self.history, self.waiting, self.latents = frames[-keep:], [], latents[:, -keep:]
        return list(pictures.unbind(1))


class RememberedText:
    """A text source that keeps the embeddings of the last prompts, so that a drive's words are encoded once."""

    def __init__(self, text: TextSource) -> None:
        self.text = text
        self.known: dict[str, TextEmbedding] = {}

    def encode(self, prompts: Sequence[str], gradients: bool = False) -> TextEmbedding:
        """As `TextSource.encode`, without gradients."""
        for prompt in dict.fromkeys(prompts):
            self.known[prompt] = self.known.pop(prompt, None) or self.text.encode([prompt])
        each = [self.known[prompt] for prompt in prompts]
        while len(self.known) > MOST_PROMPTS:
            del self.known[next(iter(self.known))]
        pooled = [one.pooled for one in each if one.pooled is not None]
        return TextEmbedding(torch.cat([one.sequence for one in each]), torch.cat(pooled) if pooled else None)


def live_video(
    pipe: DrivingPipeline,
    size: Size | None = None,
    seed: int = 0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    overlap: int | None = None,
) -> LiveVideo:
    """What makes video of frames that are sent one by one, from the noise of `seed`.

    `overlap`: frames that each window takes over, which asks for windows where weights have a queue (None: as the weights like
    it); more answer sooner and cost more. Raises DwmError where the weights can do neither.
    """
    card = pipe.card
    if size is None and not card.sizes:
        raise DwmError(f"{card.name or 'the weights'}: name no size; give one")
    generator = torch.Generator().manual_seed(seed)
    sampler = pipe.sampler(size or card.sizes[0], generator, num_inference_steps, guidance_scale)
    if sampler.text is not None:
        sampler = replace(sampler, text=RememberedText(sampler.text))
    if card.sampling.style != "windows":
        length = card.window or sampler.solver.steps
        return StreamedVideo(sampler, length, card.sampling.text_every, pipe.conventions.advance)
    queue, steps = card.queue, sampler.solver.steps
    if queue is not None and overlap is None and steps % (queue.length - queue.finished) == 0:
        return QueuedVideo(sampler, queue.length, queue.finished, 1 in card.lengths)
    return _windowed(sampler, card, overlap)


def _windowed(sampler: Sampler, card: WeightsCard, overlap: int | None) -> WindowedVideo:
    """The shortest windows that the weights know: what is steered shall answer soon."""
    asked = overlap is not None
    overlap = card.sampling.reference_frames if overlap is None else overlap
    if overlap < 1:
        raise DwmError(
            f"{card.name or 'the weights'}: take no frames over from window to window; give an overlap of 1 or more"
        )
    length = min((length for length in card.lengths if length > overlap), default=None if card.lengths else overlap + 2)
    if length is None:
        raise DwmError(
            f"{card.name or 'the weights'}: know windows of {', '.join(map(str, card.lengths))} frames, none longer than the "
            f"{overlap} that are taken over; there is no video to drive in"
        )
    video = WindowedVideo(sampler, length, overlap, not card.lengths or 1 in card.lengths)
    if card.queue is None:
        video.way = f"these weights cannot stream; {video.way}"
    elif not asked:
        moving = card.queue.length - card.queue.finished
        video.way = f"{sampler.solver.steps} steps do not divide among the {moving} frames of a queue; {video.way}"
    return video


def _require_one(frame: ClipBatch) -> None:
    if frame.shape[1] != 1:
        raise DwmError(f"live video takes one frame at a time, not {frame.shape[1]}")


def _fetched(pictures: Float[Tensor, "b *t v 3 H W"]) -> Float[Tensor, "b *t v 3 H W"]:
    """Pictures on the processor; those of a device are asked for numbers only now."""
    if pictures.device.type != "cpu":
        require_numbers(pictures, "sampling")
    return pictures.float().cpu()
