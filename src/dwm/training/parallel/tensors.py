"""Tensors that are spread over processes (DTensor): this process's part, its sum over the shards. Knows no network, no file.

PyTorch's part for them takes long to import, so it is loaded only where there are any.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor."""
    return hasattr(tensor, "device_mesh")


def local(tensor: Tensor) -> Tensor:
    """What of a tensor lies in this process; all of one that is not sharded. Shares its memory."""
    spread: Any = tensor
    return spread.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, gathered from the shards; every process of its mesh must ask."""
    spread: Any = tensor
    return spread.full_tensor() if is_sharded(tensor) else tensor


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process holds whole, spread as `like` is; nothing is sent."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(like, DTensor)
    everywhere = [Replicate()] * like.device_mesh.ndim
    replica = DTensor.from_local(tensor, like.device_mesh, everywhere, run_check=False)
    return replica.redistribute(placements=like.placements)


def sum_over_shards(value: Tensor, like: Tensor) -> Tensor:
    """The sum of `value` over the processes that hold the shards of one copy of `like`."""
    spread: Any = like
    for axis, placement in enumerate(spread.placements):
        if placement.is_shard():
            dist.all_reduce(value, group=spread.device_mesh.get_group(axis))
    return value
