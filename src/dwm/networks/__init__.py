"""The driving networks: the DiT, the UNet, their blocks and adapters. They know no files, devices, parallelism or training."""

from dwm.networks.dit import CrossviewTemporalDiT
from dwm.networks.initialize import zero_extra_blocks, zero_modulation
from dwm.networks.inputs import Conditions
from dwm.networks.mask import Masking
from dwm.networks.options import AdapterOptions, DiTOptions
from dwm.networks.prepared import Prepared
from dwm.networks.unet import CrossviewTemporalUNet
from dwm.networks.unet_options import UNetOptions
from dwm.networks.unet_prepared import UNetPrepared

__all__ = [
    "AdapterOptions",
    "Conditions",
    "CrossviewTemporalDiT",
    "CrossviewTemporalUNet",
    "DiTOptions",
    "Masking",
    "Prepared",
    "UNetOptions",
    "UNetPrepared",
    "zero_extra_blocks",
    "zero_modulation",
]
