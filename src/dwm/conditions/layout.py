"""Pictures of boxes and of the map. What is not given, or dropped, is a picture of one grey level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.conditions.condition import Fields, Request, doubled
from dwm.conditions.options import ConditionOptions
from dwm.devices import send
from dwm.errors import DwmError

CHANNELS = 3
"""The axis of channels of (b, t, v, k, H, W)."""


class Boxes:
    """Pictures of 3-D boxes."""

    name: ClassVar[str] = "boxes"
    dropped_with_all: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, int]] = {"layout": CHANNELS}

    def is_used(self, options: ConditionOptions) -> bool:
        return options.boxes

    def is_drawn(self, options: ConditionOptions) -> bool:
        return True

    def encode(self, request: Request) -> Fields:
        return _layout(request, request.batch.layout_boxes, self.name)


class Map:
    """Pictures of the map."""

    name: ClassVar[str] = "map"
    dropped_with_all: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, int]] = {"layout": CHANNELS}

    def is_used(self, options: ConditionOptions) -> bool:
        return options.map

    def is_drawn(self, options: ConditionOptions) -> bool:
        return True

    def encode(self, request: Request) -> Fields:
        return _layout(request, request.batch.layout_map, self.name)


def _layout(request: Request, pictures: Tensor | None, name: str) -> Fields:
    layout = request.at_latents(_pictures(request, pictures, name))
    return {"layout": doubled(layout, request.options.uncondition_image_color, request)}


def _pictures(request: Request, pictures: Tensor | None, name: str) -> Float[Tensor, "b t v 3 H W"]:
    batch, colour = request.batch, request.options.uncondition_image_color
    if pictures is None:
        width, height = _size(request)
        return torch.full((*batch.shape, 3, height, width), colour, device=batch.fps.device)
    if (keep := request.keep.get(name)) is not None:
        pictures = torch.where(send(keep, pictures.device)[:, None, None, None, None, None], pictures, colour)
    if not request.options.condition_on_all_frames:
        others = torch.full_like(pictures[:, 1:], colour)
        pictures = torch.cat([pictures[:, :1], others], 1)
    return pictures


def _size(request: Request) -> tuple[int, int]:
    batch = request.batch
    pictures = next((p for p in (batch.layout_boxes, batch.layout_map, batch.frames) if p is not None), None)
    if pictures is not None:
        return pictures.shape[-1], pictures.shape[-2]
    if request.size is None:
        raise DwmError("the batch has neither layout nor pictures; give the size of the layout that is not given")
    return request.size
