"""The driving networks: the DiT, the UNet, their blocks and adapters. They know no files, devices, parallelism or training."""

from dwm.networks.dit.mask import Masking
from dwm.networks.dit.options import DiTOptions
from dwm.networks.dit.prepared import Prepared
from dwm.networks.dit.transformer import CrossviewTemporalDiT
from dwm.networks.initialize import zero_extra_blocks, zero_modulation
from dwm.networks.inputs import Conditions
from dwm.networks.options import AdapterOptions, NetworkOptions
from dwm.networks.protocol import DrivingNetwork
from dwm.networks.unet.network import CrossviewTemporalUNet
from dwm.networks.unet.options import UNetOptions
from dwm.networks.unet.prepared import UNetPrepared

__all__ = [
    "AdapterOptions",
    "Conditions",
    "CrossviewTemporalDiT",
    "CrossviewTemporalUNet",
    "DiTOptions",
    "DrivingNetwork",
    "Masking",
    "NetworkOptions",
    "Prepared",
    "UNetOptions",
    "UNetPrepared",
    "zero_extra_blocks",
    "zero_modulation",
]
