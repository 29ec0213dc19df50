"""The networks on Stable Diffusion 3 and 3.5 that published weights have, in the parts that their recipes share."""

from __future__ import annotations

from dwm.networks import AdapterOptions, DiTOptions

SD35 = "base_model/stable-diffusion-3.5-medium"
SD3 = "base_model/stable-diffusion-3-medium-diffusers"
WIDTH = 1536
SMALL = 1280
EVERY_FOURTH = (1, 5, 9, 13, 17, 21)
PAIRS = (2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23)
NEW_PARTS_ONLY = "^(transformer_blocks|time_text_embed)$"
"""What a warm-up freezes: the base model's blocks. Only what was added to them learns."""
ALL_OF_SD3 = "^(transformer_blocks|time_text_embed|context_embedder|pos_embed|norm_out|proj_out)$"


def layout_adapter(width: int = WIDTH) -> AdapterOptions:
    """Boxes and map, a residual for each of the first six blocks."""
    return AdapterOptions(
        in_channels=6, channels=(width,) * 6, is_downblocks=(True, *(False,) * 5), use_zero_convs=True
    )


LAYOUT = layout_adapter()


def sd35_network() -> DiTOptions:
    """SD 3.5 medium with blocks across views after every fourth block and across frames after pairs between them."""
    return DiTOptions(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=WIDTH,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
        qk_norm_on_additional_modules="rms_norm",
        perspective_modeling_type="implicit",
        projection_class_embeddings_input_dim=2816,
        enable_crossview=True,
        crossview_attention_type="rowwise",
        crossview_block_layers=EVERY_FOURTH,
        crossview_gradient_checkpointing=True,
        enable_temporal=True,
        temporal_attention_type="rowwise",
        temporal_block_layers=PAIRS,
        temporal_gradient_checkpointing=True,
    )


def sd3_unimlvg_network() -> DiTOptions:
    """SD 3 medium as UniMLVG has it: rays of the cameras, and attention over all frames and places at once."""
    return DiTOptions(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=WIDTH,
        pos_embed_max_size=192,
        perspective_modeling_type="explicit",
        enable_crossview=True,
        crossview_attention_type="rowwise",
        crossview_block_layers=EVERY_FOURTH,
        crossview_gradient_checkpointing=True,
        enable_temporal=True,
        temporal_attention_type="full",
        temporal_block_layers=EVERY_FOURTH,
        temporal_gradient_checkpointing=True,
    )
