"""Options of the base models that we make. Builds nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwm.options import Options


class TinyOptions(Options):
    """Sizes of a tiny base model. The network sees text of width `t5_width` and a pooled vector of 2 × `clip_width`."""

    family: Literal["sd3", "sd21"] = Field(
        "sd3", description="whose layout: sd21 has one CLIP encoder and DDPM's noise"
    )
    video: bool = Field(False, description="a causal video autoencoder: 4 frames a latent after the first")
    clip_tokens: int = Field(16, le=4096, description="length of both CLIP parts in tokens, start and end included")
    t5_tokens: int = Field(8, le=4096, description="length of the T5 part in tokens, the end included")
    clip_width: int = Field(48, le=65536, description="hidden and projected width of each CLIP text encoder")
    clip_layers: int = Field(
        2, le=100, description="layers of each CLIP text encoder; the sequence leaves before the last"
    )
    t5_width: int = Field(96, le=65536, description="width of the T5 encoder; at least 2 × clip_width")
    t5_layers: int = Field(1, le=100, description="layers of the T5 encoder")
    latent_channels: int = Field(8, le=4096, description="channels of a latent")
    autoencoder_widths: tuple[int, ...] = Field(
        (24, 32, 64, 128), description="channels per level; each halves but one"
    )
    norm_groups: int = Field(8, le=65536, description="groups of the autoencoder's norms")
    shift: float = Field(1.5, description="shift of the flow's times towards noise; small latents need little")
