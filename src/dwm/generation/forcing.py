"""Long videos by diffusion forcing: a queue of frames at staggered noise levels, from whose head finished frames leave."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.errors import DwmError
from dwm.generation.sampler import Latents, Sampler

Pictures = Float[Tensor, "b v 3 H W"]


def force_frames(
    sampler: Sampler, batch: ClipBatch, length: int, finished: int = 0, references: int = 0
) -> Iterator[Pictures]:
    """Yields the frames one by one as they are finished, the `references` ones of the batch's own pictures first.

    `length` frames are in the queue, of which `finished` clean ones stay to be looked at. A frame sets out when the one
    before it is a round of steps ahead. Conditions move on only when the queue does; finished frames rest at time 0.
    """
    spacing = spacing_of(sampler, length, finished)
    frames, steps = batch.shape[1], sampler.solver.steps
    length = min(length, frames)
    queue = sampler.noise(sampler.latent_shape(batch, length))
    progress = [0] * length
    if (reference := sampler.reference_latents(batch, references)) is not None:
        queue = torch.cat([reference, queue[:, references:]], 1)
        progress[:references] = [steps] * references
        for frame in range(references):
            yield sampler.decode(queue[:, frame : frame + 1])[:, 0]
    start, head, counter = 0, references, 0
    prepared = sampler.prepare(batch.frames_from(0, length), tuple(queue.shape))
    while start + head < frames:
        # Room is made only when the newcomer could set out, so that frames that were given serve as long as they can.
        while head > finished and start + length < frames and progress[-1] >= spacing:
            queue = torch.cat([queue[:, 1:], sampler.noise((*queue[:, :1].shape,))], 1)
            progress = [*progress[1:], 0]
            start, head = start + 1, head - 1
            prepared = sampler.prepare(batch.frames_from(start, start + length), tuple(queue.shape))
        while progress[head] < steps:
            queue = advance(sampler, queue, progress, setting_out(progress, steps, spacing), prepared, counter)
            counter += 1
        yield sampler.decode(queue[:, head : head + 1])[:, 0]
        head += 1


def setting_out(progress: list[int], steps: int, spacing: int) -> list[bool]:
    """Which frames move in this step: the unfinished whose predecessor is finished or at least `spacing` steps ahead."""
    return [
        done < steps and (j == 0 or progress[j - 1] == steps or progress[j - 1] - done >= spacing)
        for j, done in enumerate(progress)
    ]


def advance(
    sampler: Sampler, queue: Latents, progress: list[int], moving: list[bool], prepared, counter: int
) -> Latents:
    """One step of the frames that move; counts them on in `progress`."""
    queue = sampler.step_frames(queue, progress, moving, prepared, counter)
    progress[:] = [done + moves for done, moves in zip(progress, moving, strict=True)]
    return queue


def force_as_published(
    sampler: Sampler, batch: ClipBatch, length: int, clear: int = 0, first_queue: Latents | None = None
) -> Iterator[tuple[Latents, Pictures]]:
    """The queue as OpenDWM runs it, oddities kept: after each run of steps, the queue and the picture that it finished.

    `first_queue` latents are the whole first queue, in place of noise, and are denoised as if they were. Kept frames fall back to
    the noise level of a round before and are denoised again in each round; while the first `clear` frames gather, conditions
    move on although the queue does not. The first run's picture is to be thrown away.
    """
    q = spacing_of(sampler, length, clear)
    steps, frames = sampler.solver.steps, batch.shape[1]
    if frames <= length:
        raise DwmError(f"{frames} frames: diffusion forcing needs more than the {length} of its queue")

    def run(first: int, stop: int, head: int) -> Latents:
        return published_run(sampler, queue, prepared, range(first, stop), head, q)

    queue = sampler.noise(sampler.latent_shape(batch, length)) if first_queue is None else first_queue
    if queue.shape[1] != length:
        raise DwmError(f"{queue.shape[1]} given frames: diffusion forcing as published takes {length}, its whole queue")
    prepared = sampler.prepare(batch.frames_from(0, length), tuple(queue.shape))
    queue = run(0, steps - q, 0)
    yield queue, sampler.decode(queue[:, :1])[:, 0]
    head = -1
    for start in range(frames - length + 1):
        if start:
            prepared = sampler.prepare(batch.frames_from(start, start + length), tuple(queue.shape))
        head = min(head + 1, clear)
        moved = run(steps + (head - 1) * q, steps + head * q, head)
        yield moved, sampler.decode(moved[:, head : head + 1])[:, 0]
        queue = torch.cat([queue[:, : head + 1], moved[:, head + 1 :]], 1)
        if head == clear and start < frames - length:
            queue = torch.cat([queue[:, 1:], sampler.noise(tuple(queue[:, :1].shape))], 1)
    for j in range(head + 1, length):
        moved = run(steps + (j - 1) * q, steps + j * q, j)
        yield moved, sampler.decode(moved[:, j : j + 1])[:, 0]
        queue = torch.cat([queue[:, : j + 1], moved[:, j + 1 :]], 1)


def force_frames_as_published(
    sampler: Sampler, batch: ClipBatch, length: int, finished: int = 0, references: int = 0
) -> Iterator[Pictures]:
    """`force_as_published` as `force_frames`: what OpenDWM cannot do (given frames, short clips) is done our way."""
    if references or batch.shape[1] <= length:
        yield from force_frames(sampler, batch, length, finished, references)
        return
    rounds = force_as_published(sampler, batch, length, finished)
    next(rounds)
    yield from (picture for _, picture in rounds)


def force_window_as_published(sampler: Sampler, batch: ClipBatch, clear: int = 0) -> tuple[Latents, Pictures]:
    """One window by diffusion forcing as OpenDWM runs it: its latents, and the picture of the first frame, the only finished."""
    q = spacing_of(sampler, batch.shape[1], clear)
    queue = sampler.noise(sampler.latent_shape(batch))
    prepared = sampler.prepare(batch, tuple(queue.shape))
    queue = published_run(sampler, queue, prepared, range(sampler.solver.steps), 0, q)
    return queue, sampler.decode(queue[:, :1])[:, 0]


def published_run(sampler: Sampler, queue: Latents, prepared, counters: range, head: int, spacing: int) -> Latents:
    """Steps of the queue as OpenDWM counts them: frame j sets out at counter j·spacing, none is ahead of the `head`."""
    positions = range(queue.shape[1])
    for i in counters:
        index = [min(i - head * spacing, max(0, i - j * spacing)) for j in positions]
        queue = sampler.step_frames(queue, index, [i >= j * spacing for j in positions], prepared, i)
    return queue


def spacing_of(sampler: Sampler, length: int, finished: int) -> int:
    """Steps between neighbours in the queue."""
    moving = length - finished
    if moving < 1 or sampler.solver.steps % moving:
        raise DwmError(
            f"{sampler.solver.steps} steps do not divide among the {moving} unfinished frames of the queue; "
            f"give a multiple of {max(moving, 1)}"
        )
    return sampler.solver.steps // moving
