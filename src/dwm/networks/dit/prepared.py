"""What a transformer computes once from its conditions and then uses in every sampling step."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from dwm.networks.attention import Grid
from dwm.networks.step_cache import FirstBlockCache


@dataclass(frozen=True)
class Prepared:
    """Conditions in the network's own terms; made by `CrossviewTemporalDiT.prepare`, valid for one latent shape.

    frame_embeddings and view_embeddings hold one entry per extra block, already with the camera embedding where that is
    one vector per picture; rays is the camera embedding per token, added at the use. run_* say whether any item of the
    batch uses the blocks at all, decided here so that the sampling loop never waits for the device. cache: set by who takes
    the steps, where all blocks but the first may be taken from a step before.
    """

    grid: Grid
    text: Float[Tensor, "btv l d"]
    pooled: Float[Tensor, "btv d"]
    residuals: tuple[Float[Tensor, "btv n d"], ...]
    frame_embeddings: tuple[Float[Tensor, "#b t #v 1 d"], ...]
    view_embeddings: tuple[Float[Tensor, "#b #t v 1 d"], ...]
    rays: Float[Tensor, "b t v n d"] | None
    crossview_mask: Bool[Tensor, "b 1 s s"] | None
    neighbours: Int[Tensor, "b v 3"] | None
    disable_crossview: Bool[Tensor, "b *_"] | None
    disable_temporal: Bool[Tensor, "b *_"] | None
    run_crossview: bool
    run_temporal: bool
    cache: FirstBlockCache | None = None
