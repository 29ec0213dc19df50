"""Video without an end: conditions go in frame by frame, finished frames come out of a queue at staggered noise levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.clip_batch import TIME_INDEXED, ClipBatch
from dwm.errors import DwmError
from dwm.generation.forcing import published_run, spacing_of
from dwm.generation.sampler import Latents, Sampler

Pictures = Float[Tensor, "b v 3 H W"]
Advance = Callable[[Sampler, Latents, Any, range, int, int], tuple[Latents, Latents]]
"""Runs a queue by counters until the frame at a head is finished, at a spacing: the queue after it, and what to decode."""


def advance_at_rest(
    sampler: Sampler, queue: Latents, prepared: Any, counters: range, head: int, spacing: int
) -> tuple[Latents, Latents]:
    """Finished frames rest at time 0."""
    steps, frames = sampler.solver.steps, range(queue.shape[1])
    for i in counters:
        index = [min(steps, max(0, i - j * spacing)) for j in frames]
        queue = sampler.step_frames(queue, index, [i >= j * spacing for j in frames], prepared, i)
    return queue, queue


def advance_as_published(
    sampler: Sampler, queue: Latents, prepared: Any, counters: range, head: int, spacing: int
) -> tuple[Latents, Latents]:
    """As OpenDWM: while the queue empties, what is finished falls back to where it was before the run."""
    moved = published_run(sampler, queue, prepared, counters, head, spacing)
    count = head + 1 if head else 0
    return torch.cat([queue[:, :count], moved[:, count:]], 1), moved


class Stream:
    """A queue of `length` frames. After `length` − 1 frames without an answer, each frame sent gives one finished.

    `text_interval`: captions are taken from every k-th frame and kept in between. `advance`: what becomes of finished frames
    while the queue empties.
    """

    def __init__(self, sampler: Sampler, length: int, text_interval: int = 1, advance: Advance = advance_at_rest):
        self.sampler, self.length, self.text_interval = sampler, length, text_interval
        self.advance = advance
        self.spacing = spacing_of(sampler, length, 0)
        self.waiting: list[ClipBatch] = []
        self.sent = 0
        self.before: Float[Tensor, "b v 4 4"] | None = None
        self.words: tuple | None = None
        self.queue: Latents | None = None
        self.moved: Latents | None = None
        self.prepared = None

    def send(self, frame: ClipBatch) -> Pictures | None:
        """Takes the conditions of one more frame (a batch of one frame); gives the next finished frame, once there is one."""
        if frame.shape[1] != 1:
            raise DwmError(f"a stream takes one frame at a time, not {frame.shape[1]}")
        if self.sent % self.text_interval == 0:
            self.words = frame.captions
        self.sent += 1
        # The very first frame has no motion: it is as if the car had stood there.
        self.before = frame.world_from_ego[:, 0] if self.before is None else self.before
        self.waiting.append(replace(frame, captions=self.words))
        if len(self.waiting) < self.length:
            return None
        steps = self.sampler.solver.steps
        first = 0
        if self.queue is not None and len(self.waiting) > self.length:
            self.before = self.waiting.pop(0).world_from_ego[:, 0]
            fresh = self.sampler.noise(tuple(self.queue[:, :1].shape))
            self.queue = torch.cat([self.queue[:, 1:], fresh], 1)
            first = steps - self.spacing
        batch = joined(self.waiting)
        if self.queue is None:
            self.queue = self.sampler.noise(self.sampler.latent_shape(batch))
        self.prepared = self.sampler.prepare(batch, tuple(self.queue.shape), self.before)
        return self._finish(self.queue, range(first, steps), 0)

    def flush(self) -> Iterator[Pictures]:
        """The frames that are still in the queue, one by one; the stream ends with them."""
        if self.queue is None:
            raise DwmError(f"the stream ended after {self.sent} frames; it needs at least {self.length}")
        steps = self.sampler.solver.steps
        for head in range(1, self.length):
            start = steps + (head - 1) * self.spacing
            yield self._finish(self.queue, range(start, start + self.spacing), head)

    def run(self, batch: ClipBatch) -> Iterator[Pictures]:
        """Sends a whole clip frame by frame, and gives every frame as it is finished."""
        for frame in range(batch.shape[1]):
            if (frame_pictures := self.send(batch.frames_from(frame, frame + 1))) is not None:
                yield frame_pictures
        yield from self.flush()

    def _finish(self, queue: Latents, counters: range, head: int) -> Pictures:
        """Runs the queue until the frame at `head` is finished."""
        self.queue, moved = self.advance(self.sampler, queue, self.prepared, counters, head, self.spacing)
        self.moved = moved
        return self.sampler.decode(moved[:, head : head + 1])[:, 0]


def joined(frames: list[ClipBatch]) -> ClipBatch:
    """One-frame batches as one batch; what has no time axis is the last one's."""
    last = frames[-1]
    changes: dict[str, Any] = {
        item.name: torch.cat([getattr(frame, item.name) for frame in frames], 1)
        for item in fields(ClipBatch)
        if item.name in TIME_INDEXED and getattr(last, item.name) is not None
    }
    if last.captions is not None:
        words = [frame.captions or () for frame in frames]
        changes["captions"] = tuple(tuple(said[clip][0] for said in words) for clip in range(len(last.captions)))
    return replace(last, **changes)
