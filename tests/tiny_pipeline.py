"""The parts of a small pipeline whose network is spread, not trained, so that every condition shows in its pictures."""

from __future__ import annotations

import torch

from dwm.base_models.tiny import TinyOptions
from dwm.networks import AdapterOptions, CrossviewTemporalDiT, DiTOptions

TINY = TinyOptions(
    clip_tokens=8, t5_tokens=4, clip_width=8, t5_width=16, autoencoder_widths=(8, 8, 8, 16), latent_channels=4
)
WORDS = ["day night rain clear"]
NETWORK = DiTOptions(
    num_layers=2,
    attention_head_dim=8,
    num_attention_heads=2,
    sample_size=8,
    in_channels=4,
    out_channels=4,
    joint_attention_dim=16,
    caption_projection_dim=16,
    pooled_projection_dim=16,
    pos_embed_max_size=8,
    qk_norm="rms_norm",
    condition_image_adapter_config=AdapterOptions(
        in_channels=6, channels=(16, 16), is_downblocks=(True, False), num_res_blocks=1, downscale_factor=8
    ),
    enable_crossview=True,
    enable_temporal=True,
    crossview_attention_type="rowwise",
    temporal_attention_type="pointwise",
    crossview_block_layers=(0,),
    temporal_block_layers=(1,),
    merge_factor=0.0,
)


def spread_network() -> CrossviewTemporalDiT:
    network = CrossviewTemporalDiT(NETWORK)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        elif "mix_factor" not in name:
            parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.eval().requires_grad_(False)
