"""What a driving network is told besides the noisy latents. Knows no text encoder, no camera and no file."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """Inputs that stay the same over all sampling steps. What is None does not exist for the network in use.

    Guidance doubles the batch: the first half is unconditional. layout is in [0, 1], box pictures before map pictures.
    disable_* leave the extra blocks out for an item; any_* say whether any item of the batch wants them, where the caller
    knows: to ask the flags would be to wait for the device. crossview_mask: True where a view (row) may attend to another.
    """

    text: Float[Tensor, "b t v n d"] | None = None
    pooled: Float[Tensor, "b t v p"] | None = None
    layout: Float[Tensor, "b _ v k H W"] | None = None
    added_ids: Float[Tensor, "b t v i"] | None = None
    intrinsics_norm: Float[Tensor, "b t v 3 3"] | None = None
    ego0_from_camera: Float[Tensor, "b t v 4 4"] | None = None
    crossview_mask: Bool[Tensor, "_ v v"] | None = None
    crossview_index: Int[Tensor, "b w"] | None = None
    disable_crossview: Bool[Tensor, "b *_"] | None = None
    disable_temporal: Bool[Tensor, "b *_"] | None = None
    any_crossview: bool | None = None
    any_temporal: bool | None = None
