"""What the U-Net computes once from its conditions and then uses in every sampling step."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from dwm.networks.step_cache import FirstBlockCache


@dataclass(frozen=True)
class UNetPrepared:
    """Conditions in the network's own terms; made by `CrossviewTemporalUNet.prepare`, valid for one latent shape.

    run_* say whether any item of the batch uses the blocks at all, so that the sampling loop never waits for the device.
    cache: set by who takes the steps, where all levels but the first may be taken from a step before.
    """

    b: int
    t: int
    v: int
    text: Float[Tensor, "btv l c"]
    camera: Float[Tensor, "btv e"] | None
    residuals: tuple[Float[Tensor, "b _ v _ _ _"], ...]
    """One for each level, with its own channels, rows and columns; one frame may stand for all."""
    crossview_mask: Bool[Tensor, "_ v v"] | None  # one for each clip, or for each of its frames
    disable_crossview: Bool[Tensor, "b *_"] | None
    disable_temporal: Bool[Tensor, "b *_"] | None
    run_crossview: bool
    run_temporal: bool
    cache: FirstBlockCache | None = None
