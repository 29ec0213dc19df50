"""Readers: the clips of one source as batches of one, cut and resized as a micro-batch asks. They know no file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dwm.clip import Clip
from dwm.clip_batch import ClipBatch, as_floats
from dwm.data import CaptionOptions, LayoutOptions, prepare
from dwm.data.captions import variants
from dwm.data.digests import as_bytes, picture_keys
from dwm.data.loading import Windows
from dwm.errors import DwmError

Size = tuple[int, int]
Strengths = tuple[float, float, float]
"""Of changes in brightness, contrast and saturation."""
ALL = slice(None)
GREY = torch.tensor([0.299, 0.587, 0.114])
"""Shares of red, green and blue in what is seen as brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class Ask:
    """What a micro-batch wants of clip `index`. `pictures`: the photographs; without them latents are at hand."""

    index: int
    size: Size
    epoch: int = 0
    frames: slice = field(default_factory=lambda: ALL)
    views: slice = field(default_factory=lambda: ALL)
    pictures: bool = True


@dataclass(frozen=True)
class Part:
    """A clip, or a part of one, as a batch of one, pictures as bytes; the keys of its pictures; where it is from, in words."""

    clips: ClipBatch
    keys: Int[np.ndarray, "t v 2"]
    where: str


@dataclass(frozen=True)
class Material:
    """What of a clip can be encoded: keys of its pictures, one picture (frame, view, size) at a time, all that is said."""

    keys: Int[np.ndarray, "t v 2"]
    load: Callable[[int, int, Size], UInt8[np.ndarray, "h w 3"]]
    texts: Callable[[], list[str]]
    where: str


@runtime_checkable
class Reader(Protocol):
    """The clips of one source, all of one length and number of views. Picklable."""

    @property
    def frames(self) -> int: ...

    @property
    def views(self) -> int: ...

    @property
    def draws(self) -> bool:
        """Whether pictures are rendered, which no forked process can."""
        ...

    def __len__(self) -> int: ...

    def read(self, ask: Ask) -> Part: ...

    def material(self, index: int) -> Material: ...


@dataclass(frozen=True)
class WindowReader:
    """Windows of a data set, prepared as its options say.

    label: tells data sets apart whose scenes have the same names and times. crossview_mask: which views see each other, in
    place of what the cameras' names say. uncalibrated: cameras are told as unknown. made_up_layout: grey level of the layout
    pictures that stand in for those that the set does not have.
    """

    windows: Windows
    frames: int
    views: int
    layout: LayoutOptions | None = field(default_factory=LayoutOptions)
    words: CaptionOptions = field(default_factory=CaptionOptions)
    jitter: Strengths | None = None
    label: str = ""
    crossview_mask: tuple[tuple[bool, ...], ...] | None = None
    uncalibrated: bool = False
    made_up_layout: float | None = None
    draws: bool = False

    def __len__(self) -> int:
        return len(self.windows)

    def read(self, ask: Ask) -> Part:
        clip = self.windows[ask.index].part(ask.frames, ask.views)
        random = self.words.random(ask.epoch, ask.index)
        batch = prepare(clip, ask.size, self.layout, ask.pictures, self.words, random, as_bytes=True)
        if self.jitter is not None and batch.frames is not None:
            batch = replace(batch, frames=as_bytes(jittered(as_floats(batch.frames), self.jitter, random)))
        if self.crossview_mask is not None:
            mask = torch.tensor(self.crossview_mask)[ask.views, ask.views][None]
            batch = replace(batch, crossview_mask=mask)
        if self.made_up_layout is not None:
            grey = torch.full((*batch.shape, 3, *ask.size[::-1]), round(self.made_up_layout * 255), dtype=torch.uint8)
            batch = replace(batch, layout_boxes=grey, layout_map=grey)
        if self.uncalibrated:
            batch = replace(batch, is_uncalibrated=torch.ones(1, dtype=torch.bool))
        return Part(batch, picture_keys(clip, self.label), where(clip))

    def material(self, index: int) -> Material:
        clip = self.windows[index]
        if clip.pictures is None:
            raise DwmError(f"{where(clip)}: has no pictures to encode")
        captions = clip.captions
        return Material(
            picture_keys(clip, self.label),
            clip.pictures.load,
            lambda: [] if captions is None else variants(captions, self.words),
            where(clip),
        )


def where(clip: Clip) -> str:
    """Scene and time (µs of its first picture)."""
    return f"{clip.scene} at {float(clip.times[0, 0]):.0f}"


def jittered(
    frames: Float[Tensor, "b t v 3 h w"], strengths: Strengths, random: np.random.RandomState
) -> Float[Tensor, "b t v 3 h w"]:
    """Each picture's brightness, contrast and saturation changed by factors of 1 ± strength, in a random order."""
    changed = [_changed(picture, strengths, random) for picture in frames.flatten(0, 2)]
    return torch.stack(changed).view_as(frames)


def _changed(picture: Float[Tensor, "3 h w"], strengths: Strengths, random: np.random.RandomState) -> Tensor:
    factors = [random.uniform(max(0.0, 1 - strength), 1 + strength) for strength in strengths]
    for kind in random.permutation(3):
        grey = (picture * GREY.view(3, 1, 1)).sum(0, keepdim=True)
        towards = (torch.zeros(()), grey.mean(), grey)[kind]
        picture = torch.lerp(towards.expand_as(picture), picture, factors[kind]).clamp(0, 1)
    return picture
