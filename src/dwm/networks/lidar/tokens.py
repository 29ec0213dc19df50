"""The network of masked tokens: told boxes and map, it says for every token which code it may be."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.errors import DwmError
from dwm.networks.adapter import LayoutAdapter
from dwm.networks.lidar.options import TokenNetworkOptions
from dwm.networks.lidar.swin import SwinBlock, run_block
from dwm.networks.lidar.tables import position_table

HIDDEN = -1
"""The index of a token that is to be found."""

WINDOW = 2


class TokenNetwork(nn.Module):
    """Indices (b * t, rows * columns), `HIDDEN` where hidden → logits (b * t, rows * columns, codes)."""

    positions: Tensor

    def __init__(self, options: TokenNetworkOptions) -> None:
        super().__init__()
        self.options = options
        self.mask_token = nn.Parameter(torch.zeros(1, 1, options.code_channels))
        self.decoder_embed = nn.Linear(options.code_channels, options.width)
        if options.own_table:
            self.extra_embedding = nn.Embedding(options.codes, options.code_channels)
        self.blocks = TemporalLayer(options) if options.temporal else SpatialLayer(options)
        if options.adapter is not None:
            self.condition_adapter = LayoutAdapter(options.adapter)
        self.norm = nn.Sequential(nn.LayerNorm(options.width), nn.GELU())
        self.pred = nn.Linear(options.width, options.codes)
        self.register_buffer("positions", position_table(options.width, *options.size), persistent=False)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self,
        ids: Tensor,
        codes: Tensor | None = None,
        layout: Tensor | None = None,
        frames: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`codes` (b * t, n, channels) stand for the visible ids where the network has no table; layout (b * t, c, H, W).

        `frames` of one clip follow each other. `generator` draws which visible tokens training replaces.
        """
        hidden = ids == HIDDEN
        ids = ids.masked_fill(hidden, 0)
        if self.training and self.options.perturbed:
            ids = self._perturbed(ids, hidden, generator)
        x = self._visible(ids, codes)
        x = self.decoder_embed(torch.where(hidden[..., None], self.mask_token.to(x), x))
        x = x + self.positions.to(x)
        return self.pred(self.norm(self.blocks(x, self._features(layout), frames)))

    def _visible(self, ids: Tensor, codes: Tensor | None) -> Tensor:
        if self.options.own_table:
            return self.extra_embedding(ids)
        if codes is None:
            raise DwmError("the token network has no table of its own: it needs the codes of the visible tokens")
        return codes

    def _features(self, layout: Tensor | None) -> list[Tensor]:
        """The layout's features as tokens, one for each of the first blocks."""
        if self.options.adapter is None:
            return []
        if layout is None:
            raise DwmError("the token network needs the layout: pictures of boxes and map from above")
        return [feature.flatten(2).transpose(1, 2) for feature in self.condition_adapter(layout)]

    @torch.no_grad()
    def _perturbed(self, ids: Tensor, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        """Some visible ids replaced by one of those whose rows point nearly the same way."""
        if not self.options.own_table:
            raise DwmError("tokens are replaced only where the network has a table of its own")
        uniform = torch.rand(ids.shape, generator=generator).to(ids.device)
        replaced = (uniform < self.options.perturbed) & ~hidden
        table = F.normalize(self.extra_embedding.weight, dim=-1)
        among = min(self.options.perturbed_among, len(table))
        nearest = (table[ids[replaced]] @ table.T).topk(among, dim=-1).indices
        pick = torch.randint(among, (len(nearest),), generator=generator).to(ids.device)
        return ids.masked_scatter(replaced, nearest.gather(1, pick[:, None]))


class SpatialLayer(nn.Module):
    """Blocks within a frame; the i-th feature of the layout is added after the i-th."""

    def __init__(self, options: TokenNetworkOptions) -> None:
        super().__init__()
        self.recompute = options.recompute
        self.blocks = nn.ModuleList(_spatial(options))

    def forward(self, x: Tensor, features: list[Tensor], frames: int) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = run_block(block, x, self.recompute and self.training)
            x = x + features[i] if i < len(features) else x
        return x


class TemporalLayer(nn.Module):
    """After each block within a frame one over the frames of every token; the layout's feature is added after the pair."""

    def __init__(self, options: TokenNetworkOptions) -> None:
        super().__init__()
        self.recompute = options.recompute
        self.blocks = nn.ModuleList(_spatial(options))
        # Published weights name the same blocks twice.
        self.spatial_blocks = self.blocks
        self.rope = Rope(options.width // options.heads)
        self.temporal_blocks = nn.ModuleList(TemporalBlock(options.width, options.heads) for _ in self.blocks)

    def forward(self, x: Tensor, features: list[Tensor], frames: int) -> Tensor:
        if len(x) % frames:
            raise DwmError(f"{len(x)} pictures of tokens are no whole number of clips of {frames} frames")
        turns = self.rope(frames)
        for i, (block, temporal) in enumerate(zip(self.blocks, self.temporal_blocks, strict=True)):
            x = run_block(block, x, self.recompute and self.training)
            tokens = x.unflatten(0, (-1, frames)).transpose(1, 2).flatten(0, 1)
            tokens = temporal(tokens, turns)
            x = tokens.unflatten(0, (-1, x.shape[1])).transpose(1, 2).flatten(0, 1)
            x = x + features[i] if i < len(features) else x
        return x


class Rope(nn.Module):
    """Turns of pairs of channels by the frame's index times learned frequencies."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freqs = nn.Parameter(torch.linspace(1, 5, channels // 2) * torch.pi)

    def forward(self, frames: int) -> Tensor:
        """(frames, channels / 2) angles."""
        return torch.arange(frames, device=self.freqs.device)[:, None] * self.freqs


class TemporalAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        attended = F.scaled_dot_product_attention(_turned(q, turns), _turned(k, turns), v)
        return self.to_out[0](attended.transpose(1, 2).flatten(2))


class Gelu(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gelu(width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TemporalBlock(nn.Module):
    """(b * tokens, frames, d) → the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = TemporalAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), turns)
        return x + self.ff(self.norm2(x))


def _spatial(options: TokenNetworkOptions) -> Iterator[SwinBlock]:
    for i in range(options.depth):
        yield SwinBlock(options.width, options.size, options.heads, WINDOW, WINDOW // 2 if i % 2 else 0)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Pairs of neighbouring channels (…, frames, d) under turns (frames, d / 2)."""
    cos, sin = turns.cos().to(x), turns.sin().to(x)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
