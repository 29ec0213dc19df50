"""Masked reconstruction: in training some tokens are dropped before the first block and refilled before the last ones.

Inference never uses it; its parameters stay in the weights. Items are (clip, view) pairs here, tokens (item, frame, place).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn

from dwm.networks.attention import Grid
from dwm.networks.dit.mask_blocks import SideBlock
from dwm.networks.dit.options import MaskOptions
from dwm.networks.dit.prepared import Prepared

NOISE_CHANNELS = 16

Uniform = Callable[[tuple[int, ...]], Tensor]
"""Draws uniform numbers in [0, 1) of a shape."""


@dataclass(frozen=True)
class Masking:
    """Asks for masked reconstruction in this training step: the sample's noise, and where random numbers come from."""

    noise: Float[Tensor, "b t v c h w"]
    uniform: Uniform


@dataclass(frozen=True)
class Dropped:
    """What was dropped: keep and drop list places, restore inverts [keep, drop]; whole is 1 where one mask serves all frames."""

    keep: Int[Tensor, "i t k"]
    drop: Int[Tensor, "i t m"]
    restore: Int[Tensor, "i t n"]
    whole: Float[Tensor, "i 1 1"] | None
    tokens: Float[Tensor, "i t m d"]

    @property
    def mask(self) -> Bool[Tensor, "i t n 1"]:
        """True at dropped places."""
        return (self.restore >= self.keep.shape[2])[..., None]


