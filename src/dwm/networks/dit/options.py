"""Options of the driving transformer, under the names that published configs use. Holds and checks them; builds nothing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from dwm.networks.options import AdapterOptions, Compatibility, NetworkOptions
from dwm.options import Options

SINUSOID = 256
"""Width of the sinusoid of each camera number in the implicit perspective embedding."""

QkNorm = Literal["rms_norm", "layer_norm"]


class MaskTokenSources(Options):
    """What dropped tokens are filled with: a time-weighted mix of the sample's noise and a learned vector."""

    type: Literal["trans"] = Field("trans", description="kind of mix; only one is known")
    target: tuple[Literal["noise", "learnable"], Literal["noise", "learnable"]] = Field(
        ("noise", "learnable"), description="source at full noise, source at none"
    )
    proj_field: Literal["large", "small"] = Field("large", description="kernel of the noise projection: 3×3 or 1×1")


class MaskOptions(Options):
    """Masked reconstruction in training: some tokens are dropped for the first blocks and refilled for the last ones."""

    num_heads: int = Field(24, le=1024, description="attention heads of the side blocks")
    attention_head_dim: int = Field(64, le=8192, description="width of a head")
    mlp_ratio: float = Field(4.0, description="width of the side blocks' MLP over the transformer's width")
    decode_layer: int = Field(5, le=1000, description="blocks that still run after the refill")
    interpolater_layer: int = Field(1, le=1000, description="number of side blocks")
    mask_ratio: float | None = Field(
        0.25, description="share of tokens dropped; null: none, the learned vector is fixed"
    )
    mae_mask_type: Literal["constant", "rand_t", "mix_constant_row_t", "row_t_rc"] = Field(
        "constant", description="how places are drawn: same for all frames, per frame, or by rows"
    )
    mae_mask_probs: dict[str, float] | None = Field(
        None, description="row kinds: constant = share of items with one mask"
    )
    forward_mix_interpolater: bool = Field(False, description="also run temporal side blocks (row kinds only)")
    use_origin_mask_token: MaskTokenSources | None = Field(
        MaskTokenSources(), description="what fills dropped places; null: nothing, for inference only"
    )
    mask_token_type: Literal["temporal"] | None = Field(None, description="temporal: one learned vector per frame")
    temporal_pos_embed_size: int | None = Field(None, le=65536, description="frames of the temporal mask token")
    decoder_pos_embed_recipe: str | None = Field("shared", description="kept for old configs; has no effect")
    mask_embed_config: dict[str, Any] | None = Field(None, description="kept for old configs; has no effect")


