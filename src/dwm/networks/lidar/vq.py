"""The autoencoder of sweeps with a table of codes: occupied cells to tokens, and back to cells and depths."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dwm.networks.lidar.options import VqNetworkOptions
from dwm.networks.lidar.quantizer import Quantized, Usage, VectorQuantizer
from dwm.networks.lidar.swin import SwinLayer, unpatched
from dwm.networks.lidar.tables import position_table

WINDOW = 8
EARLY_BLOCKS = 4
"""Blocks on the finer grid of the encoder; the rest of its depth lies on the coarser one."""

HEAD_BLOCKS = 2
"""Blocks of each head of the decoder, and how many fewer than its depth lie on the coarser grid."""

DENSITY_CHANNELS = 16


class PatchEmbedding(nn.Module):
    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class VqEncoder(nn.Module):
    """Cells (b, z, y, x) → tokens (b, rows * columns, code channels)."""

    pos_embed: Tensor

    def __init__(self, options: VqNetworkOptions) -> None:
        super().__init__()
        width, fine = options.width // 2, options.fine
        shared = {"guarded": options.guarded, "recompute": options.recompute}
        self.patch_embed = PatchEmbedding(options.layers, width, options.patch // 2)
        self.register_buffer("pos_embed", position_table(width, *fine)[None])
        self.blocks = nn.ModuleList(
            [
                SwinLayer(width, fine, options.heads, WINDOW, EARLY_BLOCKS, merged=True, **shared),
                SwinLayer(2 * width, options.coarse, options.heads, WINDOW, options.depth - EARLY_BLOCKS, **shared),
            ]
        )
        self.norm = nn.Sequential(nn.LayerNorm(2 * width), nn.GELU())
        self.pre_quant = nn.Linear(2 * width, options.code_channels)

    def forward(self, cells: Tensor) -> Tensor:
        x = self.patch_embed(cells)
        x = x + self.pos_embed.to(x)
        for layer in self.blocks:
            x = layer(x)
        return self.pre_quant(self.norm(x))


class VqDecoder(nn.Module):
    """Codes (b, rows * columns, channels) → densities (b, 16, z, y / 2, x / 2) and logits of cells (b, z, y, x)."""

    pos_embed: Tensor

    def __init__(self, options: VqNetworkOptions) -> None:
        super().__init__()
        self.options = options
        width, half = options.width, options.width // 2
        shared = {"guarded": options.guarded, "recompute": options.recompute}
        self.decoder_embed = nn.Linear(options.code_channels, width)
        self.register_buffer("pos_embed", position_table(width, *options.coarse)[None])
        self.blocks = SwinLayer(width, options.coarse, options.heads, WINDOW, options.depth - HEAD_BLOCKS, **shared)
        if options.upsample == "pixel_shuffle":
            self.upsample: nn.Module = nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(width // 4, half, 1))
        else:
            self.upsample = nn.ConvTranspose2d(width, half, 2, 2)
        self.density_block = SwinLayer(half, options.fine, options.heads, WINDOW, HEAD_BLOCKS, **shared)
        self.density_norm = nn.Sequential(nn.LayerNorm(half), nn.GELU())
        self.density_pred = nn.Linear(half, (options.patch // 4) ** 2 * options.layers * DENSITY_CHANNELS)
        self.voxel_block = SwinLayer(half, options.fine, options.heads, WINDOW, HEAD_BLOCKS, **shared)
        self.voxel_norm = nn.Sequential(nn.LayerNorm(half), nn.GELU())
        self.voxel_pred = nn.Linear(half, (options.patch // 2) ** 2 * options.layers)
        nn.init.constant_(self.voxel_pred.bias, options.bias)

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        options = self.options
        x = self.decoder_embed(codes)
        x = self.blocks(x + self.pos_embed.to(x))
        x = self.upsample(x.transpose(1, 2).unflatten(2, options.coarse)).flatten(2).transpose(1, 2)
        density = self.density_pred(self.density_norm(self.density_block(x)))
        density = unpatched(density, options.fine, options.patch // 4).unflatten(1, (DENSITY_CHANNELS, options.layers))
        logits = self.voxel_pred(self.voxel_norm(self.voxel_block(x)))
        return density, unpatched(logits, options.fine, options.patch // 2)


class VqAutoencoder(nn.Module):
    """Encoder, codes, decoder and the small network that makes densities of the decoder's features."""

    code_age: Tensor
    code_usage: Tensor

    def __init__(
        self, encoder: VqEncoder, decoder: VqDecoder, quantizer: VectorQuantizer, density_bias: float = -5.0
    ) -> None:
        super().__init__()
        codes = quantizer.embedding.num_embeddings
        self.lidar_encoder, self.lidar_decoder, self.vector_quantizer = encoder, decoder, quantizer
        last = nn.Linear(32, 1)
        nn.init.constant_(last.bias, density_bias)
        self.density_mlp = nn.Sequential(nn.Linear(DENSITY_CHANNELS, 32), nn.ReLU(), last)
        for name in ("code_age", "code_usage"):
            self.register_buffer(name, torch.zeros(codes))

    @property
    def usage(self) -> Usage:
        return Usage(self.code_age, self.code_usage)

    def encode(self, cells: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """Cells (b, z, y, x) as codes; their use is counted, in training they are kept alive."""
        return self.vector_quantizer(self.lidar_encoder(cells), self.usage, generator)

    def decode(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        return self.lidar_decoder(codes)
