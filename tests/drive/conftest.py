"""A small pipeline of six views whose network is spread, not trained: every condition shows in its pictures."""

from __future__ import annotations

import pytest
import torch

from dwm.base_models import BaseModel
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.checkpoints import SamplingOptions, WeightsCard
from dwm.generation import DrivingPipeline
from dwm.networks import AdapterOptions, CrossviewTemporalDiT, DiTOptions

TINY = TinyOptions(
    clip_tokens=8, t5_tokens=4, clip_width=8, t5_width=16, autoencoder_widths=(8, 8, 8, 16), latent_channels=4
)
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
CARD = WeightsCard(
    name="tiny",
    sizes=((32, 16),),
    lengths=(1, 4),
    view_counts=(6,),
    sampling=SamplingOptions(num_inference_steps=4, guidance_scale=2.0, reference_frames=2),
)


@pytest.fixture(scope="session")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> DrivingPipeline:
    """Never trained, but whole."""
    folder = tmp_path_factory.mktemp("drive") / "base"
    create_tiny_base_model(folder, ["day night rain clear"], seed=1, options=TINY)
    network = CrossviewTemporalDiT(NETWORK)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        elif "mix_factor" not in name:
            parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return DrivingPipeline(network.eval().requires_grad_(False), BaseModel.load(folder), CARD)
