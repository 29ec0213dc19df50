"""The feed of sweeps: micro-batches by number, each a `ClipBatch` with LiDAR alone. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dwm.clip_batch import ClipBatch
from dwm.data import merge
from dwm.data.sweeps import SweepReader
from dwm.training.feed.batches import NumberedFeed, cut
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Plan
from dwm.training.loop.step import step_generator


class SweepFeed(NumberedFeed[ClipBatch]):
    """Which points of a sweep are used depends on seed and number of the micro-batch alone.

    in_memory: clips are prepared once and stay in memory, without their points.
    """

    def __init__(
        self,
        readers: Sequence[SweepReader],
        joined: Joined,
        plan: Plan,
        seed: int,
        workers: int = 0,
        in_memory: bool = False,
    ):
        super().__init__(workers)
        self.readers, self.joined, self.plan, self.seed = list(readers), joined, plan, seed
        self.clips: dict[int, ClipBatch] | None = {} if in_memory else None

    def batch(self, number: int) -> ClipBatch:
        micro, generator = self.plan.micro(number), step_generator(self.seed + 1, number)
        parts = []
        for clip in micro.clips:
            which, index = self.joined.locate(clip)
            reader = self.readers[which]
            frames = cut(reader.frames, micro.bucket.frames, generator)
            parts.append(
                reader.read(index, frames, generator)
                if self.clips is None
                else self._whole(clip).frames_from(frames.start, frames.stop)
            )
        return merge(parts)

    def _whole(self, clip: int) -> ClipBatch:
        assert self.clips is not None
        if clip not in self.clips:
            which, index = self.joined.locate(clip)
            batch = self.readers[which].read(index, generator=step_generator(self.seed + 1, clip))
            assert batch.lidar is not None
            bare = tuple(tuple(points[:0].clone() for points in sweeps) for sweeps in batch.lidar.points)
            self.clips[clip] = replace(batch, lidar=replace(batch.lidar, points=bare))
        return self.clips[clip]
