"""The cross-view temporal U-Net: Stable Diffusion 2.1's, whose transformers also look across views and frames.

Parameter names are those of published weights. It never reads a file, picks a device or knows how it is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.upsampling import Upsample2D
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.utils.checkpoint import checkpoint

from dwm.networks.adapter import LayoutAdapter
from dwm.networks.inputs import Conditions
from dwm.networks.perspective import sinusoid
from dwm.networks.unet.blocks import RESIDUAL_EPS, ResBlock, TransformerModel
from dwm.networks.unet.options import UNetOptions
from dwm.networks.unet.prepared import UNetPrepared


class Level(nn.Module):
    """Residual blocks, each followed by a transformer where the level has them."""

    def __init__(
        self, widths: list[tuple[int, int]], heads: int | None, time_width: int, options: UNetOptions, level: int
    ):
        super().__init__()
        self.recompute = False
        blocks = options.per_level("transformer_layers_per_block")[level]
        temporal, factor = options.enable_temporal, options.merge_factor
        self.resnets = nn.ModuleList(ResBlock(before, after, time_width, temporal, factor) for before, after in widths)
        if heads is not None:
            self.attentions = nn.ModuleList(TransformerModel(after, heads, options, blocks) for _, after in widths)
        self.has_attentions = heads is not None

    def step(self, i: int, x: Tensor, temb: Tensor, prepared: UNetPrepared) -> Tensor:
        """Residual block i and its transformer."""
        x = self.run(self.resnets[i], x, temb, prepared)
        return self.run(self.attentions[i], x, prepared) if self.has_attentions else x

    def run(self, block: nn.Module, *inputs: object) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


class DownLevel(Level):
    def __init__(
        self, widths: list[tuple[int, int]], heads: int | None, time_width: int, options: UNetOptions, level: int
    ):
        super().__init__(widths, heads, time_width, options, level)
        halve = level < len(options.block_out_channels) - 1
        if halve:
            width = widths[-1][1]
            self.downsamplers = nn.ModuleList([Downsample2D(width, use_conv=True, out_channels=width, name="op")])
        self.halve = halve

    def forward(self, x: Tensor, temb: Tensor, prepared: UNetPrepared) -> list[Tensor]:
        """The stream after each residual block and after halving: the skips, the last of which goes on."""
        results = []
        for i in range(len(self.resnets)):
            x = self.step(i, x, temb, prepared)
            results.append(x)
        if self.halve:
            results.append(self.downsamplers[0](x))
        return results


class MidLevel(Level):
    """Residual block, transformer, residual block."""

    def __init__(self, width: int, heads: int, time_width: int, options: UNetOptions):
        super().__init__([(width, width)], heads, time_width, options, -1)
        self.resnets.append(ResBlock(width, width, time_width, options.enable_temporal, options.merge_factor))

    def forward(self, x: Tensor, temb: Tensor, prepared: UNetPrepared) -> Tensor:
        return self.run(self.resnets[1], self.step(0, x, temb, prepared), temb, prepared)


class UpLevel(Level):
    def __init__(
        self, widths: list[tuple[int, int]], heads: int | None, time_width: int, options: UNetOptions, level: int
    ):
        super().__init__(widths, heads, time_width, options, level)
        self.grows = level > 0
        if self.grows:
            width = widths[-1][1]
            self.upsamplers = nn.ModuleList([Upsample2D(width, use_conv=True, out_channels=width)])

    def forward(self, x: Tensor, temb: Tensor, prepared: UNetPrepared, skips: list[Tensor]) -> Tensor:
        """Takes its skips from the end of the list; the one that is then last gives the size to grow to."""
        for i in range(len(self.resnets)):
            x = self.step(i, torch.cat([x, skips.pop()], 1), temb, prepared)
        return self.upsamplers[0](x, output_size=skips[-1].shape[-2:]) if self.grows else x


class CrossviewTemporalUNet(nn.Module):
    """Predicts noise or v for all frames and views of a clip together."""

    parts: ClassVar[Mapping[str, str]] = {
        "add_embedding": "cameras",
        "condition_image_adapter": "layout",
        "down_blocks": "down",
        "mid_block": "middle",
        "up_blocks": "up",
    }

    def __init__(self, options: UNetOptions):
        super().__init__()
        self.options = o = options
        self.agreed: Callable[[bool], bool] = bool
        """Whether blocks run that only some items want; replaced where several processes must decide alike in training."""
        first, time_width = o.block_out_channels[0], 4 * o.block_out_channels[0]
        self.conv_in = nn.Conv2d(o.in_channels, first, 3, padding=1)
        self.time_embedding = TimestepEmbedding(first, time_width)
        if o.projection_class_embeddings_input_dim is not None:
            self.add_embedding = TimestepEmbedding(o.projection_class_embeddings_input_dim, time_width)
        if o.condition_image_adapter_config is not None:
            self.condition_image_adapter = LayoutAdapter(o.condition_image_adapter_config)
        self.down_blocks = nn.ModuleList(_down_level(o, i, time_width) for i in range(len(o.block_out_channels)))
        self.mid_block = MidLevel(o.block_out_channels[-1], o.num_attention_heads[-1], time_width, o)
        self.up_blocks = nn.ModuleList(_up_level(o, i, time_width) for i in range(len(o.block_out_channels)))
        self.conv_norm_out = nn.GroupNorm(32, first, eps=RESIDUAL_EPS)
        self.conv_out = nn.Conv2d(first, o.out_channels, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        return self.conv_out.weight.dtype

    def prepare(self, conditions: Conditions, latent_shape: tuple[int, ...]) -> UNetPrepared:
        """All that stays the same over the sampling steps, for latents of shape (b, t, v, c, h, w). Differentiable."""
        b, t, v = latent_shape[:3]
        if conditions.text is None:
            raise ValueError("the U-Net needs conditions.text")
        residuals: tuple[Tensor, ...] = ()
        if conditions.layout is not None and self.options.condition_image_adapter_config is not None:
            residuals = tuple(self.condition_image_adapter(conditions.layout.to(self.dtype)))
        return UNetPrepared(
            b=b,
            t=t,
            v=v,
            text=conditions.text.flatten(0, 2).to(self.dtype),
            camera=self._camera(conditions.added_ids),
            residuals=residuals,
            crossview_mask=conditions.crossview_mask,
            disable_crossview=conditions.disable_crossview,
            disable_temporal=conditions.disable_temporal,
            run_crossview=self.options.enable_crossview
            and self._runs(conditions.disable_crossview, conditions.any_crossview),
            run_temporal=self.options.enable_temporal
            and self._runs(conditions.disable_temporal, conditions.any_temporal),
        )

    def forward(
        self, sample: Float[Tensor, "b t v c h w"], timestep: Shaped[Tensor, "b t v"], prepared: UNetPrepared
    ) -> Float[Tensor, "b t v o h w"]:
        """What the noise schedule asks for (noise or v) of `sample` at integer times, one per picture."""
        temb = self.time_embedding(sinusoid(timestep.flatten(), self.options.block_out_channels[0]).to(self.dtype))
        if prepared.camera is not None:
            temb = temb + prepared.camera
        x = _plus_residual(self.conv_in(sample.flatten(0, 2).to(self.dtype)), 0, prepared)
        first = self.down_blocks[0](x, temb, prepared)
        if prepared.cache is None:
            x = self._other_levels([x, *first], temb, prepared)
        else:
            x = prepared.cache(first[0] - x, lambda: self._other_levels([x, *first], temb, prepared))
        return self.conv_out(silu(self.conv_norm_out(x))).unflatten(0, sample.shape[:3])

    def _other_levels(self, skips: list[Tensor], temb: Tensor, prepared: UNetPrepared) -> Float[Tensor, "btv c h w"]:
        """All but the first level, whose results end `skips`."""
        x = skips[-1] = _plus_residual(skips[-1], 1, prepared)
        for i, level in enumerate(self.down_blocks[1:], 1):
            skips += level(x, temb, prepared)
            x = skips[-1] = _plus_residual(skips[-1], i + 1, prepared)
        x = self.mid_block(x, temb, prepared)
        for level in self.up_blocks:
            x = level(x, temb, prepared, skips)
        return x

    def blocks(self) -> list[nn.Module]:
        levels: tuple[Any, ...] = (*self.down_blocks, self.mid_block, *self.up_blocks)
        return [block for level in levels for block in (*level.resnets, *getattr(level, "attentions", ()))]

    def tokens(self, latent_shape: tuple[int, ...]) -> int:
        b, t, v, _, h, w = latent_shape
        return b * t * v * h * w

    def blank_conditions(self, latent_shape: tuple[int, ...], text: int, layout: tuple[int, int]) -> Conditions:
        o, lead = self.options, latent_shape[:3]
        adapter, ids = o.condition_image_adapter_config, o.projection_class_embeddings_input_dim or 0

        def empty(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.empty(*lead, *size, dtype=dtype, device=self.conv_out.weight.device)

        return Conditions(
            text=empty(text, o.cross_attention_dim, dtype=self.dtype),
            layout=None if adapter is None else empty(adapter.in_channels, *layout, dtype=self.dtype),
            added_ids=empty(ids // o.addition_time_embed_dim) if ids else None,
            crossview_mask=empty(latent_shape[2], dtype=torch.bool)[:, 0],
        )

    def with_every_block(self, prepared: UNetPrepared, latent_shape: tuple[int, ...]) -> UNetPrepared:
        # Its blenders always ask for flags; given after `prepare`, which would ask for their values.
        flags = torch.empty(latent_shape[0], dtype=torch.bool, device=self.conv_out.weight.device)
        return replace(prepared, disable_crossview=flags, disable_temporal=flags)

    def enable_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Recompute residual blocks and transformers in the backward pass, and the layout adapter where its options say so; or
        nothing at all."""
        levels: tuple[Any, ...] = (*self.down_blocks, self.mid_block, *self.up_blocks)
        for level in levels:
            level.recompute = enabled
        if (adapter := self.options.condition_image_adapter_config) is not None:
            self.condition_image_adapter.gradient_checkpointing = enabled and adapter.gradient_checkpointing

    def _runs(self, disable: Tensor | None, answer: bool | None) -> bool:
        """Whether extra blocks must run at all; where it is not `known`, this waits for the device."""
        if disable is None:
            return True
        runs = not bool(disable.all()) if answer is None else answer
        return self.agreed(runs) if self.training else runs

    def _camera(self, ids: Float[Tensor, "b t v i"] | None) -> Float[Tensor, "btv e"] | None:
        if ids is None or self.options.projection_class_embeddings_input_dim is None:
            return None
        waves = sinusoid(ids.flatten(), self.options.addition_time_embed_dim).unflatten(0, (ids.shape[:3].numel(), -1))
        return self.add_embedding(waves.flatten(1).to(self.dtype))


