"""Weights of OpenDWM's LiDAR networks: which network of a run a file holds, strictly checked, and written as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dwm.checkpoints.key_check import require_keys, shapes_of
from dwm.checkpoints.lidar import expected_of, read_lidar_state, save_lidar
from dwm.config.lidar import LidarRecipe
from dwm.errors import DwmError
from dwm.runs.lidar.train import blank_networks
from dwm.storage import atomic_folder, check_folder


def convert_lidar_weights(
    source: Path, folder: Path, run: LidarRecipe, dtype: torch.dtype | None = None, config: str = "config"
) -> tuple[Path, int]:
    """Writes `folder` with the weights of the one network of the run that `source` fits: autoencoder or generator.

    Returns the file (.safetensors) and the number of tensors. Raises DwmError where it fits none.
    """
    check_folder(folder, empty=True)
    state = read_lidar_state(source)
    name, net = _fitting(source, state, blank_networks(run))
    require_keys(source, shapes_of(state), shapes_of(expected_of(net)), f"the {name} of {config}")
    with atomic_folder(folder) as beside:
        count = save_lidar(beside / f"{name}.safetensors", state, dtype)
    return folder / f"{name}.safetensors", count


def _fitting(source: Path, state: Mapping[str, Tensor], networks: Mapping[str, nn.Module]) -> tuple[str, nn.Module]:
    """The network with most of the file's names."""
    common = {name: len(set(state) & set(net.state_dict())) for name, net in networks.items()}
    best = max(common, key=lambda name: common[name])
    if not common[best]:
        raise DwmError(f"{source}: no tensor of it belongs to a network of the config ({', '.join(networks)})")
    return best, networks[best]
