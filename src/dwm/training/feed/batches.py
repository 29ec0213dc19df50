"""The feed: micro-batches by number from readers and the store, prepared by worker processes ahead of their use.

A micro-batch depends on seed and number alone, whatever the processes: a run goes on with any of them. It trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from dwm.base_models import Moments, StoredText
from dwm.clip_batch import ClipBatch, as_floats
from dwm.data import merge
from dwm.data.digests import pixel_keys, window_keys
from dwm.data.readers import Ask, Part, Reader
from dwm.data.workers import training_worker_errors
from dwm.errors import DwmError
from dwm.latents.store import StoredLatents, StoredTexts
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan
from dwm.training.loop.step import step_generator

Batch = TypeVar("Batch")
AHEAD = 3
"""Micro-batches that each worker prepares ahead."""


@dataclass(frozen=True)
class DrivingBatch:
    """Clips with their layouts; their pictures' latents where the store has them (else clips.frames are there), and the
    embeddings of their words. references: latents of the first frames encoded by themselves. places: what it is, in words.
    """

    clips: ClipBatch
    latents: Moments | None = None
    references: Moments | None = None
    text: StoredText | None = None
    origins: tuple[str, ...] = ()

    def to(self, device: torch.device) -> DrivingBatch:
        """The same on a device, pictures as floats; copies from pinned memory do not wait."""
        return self.map(lambda value: as_floats(value.to(device, non_blocking=True)))

    def pin_memory(self) -> DrivingBatch:
        """Called by the loader where there is a device to copy to."""
        return self.map(Tensor.pin_memory)

    def map(self, change: Callable[[Tensor], Tensor]) -> DrivingBatch:
        """The same with every tensor changed."""
        return replace(
            self,
            clips=self.clips.map(change),
            latents=None if self.latents is None else self.latents.map(change),
            references=None if self.references is None else self.references.map(change),
            text=None if self.text is None else self.text.map(change),
        )


@dataclass(frozen=True)
class Stored:
    """What comes from the store. references: first frames of a window that are also encoded alone."""

    latents: StoredLatents | None = None
    texts: StoredTexts | None = None
    references: int = 0


class NumberedFeed(torch.utils.data.Dataset, Generic[Batch]):
    """Item n is micro-batch n, made by `batch`; worker processes prepare them ahead, in their order. `draws`: whether pictures
    are rendered, which no forked process can."""

    def __init__(self, workers: int = 0, pin: bool = False, draws: bool = False):
        self.workers, self.pin, self.draws = workers, pin, draws

    def batch(self, number: int) -> Batch:
        """Micro-batch `number`, made in this process."""
        raise NotImplementedError

    def __getitem__(self, number: int) -> Batch | DwmError:  # type: ignore[override]
        """As `batch`; what is wrong comes in its place, so that it leaves a worker as the one line that it is."""
        try:
            return self.batch(number)
        except DwmError as error:
            return error

    def batches(self, start: int, every: int = 1) -> Iterator[Batch]:
        """Endless micro-batches start, start + every, …, prepared ahead by the workers."""
        if not self.workers:
            for number in count(start, every):
                yield self.batch(number)
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=_Numbers(start, every),
            num_workers=self.workers,
            collate_fn=_same,
            pin_memory=self.pin,
            prefetch_factor=AHEAD,
            generator=torch.Generator(),
            # Forked processes are here at once, but renderers do not survive it.
            multiprocessing_context="spawn" if self.draws else None,
        )
        with training_worker_errors(self.workers):
            for batch in loader:
                if isinstance(batch, DwmError):
                    raise batch
                yield batch


class Feed(NumberedFeed[DrivingBatch]):
    """What the driving network sees. views: cameras of each clip, neighbours drawn at random; None: all."""

    def __init__(
        self,
        readers: Sequence[Reader],
        joined: Joined,
        plan: Plan,
        seed: int,
        views: int | None = None,
        stored: Stored = Stored(),
        workers: int = 0,
        pin: bool = False,
    ):
        super().__init__(workers, pin, draws=any(reader.draws for reader in readers))
        self.readers, self.joined, self.plan, self.seed = list(readers), joined, plan, seed
        self.views, self.stored = views, stored
        if stored.latents is not None:
            self._check_windows()
            self._check_pictures()

    def batch(self, number: int) -> DrivingBatch:
        """Micro-batch `number`, made in this process."""
        micro, generator = self.plan.micro(number), step_generator(self.seed + 1, number)
        bucket, parts = micro.bucket, []
        for clip in micro.clips:
            which, index = self.joined.locate(clip)
            reader = self.readers[which]
            frames = cut(reader.frames, bucket.frames, generator)
            count = bucket.cut or self.views
            views = slice(None) if count is None else cut(reader.views, count, generator)
            pictures = self.stored.latents is None
            parts.append(reader.read(Ask(index, bucket.size, micro.epoch, frames, views, pictures)))
        # Of one layout in memory, whoever made them: convolutions sum in another order otherwise.
        clips = merge(_evened([part.clips for part in parts])).map(Tensor.contiguous)
        latents = self._latents(parts, bucket)
        return DrivingBatch(
            clips,
            latents,
            self._latents([_head(part, self.stored.references) for part in parts], bucket)
            if self.stored.references and latents is not None
            else None,
            None if self.stored.texts is None else self.stored.texts.of([*_texts(clips), ""]),
            tuple(part.where for part in parts),
        )

    def _latents(self, parts: Sequence[Part], bucket: Bucket) -> Moments | None:
        if self.stored.latents is None:
            return None
        t, v = parts[0].keys.shape[:2]
        whose = ", ".join(part.where for part in parts)
        if not self.stored.latents.windows:
            keys = np.concatenate([part.keys.reshape(-1, 2) for part in parts])
            moments = self.stored.latents.moments(keys, bucket.size, whose)
            return moments.map(lambda value: value.unflatten(0, (len(parts), t, v)))
        keys = np.concatenate([window_keys(part.keys) for part in parts])
        moments = self.stored.latents.moments(keys, bucket.size, whose)
        # (b v) c s h w, s latents of a window
        return moments.map(lambda value: value.unflatten(0, (len(parts), v)).permute(0, 3, 1, 2, 4, 5).contiguous())

    def _check_windows(self) -> None:
        assert self.stored.latents is not None
        for bucket in self.plan.buckets:
            if self.stored.latents.windows and any(reader.frames != bucket.frames for reader in self.readers):
                raise DwmError(
                    f"data.store: this autoencoder makes latents of whole windows, so that clips must be cut as they are "
                    f"trained: {bucket.frames} frames; set data.train.0.frames={bucket.frames}"
                )

    def _check_pictures(self) -> None:
        """Compares one picture of each source with what the store's latents were made of."""
        assert self.stored.latents is not None
        for reader in self.readers:
            if getattr(reader, "jitter", None) is not None:
                raise DwmError(
                    "data.color_jitter: stored latents cannot be jittered; leave data.store or the jitter out"
                )
            bucket = next((b for b in self.plan.buckets if b.views in (None, reader.views)), self.plan.buckets[0])
            windows = self.stored.latents.windows
            frames = slice(None) if windows else slice(0, 1)
            part = reader.read(Ask(0, bucket.size, frames=frames, views=slice(0, 1)))
            keys = window_keys(part.keys) if windows else part.keys[0]
            self.stored.latents.moments(keys, bucket.size, part.where)
            if part.clips.frames is None:
                continue
            shown_pixels, stored_pixels = (
                pixel_keys(part.clips.frames[0]),
                self.stored.latents.pixels(keys, bucket.size),
            )
            if not np.array_equal(shown_pixels, stored_pixels):
                raise DwmError(
                    f"data.store: its latents are of other pictures than {part.where} shows now; encode into another folder"
                )


