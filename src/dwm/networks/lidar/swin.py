"""Blocks of attention within windows of a grid of tokens, every second one with its windows shifted.

The relative index and the mask are in weights as buffers; a file's are left aside, since they follow from the sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dwm.errors import DwmError
from dwm.networks.lidar.tables import fit_window, relative_index, shift_mask

COMPUTED = ("relative_position_index", "attn_mask")


class WindowAttention(nn.Module):
    """Attention (windows, n, d) with a learned bias for every offset; `guarded` adds 1e-7 to the softmax's denominator."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, window: int, guarded: bool) -> None:
        super().__init__()
        self.heads, self.guarded = heads, guarded
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_index(window))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(b, windows, n, d); mask (windows, n, n)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            bias = bias + mask[:, None]
        bias = bias.to(q).expand(*q.shape[:-1], q.shape[-2])
        attended = _guarded(q, k, v, bias) if self.guarded else F.scaled_dot_product_attention(q, k, v, bias)
        return self.proj(attended.transpose(-3, -2).flatten(-2))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Tokens (b, rows * columns, d) → the same shape."""

    attn_mask: Tensor | None

    def __init__(
        self, width: int, grid: tuple[int, int], heads: int, window: int, shift: int, guarded: bool = False
    ) -> None:
        super().__init__()
        self.grid = grid
        self.window, self.shift = fit_window(*grid, window, shift)
        if width % heads or any(size % self.window for size in grid):
            rows, columns = grid
            raise DwmError(
                f"windows of {self.window} tokens and {heads} heads do not divide a grid of {rows} x {columns} tokens "
                f"of width {width}"
            )
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, self.window, guarded)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.register_buffer("attn_mask", shift_mask(*grid, self.window, self.shift) if self.shift else None)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm1(x).unflatten(1, self.grid)
        if self.shift:
            tokens = tokens.roll((-self.shift, -self.shift), (1, 2))
        tokens = self._joined(self.attn(self._windows(tokens), self.attn_mask))
        if self.shift:
            tokens = tokens.roll((self.shift, self.shift), (1, 2))
        x = x + tokens.flatten(1, 2)
        return x + self.mlp(self.norm2(x))

    def _windows(self, x: Tensor) -> Tensor:
        w = self.window
        tiles = x.unflatten(2, (-1, w)).unflatten(1, (-1, w)).transpose(2, 3)
        return tiles.flatten(3, 4).flatten(1, 2)

    def _joined(self, x: Tensor) -> Tensor:
        w, (rows, columns) = self.window, self.grid
        return x.view(len(x), rows // w, columns // w, w, w, -1).transpose(2, 3).reshape(len(x), rows, columns, -1)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:  # type: ignore[no-untyped-def]
        state_dict[f"{prefix}attn.relative_position_index"] = self.attn.relative_position_index
        if self.attn_mask is not None:
            state_dict[f"{prefix}attn_mask"] = self.attn_mask
        super()._load_from_state_dict(state_dict, prefix, *args)


class Merging(nn.Module):
    """Two by two tokens of width d as one of 2d, in the order (0, 0), (1, 0), (0, 1), (1, 1)."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, self.grid)
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, dim=-1).flatten(1, 2)))


class SwinLayer(nn.Module):
    """`depth` blocks, every second one shifted by half a window; `merged` halves rows and columns behind them."""

    def __init__(
        self,
        width: int,
        grid: tuple[int, int],
        heads: int,
        window: int,
        depth: int,
        merged: bool = False,
        guarded: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.blocks = nn.ModuleList(
            SwinBlock(width, grid, heads, window, window // 2 if i % 2 else 0, guarded) for i in range(depth)
        )
        self.downsample = Merging(width, grid) if merged else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = run_block(block, x, self.recompute and self.training)
        return x if self.downsample is None else self.downsample(x)


def run_block(block: nn.Module, x: Tensor, recompute: bool) -> Tensor:
    """`block(x)`; with `recompute` its insides are computed again for the gradient."""
    return checkpoint(block, x, use_reentrant=False) if recompute else block(x)


def unpatched(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """Tokens (b, rows * columns, patch² * c) → (b, c, rows * patch, columns * patch)."""
    rows, columns = grid
    tiles = tokens.view(len(tokens), rows, columns, patch, patch, -1)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, rows * patch, columns * patch)


def _guarded(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias
    powers = (scores - scores.amax(-1, keepdim=True).detach()).exp()
    return powers / (powers.sum(-1, keepdim=True) + 1e-7) @ v
