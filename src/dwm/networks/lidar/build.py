"""Networks for sweeps from their options, with weights of chance. Reads no file."""

from __future__ import annotations

from dwm.networks.lidar.options import GridOptions, RayCodecOptions, VaeOptions, VqOptions
from dwm.networks.lidar.quantizer import VectorQuantizer
from dwm.networks.lidar.rays import RayCodec
from dwm.networks.lidar.vae import VaeAutoencoder, VaeDecoder, VaeEncoder
from dwm.networks.lidar.voxels import VoxelGrid
from dwm.networks.lidar.vq import VqAutoencoder, VqDecoder, VqEncoder

SweepAutoencoder = VqAutoencoder | VaeAutoencoder
SweepCodec = SweepAutoencoder | RayCodec


def grid_of(options: GridOptions) -> VoxelGrid:
    """Raises DwmError for a box that has no cells, or too many."""
    return VoxelGrid(**options.model_dump())


def autoencoder_of(options: VqOptions | VaeOptions | RayCodecOptions) -> SweepCodec:
    """The autoencoder of any kind."""
    if isinstance(options, RayCodecOptions):
        return RayCodec(options.rays)
    return vq_of(options) if isinstance(options, VqOptions) else vae_of(options)


def vq_of(options: VqOptions) -> VqAutoencoder:
    quantizer = VectorQuantizer(**options.quantizer.model_dump())
    return VqAutoencoder(VqEncoder(options.encoder), VqDecoder(options.decoder), quantizer, options.density_bias)


def vae_of(options: VaeOptions) -> VaeAutoencoder:
    return VaeAutoencoder(VaeEncoder(options.encoder), VaeDecoder(options.decoder))
