"""Parts of the U-Net: a residual block and a transformer that also work across frames and views."""

from __future__ import annotations

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dwm.networks.attention import Grid, GroupedAttention, PlainAttention
from dwm.networks.blocks import AlphaBlender, ExtraBlock
from dwm.networks.feed_forward import use_our_kernels
from dwm.networks.perspective import sinusoid
from dwm.networks.unet.options import UNetOptions
from dwm.networks.unet.prepared import UNetPrepared

RESIDUAL_EPS = 1e-5
TRANSFORMER_EPS = 1e-6


class ResBlock(nn.Module):
    """Convolutions within each picture, then over frames, blended; blind to other views."""

    def __init__(self, before: int, after: int, time_width: int, temporal: bool, merge_factor: float):
        super().__init__()
        self.spatial_res_block = ResnetBlock2D(
            in_channels=before, out_channels=after, temb_channels=time_width, eps=RESIDUAL_EPS
        )
        if temporal:
            self.temporal_res_block = TemporalResnetBlock(after, after, temb_channels=time_width, eps=RESIDUAL_EPS)
            self.time_mixer = AlphaBlender(merge_factor, "learned_with_images")
        self.temporal = temporal

    def forward(
        self, x: Float[Tensor, "btv c h w"], temb: Float[Tensor, "btv e"], prepared: UNetPrepared
    ) -> Float[Tensor, "btv d h w"]:
        x = self.spatial_res_block(x, temb)
        if not (self.temporal and prepared.run_temporal):
            return x
        lead = {"b": prepared.b, "t": prepared.t, "v": prepared.v}
        film = rearrange(x, "(b t v) c h w -> (b v) c t h w", **lead)
        moved = self.temporal_res_block(film, rearrange(temb, "(b t v) e -> (b v) t e", **lead))
        moved = rearrange(moved, "(b v) c t h w -> b t v c h w", b=prepared.b)
        still = x.unflatten(0, (prepared.b, prepared.t, prepared.v))
        return self.time_mixer(still, moved, prepared.disable_temporal).flatten(0, 2)


class TransformerModel(nn.Module):
    """`count` times attention within each picture and to its words, then across views, then across frames."""

    def __init__(self, channels: int, heads: int, options: UNetOptions, count: int):
        super().__init__()
        self.heads = heads
        o = self.options = options
        self.norm = nn.GroupNorm(32, channels, eps=TRANSFORMER_EPS)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(_spatial_block(channels, heads, o) for _ in range(count))
        if o.enable_crossview:
            kind = ("crossview", "rowwise" if o.enable_rowwise_crossview else "pointwise")
            self.view_pos_embed, self.view_mixer = _index_embedding(channels), _blender(o)
            self.crossview_transformer_blocks = _extra_blocks(channels, heads, kind, count)
        if o.enable_temporal:
            kind = ("temporal", "rowwise" if o.enable_rowwise_temporal else "pointwise")
            self.time_pos_embed, self.time_mixer = _index_embedding(channels), _blender(o)
            self.temporal_transformer_blocks = _extra_blocks(channels, heads, kind, count)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "btv c h w"], prepared: UNetPrepared) -> Float[Tensor, "btv c h w"]:
        height, width = x.shape[-2:]
        grid = Grid(prepared.b, prepared.t, prepared.v, height, width)
        tokens = self.proj_in(rearrange(self.norm(x), "n c h w -> n (h w) c"))
        for k, block in enumerate(self.transformer_blocks):
            tokens = block(tokens, encoder_hidden_states=prepared.text)
            if self.options.enable_crossview and prepared.run_crossview:
                tokens = self._crossview(k, tokens, grid, prepared)
            if self.options.enable_temporal and prepared.run_temporal:
                tokens = self._temporal(k, tokens, grid, prepared)
        return x + rearrange(self.proj_out(tokens), "n (h w) c -> n c h w", h=height)

    def _crossview(self, k: int, tokens: Tensor, grid: Grid, prepared: UNetPrepared) -> Tensor:
        stream = grid.unflatten(tokens)
        position = _vectors(self.view_pos_embed, grid.v, tokens)[None, None, :, None]
        mask = self._token_mask(prepared.crossview_mask, grid, self.heads)
        block = self.crossview_transformer_blocks[k](stream + position, grid, mask)
        return self.view_mixer(stream, block, prepared.disable_crossview).flatten(0, 2)

    def _temporal(self, k: int, tokens: Tensor, grid: Grid, prepared: UNetPrepared) -> Tensor:
        stream = grid.unflatten(tokens)
        position = _vectors(self.time_pos_embed, grid.t, tokens)[None, :, None, None]
        block = self.temporal_transformer_blocks[k](stream + position, grid)
        return self.time_mixer(stream, block, prepared.disable_temporal).flatten(0, 2)

    def _token_mask(
        self, mask: Bool[Tensor, "masks v v"] | None, grid: Grid, heads: int
    ) -> Bool[Tensor, "b #g s s"] | None:
        """Seeing one place only, each frame may have a mask of its own."""
        if mask is None:
            return None
        if self.options.enable_rowwise_crossview:
            mask = mask.repeat_interleave(grid.w, 1).repeat_interleave(grid.w, 2)
        elif grid.t > 1 and len(mask) == grid.b * grid.t:
            return mask.unflatten(0, (grid.b, grid.t)).repeat_interleave(grid.h * grid.w * heads, 1)
        return mask[:, None]


def _spatial_block(channels: int, heads: int, o: UNetOptions) -> BasicTransformerBlock:
    block = BasicTransformerBlock(channels, heads, channels // heads, cross_attention_dim=o.cross_attention_dim)
    block.attn1.set_processor(PlainAttention())
    block.attn2.set_processor(PlainAttention())
    return use_our_kernels(block)


def _extra_blocks(channels: int, heads: int, kind: tuple[str, str], count: int) -> nn.ModuleList:
    return nn.ModuleList(ExtraBlock(channels, GroupedAttention(channels, heads, None, kind)) for _ in range(count))


def _index_embedding(channels: int) -> TimestepEmbedding:
    return TimestepEmbedding(channels, 4 * channels, out_dim=channels)


def _blender(o: UNetOptions) -> AlphaBlender:
    return AlphaBlender(o.merge_factor, "learned_with_images")


def _vectors(mlp: TimestepEmbedding, count: int, like: Tensor) -> Float[Tensor, "count c"]:
    indices = torch.arange(count, device=like.device)
    return mlp(sinusoid(indices, like.shape[-1]).to(like.dtype))