def _down_level(o: UNetOptions, level: int, time_width: int) -> DownLevel:
    width, before = o.block_out_channels[level], o.block_out_channels[max(level - 1, 0)]
    widths = [(before if k == 0 else width, width) for k in range(o.per_level("layers_per_block")[level])]
    heads = o.num_attention_heads[level] if o.down_block_types[level].startswith("CrossAttn") else None
    return DownLevel(widths, heads, time_width, o, level)


def _up_level(o: UNetOptions, i: int, time_width: int) -> UpLevel:
    """Each residual block takes the stream and one skip: of its own level, the last one of the level below in width."""
    level = len(o.block_out_channels) - 1 - i
    widths, count = o.block_out_channels[::-1], o.per_level("layers_per_block")[level] + 1
    width, stream, last_skip = widths[i], widths[max(i - 1, 0)], widths[min(i + 1, len(widths) - 1)]
    pairs = [((stream if k == 0 else width) + (last_skip if k == count - 1 else width), width) for k in range(count)]
    heads = o.num_attention_heads[level] if o.up_block_types[i].startswith("CrossAttn") else None
    return UpLevel(pairs, heads, time_width, o, level)


def _plus_residual(x: Float[Tensor, "btv c h w"], i: int, prepared: UNetPrepared) -> Float[Tensor, "btv c h w"]:
    if i >= len(prepared.residuals):
        return x
    return (x.unflatten(0, (prepared.b, prepared.t, prepared.v)) + prepared.residuals[i]).flatten(0, 2)
