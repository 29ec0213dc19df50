"""Long videos, window after window: the last frames of each are the known first ones of the next."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.base_models import VideoAutoencoder
from dwm.clip_batch import ClipBatch
from dwm.errors import DwmError
from dwm.generation.sampler import Sampler


def windows(frames: int, length: int, overlap: int, whole: bool = True) -> list[tuple[int, int]]:
    """(first frame, known frames) of each window of `length` over `frames` frames; the first one knows none.

    `whole` shifts a last window back to the end, so that it knows more than `overlap` frames; otherwise frames behind the
    last full step are not made.
    """
    if frames < length:
        raise DwmError(f"{frames} frames are fewer than the {length} of one window; give at least {length}")
    if not 0 <= overlap < length:
        raise DwmError(f"windows of {length} frames cannot share {overlap}; give 0 to {length - 1} reference frames")
    starts = list(range(0, frames - length + 1, length - overlap))
    if whole and starts[-1] + length < frames:
        starts.append(frames - length)
    overlaps = [0, *(a + length - b for a, b in pairwise(starts))]
    return list(zip(starts, overlaps, strict=True))


def roll_out(
    sampler: Sampler, batch: ClipBatch, length: int, overlap: int, references: int = 0, whole: bool = True
) -> Float[Tensor, "b t v 3 H W"]:
    """Pictures of all frames. The first `references` frames come from the batch's own pictures, as the autoencoder shows them."""
    if isinstance(sampler.autoencoder, VideoAutoencoder):
        # A latent of several frames lies at fixed places only; the last window cannot be shifted.
        whole = False
    reference = sampler.reference_latents(batch, references)
    pictures: list[Tensor] = []
    latents = None
    for start, count in windows(batch.shape[1], length, overlap, whole):
        if latents is not None:
            reference = latents[:, -sampler.autoencoder.latent_frames(count) :] if count else None
        latents = sampler.window(batch.frames_from(start, start + length), reference)
        pictures.append(sampler.decode(latents)[:, count:])
    return torch.cat(pictures, 1)


def roll_out_as_published(
    sampler: Sampler, batch: ClipBatch, length: int, overlap: int, references_first: bool = False
) -> Iterator[Float[Tensor, "n 3 H W"]]:
    """The pictures of each window as OpenDWM lists them, oddity kept: clip by clip, frame by frame, view by view.

    As many as the known frames of all clips have are cut off the front of that list, which is right for one clip only.
    `references_first` takes the first known frames from the batch's own pictures.
    """
    b, frames, v = batch.shape
    reference = sampler.reference_latents(batch, overlap if references_first else 0)
    for start, _ in windows(frames, length, overlap, whole=False):
        latents = sampler.window(batch.frames_from(start, start + length), reference)
        cut = overlap * b * v if reference is not None else 0
        yield sampler.decode(latents).flatten(0, 2)[cut:]
        reference = latents[:, -sampler.autoencoder.latent_frames(overlap) :] if overlap else None