class DiTOptions(NetworkOptions):
    """The cross-view temporal transformer: Stable Diffusion 3's, with blocks across views and frames between its own."""

    patch_size: int = Field(2, gt=0, description="latent pixels per token and side")
    num_layers: int = Field(18, gt=0, le=1000, description="spatial blocks")
    attention_head_dim: int = Field(64, gt=0, le=8192, description="width of a head")
    num_attention_heads: int = Field(18, gt=0, le=1024, description="heads; the width is heads × head width")
    sample_size: int = Field(128, gt=0, le=65536, description="latent side whose positions the table was made for")
    in_channels: int = Field(16, gt=0, le=65536, description="channels of the latents")
    out_channels: int | None = Field(16, le=65536, description="channels predicted; null: as in_channels")
    joint_attention_dim: int = Field(4096, gt=0, le=65536, description="width of the text sequence")
    caption_projection_dim: int = Field(
        1152, gt=0, le=65536, description="width the text is projected to; must be the width"
    )
    pooled_projection_dim: int = Field(2048, gt=0, le=65536, description="width of the pooled text")
    pos_embed_max_size: int = Field(96, gt=0, le=4096, description="side of the position table, in tokens")
    dual_attention_layers: tuple[int, ...] = Field(
        (), description="blocks with a second attention of image tokens only"
    )
    qk_norm: Literal["rms_norm"] | None = Field(None, description="norm of queries and keys in spatial blocks")
    projection_class_embeddings_input_dim: int | None = Field(
        None, le=65536, description="implicit perspective: 256 × the number of camera numbers"
    )
    condition_image_adapter_config: AdapterOptions | None = Field(None, description="layout adapter; null: no layout")
    enable_crossview: bool = Field(False, description="blocks across views")
    enable_temporal: bool = Field(False, description="blocks across frames")
    crossview_attention_type: Literal["rowwise", "full", "fuse", "adj_fuse"] | None = Field(
        None, description="tokens seen together across views: one row, all, or three neighbours (of two frames)"
    )
    temporal_attention_type: Literal["rowwise", "full", "pointwise"] | None = Field(
        None, description="tokens seen together across frames: one row, all, or one place"
    )
    crossview_block_layers: tuple[int, ...] = Field((), description="spatial blocks followed by a cross-view block")
    temporal_block_layers: tuple[int, ...] = Field((), description="spatial blocks followed by a temporal block")
    merge_factor: float = Field(2.0, description="initial weight of the untouched stream, before the sigmoid")
    merge_strategy: Literal["learned_with_images", "learned", "fixed"] = Field(
        "learned_with_images", description="blending weight: learned and switchable, learned, or fixed"
    )
    mixer_type: Literal["AlphaBlender", "Mixer"] = Field(
        "AlphaBlender", description="how an extra block joins the stream: weighted mean, or scaled residual"
    )
    perspective_modeling_type: Literal["implicit", "explicit", ""] = Field(
        "", description="cameras as numbers (implicit), as rays of each token (explicit), or not at all"
    )
    disable_view_emb_on_temporal_module: bool = Field(
        False, description="leave the camera embedding out of temporal blocks"
    )
    qk_norm_on_additional_modules: QkNorm | None = Field(None, description="norm of queries and keys in extra blocks")
    crossview_gradient_checkpointing: bool = Field(False, description="recompute cross-view blocks in training")
    temporal_gradient_checkpointing: bool = Field(False, description="recompute temporal blocks in training")
    mask_module: MaskOptions | None = Field(None, description="masked reconstruction in training; null: off")
    compatibility: Compatibility = Field(
        "ours", description="reference: keep OpenDWM's oddities (order of the mask module's modulation)"
    )

    @property
    def width(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def latent_multiple(self) -> int:
        return self.patch_size

    @property
    def largest_side(self) -> int | None:
        return self.pos_embed_max_size

    @property
    def perspective(self) -> Literal["implicit", "explicit", ""]:
        return self.perspective_modeling_type

    @property
    def interleaved_modulation(self) -> bool:
        """Whether the mask module's blocks hand out modulation in the order in which published weights learned."""
        return self.compatibility == "reference"

    @property
    def recomputes(self) -> bool:
        return self.temporal_gradient_checkpointing

    def with_compatibility(self, compatibility: Compatibility) -> DiTOptions:
        return self.with_(compatibility=compatibility)

    def without_recomputation(self) -> DiTOptions:
        plain = super().without_recomputation()
        return plain.with_(temporal_gradient_checkpointing=False, crossview_gradient_checkpointing=False)

    def without_switches(self, frames: int, views: int) -> DiTOptions:
        return self.with_(
            merge_strategy="learned",
            mixer_type="AlphaBlender",
            enable_temporal=self.enable_temporal and frames > 1,
            enable_crossview=self.enable_crossview and views > 1,
        )

    @model_validator(mode="before")
    @classmethod
    def _absent_is_empty(cls, values: object) -> object:
        """Published configs write null for "no layers" and for "no perspective"."""
        if not isinstance(values, dict):
            return values
        layers = ("crossview_block_layers", "temporal_block_layers", "dual_attention_layers")
        empty = {**dict.fromkeys(layers, ()), "perspective_modeling_type": ""}
        return {k: empty[k] if v is None and k in empty else v for k, v in values.items()}

    @model_validator(mode="after")
    def _agree(self) -> DiTOptions:
        if self.caption_projection_dim != self.width:
            raise ValueError(
                f"caption_projection_dim is {self.caption_projection_dim}, but num_attention_heads × attention_head_dim "
                f"is {self.width}; they must be equal"
            )
        if self.enable_crossview and self.crossview_attention_type is None:
            raise ValueError("enable_crossview needs a crossview_attention_type: rowwise, full, fuse or adj_fuse")
        if self.enable_temporal and self.temporal_attention_type is None:
            raise ValueError("enable_temporal needs a temporal_attention_type: rowwise, full or pointwise")
        ids = self.projection_class_embeddings_input_dim
        if self.perspective_modeling_type == "implicit" and (ids is None or ids % SINUSOID):
            raise ValueError(
                f"projection_class_embeddings_input_dim is {ids}; implicit perspective needs {SINUSOID} × the number of ids"
            )
        for name in ("crossview_block_layers", "temporal_block_layers", "dual_attention_layers"):
            layers = getattr(self, name)
            if len(set(layers)) != len(layers) or any(not 0 <= i < self.num_layers for i in layers):
                raise ValueError(
                    f"{name} must name different blocks from 0 to {self.num_layers - 1}, found {list(layers)}"
                )
        adapter = self.condition_image_adapter_config
        if adapter is not None and any(c != self.width for c in adapter.channels[: self.num_layers]):
            raise ValueError(
                f"condition_image_adapter_config.channels must all be {self.width}, found {adapter.channels}"
            )
        if self.mask_module is not None:
            mask = self.mask_module
            if mask.num_heads * mask.attention_head_dim != self.width or self.width % 16:
                raise ValueError(f"mask_module: num_heads × attention_head_dim must be {self.width}, a multiple of 16")
            if not 0 < mask.decode_layer <= self.num_layers:
                raise ValueError(
                    f"mask_module.decode_layer must lie from 1 to {self.num_layers}, found {mask.decode_layer}"
                )
        return self
