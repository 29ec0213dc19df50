"""Copies from the processor's memory to a device, for which nobody waits. Knows only tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FETCHING = ("cuda", "npu")
"""Kinds of devices that fetch from pinned memory by themselves."""


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device. From ordinary memory it goes through pinned memory, from which a device fetches by itself."""
    device = torch.device(device)
    if device.type == "cpu" or tensor.device.type != "cpu":
        return tensor.to(device)
    if device.type in FETCHING and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def send_numbers(values: Sequence[Any], device: torch.device | str) -> Tensor:
    """A list of numbers as a tensor on a device; `torch.tensor(…, device=…)` would wait for it."""
    return send(torch.tensor(values), device)


def send_together(tensors: Mapping[str, Tensor | None], device: torch.device | str) -> dict[str, Tensor | None]:
    """Tensors by name on a device, in one copy for each dtype. What is None stays None."""
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    if torch.device(device).type == "cpu":
        return {**tensors, **{name: tensor.to(device) for name, tensor in present.items()}}
    sent: dict[str, Tensor | None] = dict(tensors)
    for dtype in {tensor.dtype for tensor in present.values()}:
        alike = {name: tensor for name, tensor in present.items() if tensor.dtype == dtype}
        flat = send(torch.cat([tensor.reshape(-1) for tensor in alike.values()]), device)
        parts = flat.split([tensor.numel() for tensor in alike.values()])
        sent |= {name: part.view(alike[name].shape) for name, part in zip(alike, parts, strict=True)}
    return sent
