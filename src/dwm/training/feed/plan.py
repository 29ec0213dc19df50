"""Which clips are in which micro-batch, as a function of seed and number alone: epochs, buckets of shapes, steps.

An epoch is a whole number of steps in which every clip stands once. All micro-batches of a step have one bucket, so that every
process does the same work at the same time. Knows neither clips nor processes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from dwm.errors import DwmError
from dwm.training.loop.step import step_generator

Size = tuple[int, int]


@dataclass(frozen=True)
class Bucket:
    """The shape of a micro-batch: `clips` clips of `frames` frames at `size` (width, height) in pixels.

    share: how many of the clips go here, relative to the other buckets. views: cameras of a clip; None: whatever it has.
    cut: so many neighbouring views of each, drawn at random; None: as the feed says.
    """

    size: Size
    frames: int
    clips: int
    share: float = 1.0
    views: int | None = None
    cut: int | None = None

    def tokens(self, views: int = 1) -> int:
        """A measure of its work: pixels of all pictures."""
        return self.size[0] * self.size[1] * self.frames * self.clips * views


@dataclass(frozen=True)
class Micro:
    """One micro-batch: its bucket, the epoch, and which clips."""

    bucket: Bucket
    epoch: int
    clips: tuple[int, ...]


@dataclass(frozen=True)
class _Epoch:
    schedule: Int[np.ndarray, "steps"]
    """The bucket of each step."""
    turn: Int[np.ndarray, "steps"]
    """How many steps of that bucket came before it."""
    clips: tuple[Int[np.ndarray, "_"], ...]
    """The clips of each bucket, in their order, filled up to whole steps."""


class Plan:
    """Micro-batches by number. `groups` are clips (by number) and the buckets that they are spread over.

    In each epoch a permutation of its own spreads a group's clips over its buckets by their shares, in exact numbers. The last
    step of a bucket is filled with clips from that bucket's beginning: the only ones that an epoch sees twice. The order of
    buckets is a permutation too. With `shuffle` off clips come as they are numbered; `fixed` repeats the first epoch.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Int[np.ndarray, "_"], Sequence[Bucket]]],
        accumulate: int,
        seed: int,
        shuffle: bool = True,
        fixed: bool = False,
    ):
        self.groups = [(np.asarray(clips), tuple(buckets)) for clips, buckets in groups if len(clips)]
        if not self.groups:
            raise DwmError("data: there is no clip to train on; the sets and windows of data.train give none")
        self.buckets = [bucket for _, buckets in self.groups for bucket in buckets]
        self.accumulate, self.seed, self.shuffle, self.fixed = accumulate, seed, shuffle, fixed
        self.counts = [count for clips, buckets in self.groups for count in _apportion(len(clips), buckets)]
        self._steps = [
            -(-count // (accumulate * bucket.clips)) for count, bucket in zip(self.counts, self.buckets, strict=True)
        ]
        self.steps = sum(self._steps)
        """Steps of an epoch."""
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()

    def micro(self, number: int) -> Micro:
        """Micro-batch `number` of the endless run."""
        step, micro = divmod(number, self.accumulate)
        epoch, at = divmod(step, self.steps)
        order = self._epoch(0 if self.fixed else epoch)
        which = int(order.schedule[at])
        bucket = self.buckets[which]
        first = (int(order.turn[at]) * self.accumulate + micro) * bucket.clips
        return Micro(bucket, epoch, tuple(order.clips[which][first : first + bucket.clips].tolist()))

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            self._epochs[epoch] = self._draw(epoch)
            if len(self._epochs) > 2:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]

    def _draw(self, epoch: int) -> _Epoch:
        generator = step_generator(self.seed, -1 - epoch)

        def permuted(values: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
            return values[torch.randperm(len(values), generator=generator).numpy()]

        clips_of_bucket: list[Int[np.ndarray, "n"]] = []
        for clips, buckets in self.groups:
            order = permuted(clips) if self.shuffle else clips
            counts = self.counts[len(clips_of_bucket) : len(clips_of_bucket) + len(buckets)]
            labels = np.repeat(np.arange(len(buckets)), counts)
            labels = permuted(labels) if len(buckets) > 1 else labels
            clips_of_bucket += [order[labels == label] for label in range(len(buckets))]
        schedule = np.repeat(np.arange(len(clips_of_bucket)), self._steps)
        schedule = permuted(schedule) if len(clips_of_bucket) > 1 else schedule
        turn = np.zeros(len(schedule), np.int64)
        for which, steps in enumerate(self._steps):
            turn[schedule == which] = np.arange(steps)
        whole = [
            steps * self.accumulate * bucket.clips for steps, bucket in zip(self._steps, self.buckets, strict=True)
        ]
        return _Epoch(
            schedule, turn, tuple(np.resize(part, size) for part, size in zip(clips_of_bucket, whole, strict=True))
        )


def _apportion(count: int, buckets: Sequence[Bucket]) -> list[int]:
    """`count` clips by shares, in whole numbers: the largest remainders get what is left over."""
    shares = np.array([bucket.share for bucket in buckets], np.float64)
    exact = count * shares / shares.sum()
    whole = np.floor(exact).astype(np.int64)
    for index in np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]:
        whole[index] += 1
    return whole.tolist()