class MaskModule(nn.Module):
    """Drops tokens, remembers what stands in for them, and refills them through blocks of its own."""

    def __init__(self, options: MaskOptions, interleaved: bool):
        super().__init__()
        self.options = o = options
        width = o.num_heads * o.attention_head_dim
        rows = o.temporal_pos_embed_size if o.mask_token_type == "temporal" else 1
        self.mask_token = nn.Parameter(torch.zeros(1, rows or 1, width), requires_grad=o.mask_ratio is not None)
        if o.use_origin_mask_token is not None:
            large = o.use_origin_mask_token.proj_field == "large"
            kernel, stride, padding = ((1, 3, 3), (1, 2, 2), (0, 1, 1)) if large else (1, 1, 0)
            self.noise_proj = nn.Conv3d(NOISE_CHANNELS, width, kernel, stride=stride, padding=padding)
        self.mask_path_embed = nn.ModuleDict({"proj": nn.Linear(width, width)})
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                SideBlock(width, o.num_heads, o.mlp_ratio, interleaved) for _ in range(o.interpolater_layer)
            )

        self.sideblocks = blocks()
        if o.forward_mix_interpolater:
            self.temporal_sideblocks = blocks()

    def drop(
        self, x: Float[Tensor, "btv n d"], timestep: Num[Tensor, "btv"], prepared: Prepared, masking: Masking
    ) -> tuple[Float[Tensor, "btv k d"], Dropped, Prepared]:
        """The kept tokens in the order of their draws, what was dropped, and the conditions at the kept places."""
        if self.options.mask_ratio is None or self.options.use_origin_mask_token is None:
            raise ValueError("masked reconstruction needs mask_module.mask_ratio and use_origin_mask_token")
        grid = prepared.grid
        scores, whole = self._scores(grid, masking.uniform, x)
        order = scores.argsort(-1)
        count = int(grid.h * grid.w * (1 - self.options.mask_ratio))
        keep, dropped = order[..., :count], order[..., count:]
        tokens = self._tokens(dropped, timestep, grid, masking.noise)
        split = Dropped(keep, dropped, order.argsort(-1), whole, tokens)
        return _take(x, keep, grid), split, _at_positions(prepared, keep, self.options.mask_ratio)

    def refill(
        self,
        x: Float[Tensor, "btv k d"],
        dropped: Dropped,
        temb: Float[Tensor, "btv d"],
        text: Float[Tensor, "btv l d"],
        grid: Grid,
    ) -> Float[Tensor, "btv n d"]:
        """All tokens in picture order; dropped places hold what the side blocks made of their stand-ins."""
        by_item = {"b": grid.b, "v": grid.v}
        remaining = rearrange(x, "(b t v) k d -> (b v) t k d", **by_item)
        positions = self.mask_path_embed["proj"](_positions(grid, x.shape[-1]).to(x))
        stand_ins = dropped.tokens + _gather(positions[None].expand(remaining.shape[0], -1, -1, -1), dropped.drop)
        filled = _gather(torch.cat([remaining, stand_ins], 2), dropped.restore)
        modulation = rearrange(self.t_block(temb), "(b t v) (s d) -> (b v) t s d", s=6, **by_item)
        words = rearrange(text, "(b t v) l d -> (b v) t l d", **by_item)
        z = self._interpolate(filled, words, modulation, dropped.whole)
        result = torch.where(dropped.mask, z, filled)
        return rearrange(result, "(b v) t n d -> (b t v) n d", **by_item)

    def _interpolate(self, z: Tensor, words: Tensor, modulation: Tensor, whole: Tensor | None) -> Tensor:
        over_time = z
        for i, block in enumerate(self.sideblocks):
            if self.options.forward_mix_interpolater:
                over_time = self.temporal_sideblocks[i](over_time, words, modulation, across_frames=True)
            z = block(z, words, modulation, across_frames=False)
            if self.options.forward_mix_interpolater:
                assert whole is not None
                z = torch.lerp(over_time, z, whole[..., None].to(z.dtype))
        return z

    def _scores(self, grid: Grid, uniform: Uniform, like: Tensor) -> tuple[Float[Tensor, "i t n"], Tensor | None]:
        """A number for each token (the smallest are kept), and which items use one mask for all frames."""
        items, n, kind = grid.b * grid.v, grid.h * grid.w, self.options.mae_mask_type
        if kind == "rand_t":
            return uniform((items, grid.t, n)).to(like.device), None
        if kind == "constant":
            return uniform((items, n)).to(like.device)[:, None].expand(-1, grid.t, -1), None
        probabilities = self.options.mae_mask_probs or {}
        scale = int(probabilities.get("align_scale", 1))
        rows, columns = grid.h * scale, grid.w // scale
        count = int(n * (1 - (self.options.mask_ratio or 0)))
        if "constant" not in probabilities or count % grid.h:
            raise ValueError(
                "row masks need mae_mask_probs.constant and a kept count that divides by the rows of tokens"
            )
        each = _favour(uniform((items, grid.t, rows, columns)), count // rows).flatten(2)
        if kind == "row_t_rc":
            shared = _favour(uniform((items, rows, columns)), count // rows).flatten(1)
        else:
            shared = uniform((items, n))
        whole = (uniform((items, 1, 1)) < probabilities["constant"]).to(like)
        scores = torch.where(whole.bool(), shared.to(like.device)[:, None], each.to(like.device))
        return scores, whole

    def _tokens(self, drop: Tensor, timestep: Tensor, grid: Grid, noise: Tensor) -> Float[Tensor, "i t m d"]:
        grown = self.noise_proj(rearrange(noise.to(self.noise_proj.weight), "b t v c h w -> (b v) c t h w"))
        sources = {
            "noise": _gather(rearrange(grown, "i d t h w -> i t (h w) d"), drop),
            "learnable": self.mask_token[:, : grid.t, None],
        }
        assert self.options.use_origin_mask_token is not None  # `drop` asked
        at_noise, at_none = (sources[name] for name in self.options.use_origin_mask_token.target)
        level = rearrange(timestep / 1000, "(b t v) -> (b v) t 1 1", b=grid.b, v=grid.v).to(at_noise.dtype)
        return (level * at_noise + (1 - level) * at_none).expand(*drop.shape, -1)


def _favour(numbers: Float[Tensor, "*i r c"], count: int) -> Float[Tensor, "*i r c"]:
    """The `count` smallest numbers of each row stay below one, the others are lifted above."""
    return numbers + (numbers.argsort(-1).argsort(-1) >= count)


def _gather(x: Float[Tensor, "i t n d"], index: Int[Tensor, "i t m"]) -> Float[Tensor, "i t m d"]:
    return x.gather(2, index[..., None].expand(-1, -1, -1, x.shape[-1]))


def _take(x: Float[Tensor, "btv n d"], keep: Int[Tensor, "i t k"], grid: Grid) -> Float[Tensor, "btv k d"]:
    index = rearrange(keep, "(b v) t k -> (b t v) k 1", v=grid.v)
    return x.gather(1, index.expand(-1, -1, x.shape[-1]))


def _at_positions(prepared: Prepared, keep: Tensor, ratio: float) -> Prepared:
    """Conditions as the kept tokens see them; their rows are pieces of the kept list, as in published training."""
    grid = prepared.grid
    narrow = replace(grid, w=int(grid.w * (1 - ratio)))
    if narrow.h * narrow.w != keep.shape[2]:
        raise ValueError(f"mask_ratio {ratio} does not leave a whole number of tokens in rows of {grid.w}")
    mask = prepared.crossview_mask
    if mask is not None:
        before, after = mask.shape[-1] // grid.v, mask.shape[-1] // grid.v // grid.w * narrow.w
        views = mask[..., ::before, ::before]
        mask = views.repeat_interleave(after, -1).repeat_interleave(after, -2)
    rays = prepared.rays
    if rays is not None:
        rays = narrow.unflatten(_take(rays.flatten(0, 2), keep, grid))
    residuals = tuple(_take(residual, keep, grid) for residual in prepared.residuals)
    return replace(prepared, grid=narrow, residuals=residuals, crossview_mask=mask, rays=rays)


def _positions(grid: Grid, width: int) -> Float[Tensor, "t n d"]:
    """Sines and cosines of frame (a quarter of the width), column and row (three eighths each), in float32."""
    frame = _waves(grid.t, width // 4)[:, None, None].expand(-1, grid.h, grid.w, -1)
    column = _waves(grid.w, 3 * width // 8)[None, None].expand(grid.t, grid.h, -1, -1)
    row = _waves(grid.h, 3 * width // 8)[None, :, None].expand(grid.t, -1, grid.w, -1)
    return torch.cat([frame, column, row], -1).flatten(1, 2).float()


def _waves(count: int, width: int) -> Float[Tensor, "count width"]:
    frequencies = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = torch.arange(count, dtype=torch.float64)[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], -1), (0, width % 2))