class _Numbers(Sampler):
    def __init__(self, start: int, every: int):
        self.start, self.every = start, every

    def __iter__(self) -> Iterator[int]:
        return count(self.start, self.every)


def _same(batch: Any) -> Any:
    return batch


def cut(length: int, count: int, generator: torch.Generator) -> slice:
    """`count` neighbours of `length`, anywhere."""
    if count > length:
        raise DwmError(f"training.batch: {count} frames or views of clips that have {length}; cut longer clips")
    start = int(torch.randint(length - count + 1, (), generator=generator))
    return slice(start, start + count)


def _head(part: Part, frames: int) -> Part:
    return replace(part, keys=part.keys[:frames])


def _texts(clips: ClipBatch) -> list[str]:
    return [] if clips.captions is None else [text for clip in clips.captions for row in clip for text in row]


def _evened(clips: Sequence[ClipBatch]) -> list[ClipBatch]:
    """What only some clips say of themselves is said by all: every view sees every other, cameras are known, no words."""
    masked = any(clip.crossview_mask is not None for clip in clips)
    flagged = any(clip.is_uncalibrated is not None for clip in clips)
    worded = any(clip.captions is not None for clip in clips)
    even = []
    for clip in clips:
        _, t, v = clip.shape
        changes: dict[str, Any] = {}
        if masked and clip.crossview_mask is None:
            changes["crossview_mask"] = torch.ones(1, v, v, dtype=torch.bool)
        if flagged and clip.is_uncalibrated is None:
            changes["is_uncalibrated"] = torch.zeros(1, dtype=torch.bool)
        if worded and clip.captions is None:
            changes["captions"] = ((("",) * v,) * t,)
        even.append(replace(clip, **changes))
    return even
