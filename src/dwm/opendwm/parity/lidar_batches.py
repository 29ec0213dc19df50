"""What LiDAR's recorded runs have in common: their networks with weights, and a batch as our parts take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dwm.conditions.birdseye_layout import normalise
from dwm.data.points import moved
from dwm.errors import DwmError
from dwm.networks.lidar.swin import COMPUTED
from dwm.networks.lidar.voxels import VoxelGrid
from dwm.opendwm.config.lidar_networks import voxel_grid
from dwm.opendwm.parity.cases import Case, Setup, read_tensors
from dwm.opendwm.parity.lidar_functions import LAYOUTS, clouds
from dwm.opendwm.parity.networks import Net


@dataclass(frozen=True)
class SweepBatch:
    """Sweeps in the vehicle's frame by clip and frame, their cells (b, t, z, y, x), and the layout (b, t, c, H, W)."""

    sweeps: list[list[Tensor]]
    cells: Tensor
    layout: Tensor | None


def batch_of(case: Case, grid: VoxelGrid, setup: Setup, prefix: str = "") -> SweepBatch:
    """The batch whose inputs' names begin with `prefix`."""
    poses = case.input(f"{prefix}lidar_transforms").to(setup.device, setup.dtype)
    sweeps = clouds(case.inputs, f"{prefix}lidar_points")
    sweeps = [
        [moved(sweep[:, :3].to(poses), poses[i, j, 0]) for j, sweep in enumerate(clip)] for i, clip in enumerate(sweeps)
    ]
    pictures = [normalise(case.inputs[f"{prefix}{name}"]) for name in LAYOUTS if f"{prefix}{name}" in case.inputs]
    layout = torch.cat(pictures, dim=2).to(setup.device, setup.dtype) if pictures else None
    return SweepBatch(sweeps, grid.stack(sweeps).to(poses), layout)


def pipeline_of(case: Case) -> Mapping[str, Any]:
    return case.config["pipeline"]


def grid_of(section: Mapping[str, Any], where: str) -> VoxelGrid:
    return voxel_grid(section["voxelizer"], f"{where}.voxelizer")


def load_file(case: Case, setup: Setup, name: str, net: Net) -> Net:
    """The network with the weights that the case names for this attribute of the pipeline."""
    path = case.find(case.need("weights")[name])
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_tensors(path).items()}
    computed = {key: value for key, value in net.state_dict().items() if key.split(".")[-1] in COMPUTED}
    state = computed | state
    expected = set(net.state_dict())
    if expected != set(state):
        lacking, surplus = sorted(expected - set(state))[:5], sorted(set(state) - expected)[:5]
        raise DwmError(f"{path}: lacks {lacking or 'nothing'}, has in surplus {surplus or 'nothing'}")
    net.load_state_dict(state)
    return net.to(setup.device, setup.dtype).eval()


def generators(case: Case) -> tuple[torch.Generator, torch.Generator]:
    """One in place of PyTorch's global numbers, and the pipeline's own."""
    shared, own = torch.Generator(), torch.Generator()
    shared.manual_seed(int(case.data.get("global_seed", 0)))
    own.manual_seed(int(case.config.get("generator_seed", 0)))
    return shared, own
