"""What a condition is: something known of a clip, encoded for the driving networks. To add one is to write one such object.

The table of them, in `conditions/build.py`, says the order in which they are encoded and in which training draws who keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dwm.base_models import TextSource
from dwm.clip_batch import ClipBatch
from dwm.conditions.options import ConditionOptions

Fields = dict[str, Tensor]
"""Fields of `networks.Conditions`. Of several conditions that fill the same one, the channels stand one after another."""


@dataclass(frozen=True)
class Request:
    """What is to be encoded. keep: which clips keep which condition in training, by name; all where it says nothing.

    frames: those that latents stand for. size (width, height) of layout pictures where the batch has none. pose_before: that
    of the frame before the first one, in a stream. gradients trains the text encoders.
    """

    batch: ClipBatch
    options: ConditionOptions
    frames: tuple[int, ...]
    text: TextSource | None = None
    keep: Mapping[str, Bool[Tensor, "b"]] = field(default_factory=dict)
    guidance: bool = False
    negative_prompt: str = ""
    size: tuple[int, int] | None = None
    dtype: torch.dtype = torch.float32
    pose_before: Float[Tensor, "b v 4 4"] | None = None
    gradients: bool = False

    def at_latents(self, value: Tensor) -> Tensor:
        """(b, t, …) at the frames that latents stand for."""
        if len(self.frames) == value.shape[1]:
            return value
        # One by one: a list of indices would be copied to the device, which waits.
        return torch.stack([value[:, frame] for frame in self.frames], 1)


@runtime_checkable
class Condition(Protocol):
    """One condition. It holds nothing: all that decides it comes with the request."""

    name: ClassVar[str]
    """Of its share in training, `keep_NAME` of the objective."""
    dropped_with_all: ClassVar[bool]
    """Whether clips lose it together with the others (`drop_all`)."""
    fields: ClassVar[Mapping[str, int]]
    """The fields of `networks.Conditions` that it fills, and the axis of their channels."""

    def is_used(self, options: ConditionOptions) -> bool:
        """Whether a network of these options is told it."""
        ...

    def is_drawn(self, options: ConditionOptions) -> bool:
        """Whether training draws a number for each clip that decides whether it is kept."""
        ...

    def encode(self, request: Request) -> Fields:
        """Its fields, of b clips; of 2·b, the unconditional ones first, where the request is for guidance."""
        ...


def doubled(conditional: Tensor, unconditional: Tensor | float | None, request: Request) -> Tensor:
    """What `encode` returns: the value, with guidance behind its unconditional one (a number for all; None: the same)."""
    if not request.guidance:
        return conditional
    if unconditional is None:
        unconditional = conditional
    if not isinstance(unconditional, Tensor):
        unconditional = torch.full_like(conditional, unconditional)
    return torch.cat([unconditional, conditional])
