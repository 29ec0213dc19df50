"""The training's feed over a few clips in their order, as a test of reading wants it."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from dwm.clip_batch import ClipBatch
from dwm.data.loading import Windows
from dwm.data.readers import WindowReader
from dwm.training.feed.batches import Feed
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan


def feed_of(clips: Windows, size: tuple[int, int], at_once: int = 1, workers: int = 0, **reading) -> Feed:
    first = clips[0]
    reader = WindowReader(clips, first.length, len(first.views), **reading)
    plan = Plan([(np.arange(len(clips)), [Bucket(size, first.length, at_once)])], 1, seed=0, shuffle=False)
    return Feed([reader], Joined.of([len(clips)]), plan, seed=0, workers=workers)


def batches_of(feed: Feed, epoch: int = 0) -> Iterator[ClipBatch]:
    """The batches of one pass over the clips, pictures as bytes."""
    return (batch.clips for batch in islice(feed.batches(epoch * feed.plan.steps), feed.plan.steps))
