"""The autoencoder of sweeps with a distribution of latents: occupied cells to latents, and back to cells and depths."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from diffusers import Transformer2DModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Swinv2Config
from transformers.models.swinv2.modeling_swinv2 import Swinv2Embeddings, Swinv2Encoder

from dwm.networks.lidar.options import VaeDecoderOptions, VaeEncoderOptions
from dwm.networks.lidar.swin import unpatched

NORM_EPS = 1e-4


class Posterior(NamedTuple):
    """A sample of the latents, and the distribution that it was drawn from: (..., channels) each."""

    sample: Tensor
    mean: Tensor
    log_variance: Tensor

    def divergence(self) -> Tensor:
        """From a normal distribution, summed over everything."""
        return -0.5 * (1 + self.log_variance - self.mean.square() - self.log_variance.exp()).sum()


class Decoded(NamedTuple):
    """Logits of cells (b, z, y, x) and, with the head for it, features for depths (b, c, z, y, x)."""

    logits: Tensor
    features: Tensor | None


class VaeEncoder(nn.Module):
    """Cells (b, z, y, x) → features (b, rows, columns, channels). Training drops residual branches at random."""

    def __init__(self, options: VaeEncoderOptions) -> None:
        super().__init__()
        self.options = options
        config = Swinv2Config(
            image_size=list(options.size),
            patch_size=options.patch,
            num_channels=options.layers,
            embed_dim=options.width,
            depths=list(options.depths),
            num_heads=list(options.heads),
            window_size=options.window,
        )
        self.embeddings = Swinv2Embeddings(config)
        self.encoder = Swinv2Encoder(config, self.embeddings.patch_grid)
        for module in self.encoder.modules() if options.recompute else ():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = True
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def forward(self, cells: Tensor) -> Tensor:
        tokens, grid = self.embeddings(cells)
        return self.encoder(tokens, grid).last_hidden_state.unflatten(1, self.options.tokens)


class Variational(nn.Module):
    """Features (..., c) → a distribution of latents, which is always drawn from."""

    def __init__(self, features: int, latents: int) -> None:
        super().__init__()
        self.fc_mu = nn.Linear(features, latents)
        self.fc_var = nn.Linear(features, latents)

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Posterior:
        mean, log_variance = self.fc_mu(features), self.fc_var(features)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return Posterior(mean + noise * (0.5 * log_variance).exp(), mean, log_variance)


class VaeDecoder(nn.Module):
    """Latents (b, rows, columns, channels) → `Decoded`. No token knows where it lies."""

    def __init__(self, options: VaeDecoderOptions) -> None:
        super().__init__()
        self.options = options
        width, (early, late) = options.width, options.depth
        self.decoder_embed = nn.Linear(options.latent_channels, width)
        self.blocks = _attention(options, early)
        self.upsample = nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(width // 4, width, 1))
        self.voxel_block = _attention(options, late)
        self.voxel_norm = nn.Sequential(nn.LayerNorm(width, eps=NORM_EPS), nn.GELU())
        self.voxel_pred = nn.Linear(width, options.patch**2 * options.layers)
        # The published networks start from 0 here, whatever bias their configuration asks for.
        nn.init.zeros_(self.voxel_pred.bias)
        if options.rendered:
            self.visual_block = _attention(options, late)
            self.visual_norm = nn.Sequential(nn.LayerNorm(width, eps=NORM_EPS), nn.GELU())
            self.visual_pred = nn.Linear(width, options.feature_layers * options.feature_channels)
            channels = options.feature_channels
            self.density_mlp = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 1))

    def forward(self, latents: Tensor) -> Decoded:
        x = self.decoder_embed(latents).permute(0, 3, 1, 2)
        x = self.upsample(self.blocks(x, return_dict=False)[0])
        logits = self.voxel_pred(_head(self.voxel_block, self.voxel_norm, x))
        logits = unpatched(logits.flatten(1, 2), tuple(x.shape[-2:]), self.options.patch)
        if not self.options.rendered:
            return Decoded(logits, None)
        features = self.visual_pred(_head(self.visual_block, self.visual_norm, x)).permute(0, 3, 1, 2)
        return Decoded(logits, features.unflatten(1, (self.options.feature_channels, self.options.feature_layers)))


class VaeAutoencoder(nn.Module):
    """Encoder, distribution and decoder."""

    def __init__(self, encoder: VaeEncoder, decoder: VaeDecoder) -> None:
        super().__init__()
        self.lidar_encoder, self.lidar_decoder = encoder, decoder
        self.variational_model = Variational(encoder.options.channels, decoder.options.latent_channels)

    def encode(self, cells: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """Cells (b, z, y, x) → latents (b, rows, columns, channels)."""
        return self.variational_model(self.lidar_encoder(cells), generator)

    def decode(self, latents: Tensor) -> Decoded:
        return self.lidar_decoder(latents)


def _attention(options: VaeDecoderOptions, depth: int) -> Transformer2DModel:
    network = Transformer2DModel(
        num_attention_heads=options.heads,
        attention_head_dim=options.width // options.heads,
        in_channels=options.width,
        num_layers=depth,
    )
    if options.recompute:
        network.enable_gradient_checkpointing()
    return network


def _head(block: Transformer2DModel, norm: nn.Module, x: Tensor) -> Tensor:
    """(b, d, rows, columns) → (b, rows, columns, d); what half precision overflowed counts as 0 or the largest number."""
    return norm(block(x, return_dict=False)[0].permute(0, 2, 3, 1).nan_to_num())
