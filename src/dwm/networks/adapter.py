"""Layout pictures to residuals of the network's blocks: a small convolutional pyramid that starts by folding pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dwm.networks.options import AdapterOptions


class ResidualUnit(nn.Module):
    """x + 1×1 ∘ ReLU ∘ 3×3."""

    def __init__(self, channels: int):
        super().__init__()
        self.block1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.block2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.block2(F.relu(self.block1(x)))


class Level(nn.Module):
    """Halve the size (rounding up) if asked, change the width if needed, then residual units."""

    def __init__(self, before: int, after: int, units: int, down: bool):
        super().__init__()
        self.down = down
        self.in_conv = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.resnets = nn.ModuleList(ResidualUnit(after) for _ in range(units))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        if self.down:
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        x = self.in_conv(x)
        for unit in self.resnets:
            x = unit(x)
        return x


class LayoutAdapter(nn.Module):
    """Pictures (…, c, H, W) in [0, 1] to one feature map per level, (…, channels[i], h_i, w_i)."""

    def __init__(self, options: AdapterOptions):
        super().__init__()
        self.options = options
        widths = (options.in_channels * options.downscale_factor**2, *options.channels)
        self.body = nn.ModuleList(
            Level(before, after, options.num_res_blocks, down)
            for before, after, down in zip(widths, widths[1:], options.is_downblocks, strict=False)
        )
        self.gradient_checkpointing = options.gradient_checkpointing
        if options.use_zero_convs:
            self.zero_convs = nn.ModuleList(nn.Conv2d(width, width, 1) for width in options.channels)
            for parameter in self.zero_convs.parameters():
                nn.init.zeros_(parameter)
        if options.zero_gate_coef:
            self.zero_gates = nn.Parameter(torch.zeros(len(options.channels)))

    def forward(self, x: Float[Tensor, "*n c H W"]) -> list[Float[Tensor, "*n _ _ _"]]:
        lead = x.shape[:-3]
        x = F.pixel_unshuffle(x.flatten(0, -4), self.options.downscale_factor)
        features = []
        for i, level in enumerate(self.body):
            recompute = self.training and self.gradient_checkpointing and torch.is_grad_enabled()
            x = checkpoint(level, x, use_reentrant=False) if recompute else level(x)
            features.append(self._gated(i, x).unflatten(0, lead))
        return features

    def _gated(self, i: int, x: Tensor) -> Tensor:
        if self.options.use_zero_convs:
            x = self.zero_convs[i](x)
        if self.options.zero_gate_coef:
            x = x * torch.tanh(self.options.zero_gate_coef * self.zero_gates[i])
        return x
