"""Weights of OpenDWM's LiDAR networks: which network of a run a file holds, strictly checked, and written as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dwm.checkpoints.key_check import require_keys, shapes_of
from dwm.checkpoints.published import read_state
from dwm.checkpoints.tensor_files import converted, write_tensors
from dwm.errors import DwmError
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet
from dwm.networks.lidar.swin import COMPUTED
from dwm.networks.lidar.tokens import TokenNetwork
from dwm.opendwm.config.lidar_networks import token_options, vae_autoencoder, vq_autoencoder
from dwm.opendwm.config.names import UNET
from dwm.opendwm.config.networks import dit_options, unet_options
from dwm.storage import atomic_folder, check_folder

Build = Callable[[Mapping[str, Any], str], nn.Module]

RENAMED = {"bev_decoder.": "lidar_decoder."}
"""Beginnings of names in older files → ours."""

LEFT_ASIDE = ("vector_quantizer.reservoir", *COMPUTED)
"""A reservoir has as many rows as its first batch gave; the other two follow from the sizes."""


def build_network(section: Mapping[str, Any], where: str) -> nn.Module:
    """The diffusion network of a section."""
    if section.get("_class_name") == UNET:
        return CrossviewTemporalUNet(unet_options(section, where))
    return CrossviewTemporalDiT(dit_options(section, where))


NETWORKS: Mapping[str, Build] = {
    "vq_point_cloud": vq_autoencoder,
    "lidar_vae": vae_autoencoder,
    "autoencoder": vae_autoencoder,
    "bi_directional_Transformer": lambda section, where: TokenNetwork(token_options(section, where)),
    "diffusion_model": build_network,
}
"""Section of a run → what builds its network."""


def networks_of(settings: Mapping[str, Any], source: str) -> dict[str, nn.Module]:
    """The networks of a run by their sections, without memory for their weights. Raises DwmError for what cannot be built."""
    pipeline = settings.get("pipeline") or {}
    found = {}
    for name, build in NETWORKS.items():
        if isinstance(pipeline.get(name), Mapping):
            with torch.device("meta"):
                found[name] = build(pipeline[name], f"{source}: pipeline.{name}")
    if not found:
        raise DwmError(f"{source}: pipeline names none of {', '.join(NETWORKS)}")
    return found


def convert_lidar_weights(
    source: Path, folder: Path, settings: Mapping[str, Any], dtype: torch.dtype | None = None, config: str = "config"
) -> tuple[Path, int]:
    """Writes `folder` with the weights of the one network of the run that `source` fits, named for its section.

    Returns the file (.safetensors) and the number of tensors. Raises DwmError where it fits none.
    """
    check_folder(folder, empty=True)
    state = {_renamed(name): value for name, value in read_state(source).items()}
    name, net = _fitting(source, state, networks_of(settings, config))
    expected = {key: value for key, value in net.state_dict().items() if not key.endswith(LEFT_ASIDE)}
    state = {key: value for key, value in state.items() if not key.endswith(LEFT_ASIDE)}
    require_keys(source, shapes_of(state), shapes_of(expected), f"the network {name} of {config}")
    with atomic_folder(folder) as beside:
        write_tensors(beside / f"{name}.safetensors", {key: converted(value, dtype) for key, value in state.items()})
    return folder / f"{name}.safetensors", len(state)


def _renamed(name: str) -> str:
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _fitting(source: Path, state: Mapping[str, Tensor], networks: Mapping[str, nn.Module]) -> tuple[str, nn.Module]:
    """The network with most of the file's names."""
    common = {name: len(set(state) & set(net.state_dict())) for name, net in networks.items()}
    best = max(common, key=lambda name: common[name])
    if not common[best]:
        raise DwmError(f"{source}: no tensor of it belongs to a network of the config ({', '.join(networks)})")
    return best, networks[best]
