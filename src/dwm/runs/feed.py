"""From a recipe to its feed: readers, buckets, plan and store of the clips that a stage of the driving network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dwm.config.data import DataOptions, Mix
from dwm.config.recipe import Recipe
from dwm.data.readers import Reader
from dwm.errors import DwmError
from dwm.latents.store import Store, StoredLatents, StoredTexts
from dwm.training.feed.batches import Feed, Stored
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan
from dwm.training.stages.options import BatchOptions, DrivingStage


def stage_feed(
    run: Recipe, stage: DrivingStage, readers: Sequence[Reader], stored: Stored = Stored(), pin: bool = False
) -> Feed:
    """The micro-batches of one stage of a run."""
    data, batch = run.data, stage.batch
    joined = Joined.of([len(reader) for reader in readers], [source.ratio for source in data.train])
    plan = Plan(
        groups(data, batch, readers, joined),
        stage.loop.accumulate,
        stage.loop.seed,
        shuffle=data.shuffle,
        fixed=data.fixed_order,
    )
    return Feed(readers, joined, plan, stage.loop.seed, batch.views, stored, data.workers, pin)


def groups(
    data: DataOptions, batch: BatchOptions, readers: Sequence[Reader], joined: Joined
) -> list[tuple[np.ndarray, list[Bucket]]]:
    """Clips by their number of views, with the buckets that they are spread over.

    A micro-batch has clips of one number of views, so that no view is padded and none sees a stranger; clips of fewer views
    come in proportion more, so that every micro-batch is about as much work.
    """
    clips_of_views: dict[int, list[np.ndarray]] = {}
    for which, reader in enumerate(readers):
        span = joined.range(which)
        used = max(1, int(len(span) * batch.share))
        clips_of_views.setdefault(min(reader.views, batch.views or reader.views), []).append(
            np.arange(span.start, span.start + used)
        )
    most = max(clips_of_views)
    return [
        (np.concatenate(parts), [_bucket(bucket, views, most) for bucket in buckets(data, batch)])
        for views, parts in clips_of_views.items()
    ]


def buckets(data: DataOptions, batch: BatchOptions) -> list[Bucket]:
    """Sizes and lengths of a run, from `data.mix`, or from `data.size` and the stage's own shapes."""
    if not data.mix:
        rest = Bucket(data.size, batch.frames, batch.clips, 1 - sum(shape.share for shape in batch.mix))
        others = [Bucket(data.size, shape.frames, shape.clips, shape.share, cut=shape.views) for shape in batch.mix]
        return [rest, *others]
    first = Bucket(data.mix[0].size, data.mix[0].frames, data.mix[0].clips or batch.clips)
    return [Bucket(mix.size, mix.frames, mix.clips or _as_much(first, mix), mix.share) for mix in data.mix]


def stored_of(run: Recipe, base: Path, sample: bool = True) -> Stored:
    """What the run takes from its store; nothing where it names none."""
    data = run.data
    if data.store is None:
        return Stored()
    check_storable(run)
    store = store_of(run, base)
    sizes = sorted({bucket.size for bucket in buckets(data, run.training.batch)})
    latents = StoredLatents(store, sizes, sample)
    return Stored(
        latents,
        StoredTexts(store) if data.stored_text and run.conditions.text else None,
        run.training.references_alone if latents.windows else 0,
    )


def check_storable(run: Recipe) -> None:
    """Raises DwmError for changes by chance that a store would lose."""
    data = run.data
    if data.color_jitter is not None:
        raise DwmError(
            "data.color_jitter: stored latents cannot be jittered; set it to null, or train without data.store"
        )
    for index, source in enumerate(data.train):
        if data.stored_text and run.conditions.text and source.words.reorder:
            raise DwmError(
                f"data.train.{index}.words.reorder: embeddings of captions in a random order cannot be stored; set it to "
                "false, or keep the text encoders with data.stored_text=false"
            )


def store_of(run: Recipe, base: Path) -> Store:
    """The part of the run's store that is of its base model."""
    assert run.data.store is not None
    other = None if run.autoencoder_folder is None else Path(run.autoencoder_folder)
    return Store.of(run.data.store, base, other)


def _as_much(first: Bucket, mix: Mix) -> int:
    return max(1, round(first.tokens() / Bucket(mix.size, mix.frames, 1).tokens()))


def _bucket(bucket: Bucket, views: int, most: int) -> Bucket:
    clips = max(1, round(bucket.clips * most / views))
    return replace(bucket, clips=clips, views=views)
