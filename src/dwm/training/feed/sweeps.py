"""The feed of sweeps: micro-batches by number, each a `ClipBatch` with LiDAR alone. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence

from dwm.clip_batch import ClipBatch
from dwm.data import merge
from dwm.data.sweeps import SweepReader
from dwm.training.feed.batches import NumberedFeed, cut
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Plan
from dwm.training.loop.step import step_generator


class SweepFeed(NumberedFeed[ClipBatch]):
    """Which points of a sweep are used depends on seed and number of the micro-batch alone."""

    def __init__(self, readers: Sequence[SweepReader], joined: Joined, plan: Plan, seed: int, workers: int = 0):
        super().__init__(workers)
        self.readers, self.joined, self.plan, self.seed = list(readers), joined, plan, seed

    def batch(self, number: int) -> ClipBatch:
        micro, generator = self.plan.micro(number), step_generator(self.seed + 1, number)
        parts = []
        for clip in micro.clips:
            which, index = self.joined.locate(clip)
            reader = self.readers[which]
            parts.append(reader.read(index, cut(reader.frames, micro.bucket.frames, generator), generator))
        return merge(parts)
