"""The recipes of the embedded weights: small enough to be learned and shown on two cores."""

from __future__ import annotations

from dwm.conditions import ConditionOptions
from dwm.networks import AdapterOptions, DiTOptions
from dwm.recipes.data import DataOptions, SourceOptions
from dwm.recipes.recipe import Recipe
from dwm.recipes.registry import recipe

WIDTH = 160
ODD, EVEN = (1, 3, 5, 7), (0, 2, 4, 6)


@recipe("town")
def town() -> Recipe:
    """The embedded world at 160×96, six views, eight frames at 4 Hz; trains on two cores."""
    source = SourceOptions(kind="town", rates=((4, 0.5),), validation_rates=((4, 0.5),))
    network = DiTOptions(
        num_layers=8,
        attention_head_dim=WIDTH // 4,
        num_attention_heads=4,
        sample_size=32,
        in_channels=8,
        out_channels=8,
        joint_attention_dim=96,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=96,
        pos_embed_max_size=32,
        qk_norm="rms_norm",
        qk_norm_on_additional_modules="rms_norm",
        perspective_modeling_type="explicit",
        condition_image_adapter_config=AdapterOptions(
            in_channels=6,
            channels=(WIDTH,) * 3,
            is_downblocks=(False,) * 3,
            num_res_blocks=1,
            downscale_factor=16,
            use_zero_convs=True,
            gradient_checkpointing=False,
        ),
        enable_crossview=True,
        crossview_attention_type="rowwise",
        crossview_block_layers=ODD,
        enable_temporal=True,
        temporal_attention_type="pointwise",
        temporal_block_layers=EVEN,
        merge_factor=0.0,
    )
    return Recipe(
        base_model="town",
        data=DataOptions(sources=(source,), size=(160, 96), frames=8, validation_frames=8),
        conditions=ConditionOptions(explicit_view_modeling=True),
        network=network,
    )
