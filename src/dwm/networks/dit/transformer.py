"""The cross-view temporal diffusion transformer: Stable Diffusion 3's, with blocks across views and frames between its own.

Parameter names are those of published weights. It never reads a file, picks a device or knows how it is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from diffusers.models.attention import JointTransformerBlock
from diffusers.models.embeddings import CombinedTimestepTextProjEmbeddings, PatchEmbed, TimestepEmbedding
from diffusers.models.normalization import AdaLayerNormContinuous
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dwm.networks.adapter import LayoutAdapter
from dwm.networks.attention import Grid, GroupedAttention, JointAttention, NeighbourAttention
from dwm.networks.blocks import AlphaBlender, ExtraBlock, Mixer
from dwm.networks.dit.mask import Masking, MaskModule
from dwm.networks.dit.options import SINUSOID, DiTOptions
from dwm.networks.dit.prepared import Prepared
from dwm.networks.feed_forward import use_our_kernels
from dwm.networks.inputs import Conditions
from dwm.networks.perspective import RayEncoder, rays, sinusoid, token_intrinsics


class CrossviewTemporalDiT(nn.Module):
    """Predicts the flow's velocity (noise − clean latent) for all frames and views of a clip together."""

    parts: ClassVar[Mapping[str, str]] = {
        "temporal_transformer_blocks": "temporal",
        "time_mixers": "temporal",
        "time_pos_embeds": "temporal",
        "crossview_transformer_blocks": "cross-view",
        "view_mixers": "cross-view",
        "view_pos_embeds": "cross-view",
        "view_embedding": "cameras",
        "rayencoder": "cameras",
        "condition_image_adapter": "layout",
        "transformer_blocks": "spatial",
    }

    def __init__(self, options: DiTOptions):
        super().__init__()
        self.options = o = options
        width = o.width
        self.out_channels = o.out_channels or o.in_channels
        self.gradient_checkpointing = False
        self.temporal_checkpointing = o.temporal_gradient_checkpointing
        self.crossview_checkpointing = o.crossview_gradient_checkpointing
        self.agreed: Callable[[bool], bool] = bool
        """Whether blocks run that only some items want; replaced where several processes must decide alike in training."""
        self.pos_embed = PatchEmbed(
            height=o.sample_size,
            width=o.sample_size,
            patch_size=o.patch_size,
            in_channels=o.in_channels,
            embed_dim=width,
            pos_embed_max_size=o.pos_embed_max_size,
        )
        self.time_text_embed = CombinedTimestepTextProjEmbeddings(width, o.pooled_projection_dim)
        self.context_embedder = nn.Linear(o.joint_attention_dim, width)
        self.transformer_blocks = nn.ModuleList(_spatial_block(o, i) for i in range(o.num_layers))
        self.norm_out = AdaLayerNormContinuous(width, width, elementwise_affine=False, eps=1e-6)
        self.proj_out = nn.Linear(width, o.patch_size**2 * self.out_channels)
        if o.perspective_modeling_type == "implicit":
            self.view_embedding = TimestepEmbedding(o.projection_class_embeddings_input_dim, width)
        elif o.perspective_modeling_type == "explicit":
            self.rayencoder = RayEncoder(width)
        if o.condition_image_adapter_config is not None:
            self.condition_image_adapter = LayoutAdapter(o.condition_image_adapter_config)
        self.temporal_layers = o.temporal_block_layers if o.enable_temporal else ()
        self.crossview_layers = o.crossview_block_layers if o.enable_crossview else ()
        if o.enable_temporal:
            self.temporal_transformer_blocks = _extra_blocks(o, "temporal", len(self.temporal_layers))
            self.time_mixers = _mixers(o, len(self.temporal_layers))
            self.time_pos_embeds = _index_embeddings(width, len(self.temporal_layers))
        if o.enable_crossview:
            self.crossview_transformer_blocks = _extra_blocks(o, "crossview", len(self.crossview_layers))
            self.view_mixers = _mixers(o, len(self.crossview_layers))
            self.view_pos_embeds = _index_embeddings(width, len(self.crossview_layers))
        if o.mask_module is not None:
            self.mask_module = MaskModule(o.mask_module, o.interleaved_modulation)

    @property
    def dtype(self) -> torch.dtype:
        return self.proj_out.weight.dtype

    def prepare(self, conditions: Conditions, latent_shape: tuple[int, ...]) -> Prepared:
        """All that stays the same over the sampling steps, for latents of shape (b, t, v, c, h, w). Differentiable."""
        b, t, v, _, height, width = latent_shape
        patch = self.options.patch_size
        if height % patch or width % patch:
            raise ValueError(f"latents of {height}×{width} do not divide into patches of {patch}×{patch}")
        if conditions.text is None or conditions.pooled is None:
            raise ValueError("the transformer needs conditions.text and conditions.pooled")
        grid = Grid(b, t, v, height // patch, width // patch)
        pooled = conditions.pooled.flatten(0, 2).to(self.dtype)
        camera = self._camera(conditions, grid)
        per_picture = camera if camera is not None and camera.shape[3] == 1 else None
        on_frames = self.options.enable_crossview and not self.options.disable_view_emb_on_temporal_module
        return Prepared(
            grid=grid,
            text=self.context_embedder(conditions.text.flatten(0, 2).to(self.dtype)),
            pooled=self.time_text_embed.text_embedder(pooled),
            residuals=self._layout_residuals(conditions.layout, grid),
            frame_embeddings=tuple(
                _plus(_index_vectors(mlp, t, self.dtype)[None, :, None, None], per_picture if on_frames else None)
                for mlp in getattr(self, "time_pos_embeds", ())
            ),
            view_embeddings=tuple(
                _plus(_index_vectors(mlp, v, self.dtype)[None, None, :, None], per_picture)
                for mlp in getattr(self, "view_pos_embeds", ())
            ),
            rays=camera if per_picture is None else None,
            crossview_mask=self._token_mask(conditions.crossview_mask, grid),
            neighbours=None if conditions.crossview_index is None else conditions.crossview_index.unflatten(1, (v, 3)),
            disable_crossview=conditions.disable_crossview,
            disable_temporal=conditions.disable_temporal,
            run_crossview=self._runs("view_mixers", conditions.disable_crossview, conditions.any_crossview),
            run_temporal=self._runs("time_mixers", conditions.disable_temporal, conditions.any_temporal),
        )

    def forward(
        self,
        sample: Float[Tensor, "b t v c h w"],
        timestep: Num[Tensor, "b t v"],
        prepared: Prepared,
        masking: Masking | None = None,
    ) -> Float[Tensor, "b t v o h w"]:
        """The velocity of `sample` at `timestep` = 1000·σ, one per picture. `masking` is for training with a mask module."""
        x = self.pos_embed(sample.flatten(0, 2).to(self.dtype)).contiguous()
        temb = self._time_embedding(timestep.flatten(), prepared)
        if masking is None or self.options.mask_module is None:
            x = self._all_blocks(x, temb, prepared)
        else:
            x = self._masked_blocks(x, timestep.flatten(), temb, prepared, masking)
        return self._unpatchify(self.proj_out(self.norm_out(x, temb)), prepared.grid)

    def _all_blocks(self, x: Tensor, temb: Tensor, prepared: Prepared) -> Float[Tensor, "btv n d"]:
        count, cache = self.options.num_layers, prepared.cache
        if cache is None:
            return self._blocks(range(count), x, prepared.text, temb, prepared)[0]
        after, text = self._blocks(range(1), x, prepared.text, temb, prepared)
        if text is None:
            return after
        return after + cache(after - x, lambda: self._blocks(range(1, count), after, text, temb, prepared)[0] - after)

    def _blocks(
        self, layers: range, x: Tensor, text: Tensor, temb: Tensor, prepared: Prepared
    ) -> tuple[Float[Tensor, "btv n d"], Float[Tensor, "btv l d"] | None]:
        for i in layers:
            if i < len(prepared.residuals):
                x = x + prepared.residuals[i]
            text, x = self._recomputed(self.gradient_checkpointing, self.transformer_blocks[i], x, text, temb)
            if prepared.run_temporal and i in self.temporal_layers:
                x = self._temporal(self.temporal_layers.index(i), x, prepared)
            if prepared.run_crossview and i in self.crossview_layers:
                x = self._crossview(self.crossview_layers.index(i), x, prepared)
        return x, text

    def _masked_blocks(self, x: Tensor, timestep: Tensor, temb: Tensor, prepared: Prepared, masking: Masking) -> Tensor:
        assert self.options.mask_module is not None  # `forward` asked
        count, last = self.options.num_layers, self.options.mask_module.decode_layer
        x, dropped, at_remaining = self.mask_module.drop(x, timestep, prepared, masking)
        x, text = self._blocks(range(count - last), x, prepared.text, temb, at_remaining)
        x = self.mask_module.refill(x, dropped, temb, prepared.text, prepared.grid)
        assert text is not None  # the last layer alone gives none
        return self._blocks(range(count - last, count), x, text, temb, prepared)[0]

    def blocks(self) -> list[nn.Module]:
        names = ("transformer_blocks", "crossview_transformer_blocks", "temporal_transformer_blocks")
        return [block for name in names for block in getattr(self, name, ())]

    def tokens(self, latent_shape: tuple[int, ...]) -> int:
        b, t, v, _, h, w = latent_shape
        return b * t * v * (h // self.options.patch_size) * (w // self.options.patch_size)

    def blank_conditions(self, latent_shape: tuple[int, ...], text: int, layout: tuple[int, int]) -> Conditions:
        o, lead = self.options, latent_shape[:3]
        adapter, ids = o.condition_image_adapter_config, o.projection_class_embeddings_input_dim or 0

        def empty(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.empty(*lead, *size, dtype=dtype, device=self.proj_out.weight.device)

        rays = o.perspective == "explicit"
        return Conditions(
            text=empty(text, o.joint_attention_dim, dtype=self.dtype),
            pooled=empty(o.pooled_projection_dim, dtype=self.dtype),
            layout=None if adapter is None else empty(adapter.in_channels, *layout, dtype=self.dtype),
            added_ids=empty(ids // SINUSOID) if o.perspective == "implicit" else None,
            intrinsics_norm=empty(3, 3) if rays else None,
            ego0_from_camera=empty(4, 4) if rays else None,
            crossview_mask=empty(latent_shape[2], dtype=torch.bool)[:, 0],
        )

    def with_every_block(self, prepared: Prepared, latent_shape: tuple[int, ...]) -> Prepared:
        return prepared

    def enable_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Recompute the spatial blocks in the backward pass, and the rest where the options say so; or nothing at all."""
        o = self.options
        self.gradient_checkpointing = enabled
        self.temporal_checkpointing = enabled and o.temporal_gradient_checkpointing
        self.crossview_checkpointing = enabled and o.crossview_gradient_checkpointing
        if (adapter := o.condition_image_adapter_config) is not None:
            self.condition_image_adapter.gradient_checkpointing = enabled and adapter.gradient_checkpointing

    def _runs(self, mixers: str, disable: Bool[Tensor, "b *_"] | None, answer: bool | None) -> bool:
        """Whether extra blocks must run at all; where it is not `known`, this is the one place that waits for the device."""
        layers = getattr(self, mixers, ())
        if len(layers) == 0:
            return False
        if not layers[0].switchable or disable is None:
            return True
        runs = not bool(disable.all()) if answer is None else answer
        return self.agreed(runs) if self.training else runs

    def _time_embedding(self, timestep: Num[Tensor, "btv"], prepared: Prepared) -> Float[Tensor, "btv d"]:
        wave = self.time_text_embed.time_proj(timestep).to(self.dtype)
        return self.time_text_embed.timestep_embedder(wave) + prepared.pooled

    def _temporal(self, k: int, x: Tensor, prepared: Prepared) -> Tensor:
        use_rays = self.options.enable_crossview and not self.options.disable_view_emb_on_temporal_module
        offset = _plus(prepared.frame_embeddings[k], prepared.rays if use_rays else None)
        stream = prepared.grid.unflatten(x)
        block = self._recomputed(
            self.temporal_checkpointing, self.temporal_transformer_blocks[k], stream + offset, prepared.grid
        )
        return self.time_mixers[k](stream, block, prepared.disable_temporal).flatten(0, 2)

    def _crossview(self, k: int, x: Tensor, prepared: Prepared) -> Tensor:
        stream = prepared.grid.unflatten(x)
        block = self._recomputed(
            self.crossview_checkpointing,
            self.crossview_transformer_blocks[k],
            stream + _plus(prepared.view_embeddings[k], prepared.rays),
            prepared.grid,
            prepared.crossview_mask,
            prepared.neighbours,
        )
        return self.view_mixers[k](stream, block, prepared.disable_crossview).flatten(0, 2)

    def _recomputed(self, recompute: bool, block: nn.Module, *inputs: object) -> Any:
        if recompute and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _camera(self, conditions: Conditions, grid: Grid) -> Float[Tensor, "b t v #n d"] | None:
        """The perspective embedding: one vector per picture, or one per token."""
        lead = (grid.b, grid.t, grid.v)
        if self.options.perspective_modeling_type == "implicit":
            if conditions.added_ids is None:
                raise ValueError("implicit perspective needs conditions.added_ids")
            ids = sinusoid(conditions.added_ids.flatten(), SINUSOID).unflatten(0, (grid.pictures, -1)).flatten(1)
            return self.view_embedding(ids.to(self.dtype)).unflatten(0, lead)[:, :, :, None]
        if self.options.perspective_modeling_type == "explicit":
            if conditions.intrinsics_norm is None or conditions.ego0_from_camera is None:
                raise ValueError("explicit perspective needs conditions.intrinsics_norm and ego0_from_camera")
            intrinsics = token_intrinsics(conditions.intrinsics_norm.flatten(0, 2), grid.h, grid.w)
            encoded = self.rayencoder(*rays(intrinsics, conditions.ego0_from_camera.flatten(0, 2), grid.h, grid.w))
            return encoded.flatten(1, 2).unflatten(0, lead)
        return None

    def _layout_residuals(
        self, layout: Float[Tensor, "b t v k H W"] | None, grid: Grid
    ) -> tuple[Float[Tensor, "btv n d"], ...]:
        if layout is None or self.options.condition_image_adapter_config is None:
            return ()
        features = self.condition_image_adapter(layout.to(self.dtype))[: self.options.num_layers]
        for feature in features:
            if feature.shape[:3] != (grid.b, grid.t, grid.v) or feature.shape[-2:] != (grid.h, grid.w):
                raise ValueError(
                    f"a layout of shape {tuple(layout.shape)} gives residuals of {tuple(feature.shape)}, but the latents "
                    f"have {(grid.b, grid.t, grid.v)} pictures of {grid.h}×{grid.w} tokens"
                )
        return tuple(feature.flatten(0, 2).flatten(2).transpose(1, 2).contiguous() for feature in features)

    def _token_mask(self, mask: Bool[Tensor, "b v v"] | None, grid: Grid) -> Bool[Tensor, "b 1 s s"] | None:
        kind = self.options.crossview_attention_type
        if mask is None or not self.crossview_layers or kind not in ("rowwise", "full"):
            return None
        per_view = grid.w if kind == "rowwise" else grid.h * grid.w
        return mask.repeat_interleave(per_view, 1).repeat_interleave(per_view, 2)[:, None]

    def _unpatchify(self, tokens: Float[Tensor, "btv n ppo"], grid: Grid) -> Float[Tensor, "b t v o h w"]:
        p = self.options.patch_size
        pixels = tokens.view(grid.b, grid.t, grid.v, grid.h, grid.w, p, p, self.out_channels)
        return pixels.permute(0, 1, 2, 7, 3, 5, 4, 6).reshape(grid.b, grid.t, grid.v, -1, grid.h * p, grid.w * p)


def _spatial_block(o: DiTOptions, i: int) -> JointTransformerBlock:
    block = JointTransformerBlock(
        dim=o.width,
        num_attention_heads=o.num_attention_heads,
        attention_head_dim=o.attention_head_dim,
        context_pre_only=i == o.num_layers - 1,
        qk_norm=o.qk_norm,
        use_dual_attention=i in o.dual_attention_layers,
    )
    block.attn.set_processor(JointAttention())
    if block.use_dual_attention:
        block.attn2.set_processor(JointAttention())
    return use_our_kernels(block)


def _extra_blocks(o: DiTOptions, axis: str, count: int) -> nn.ModuleList:
    heads, norm = o.num_attention_heads, o.qk_norm_on_additional_modules
    kind = o.temporal_attention_type if axis == "temporal" else o.crossview_attention_type

    def make() -> GroupedAttention:
        if kind in ("fuse", "adj_fuse"):
            return NeighbourAttention(o.width, heads, norm, two_frames=kind == "adj_fuse")
        assert kind is not None  # options with such blocks name it
        return GroupedAttention(o.width, heads, norm, (axis, kind))

    return nn.ModuleList(ExtraBlock(o.width, make()) for _ in range(count))


def _mixers(o: DiTOptions, count: int) -> nn.ModuleList:
    if o.mixer_type == "Mixer":
        return nn.ModuleList(Mixer(o.width) for _ in range(count))
    return nn.ModuleList(AlphaBlender(o.merge_factor, o.merge_strategy) for _ in range(count))


def _index_embeddings(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(TimestepEmbedding(width, 4 * width, out_dim=width) for _ in range(count))


def _index_vectors(mlp: TimestepEmbedding, count: int, dtype: torch.dtype) -> Float[Tensor, "count d"]:
    weight = mlp.linear_1.weight
    indices = torch.arange(count, device=weight.device)
    return mlp(sinusoid(indices, weight.shape[1]).to(dtype))


def _plus(a: Tensor, b: Tensor | None) -> Tensor:
    return a if b is None else a + b
