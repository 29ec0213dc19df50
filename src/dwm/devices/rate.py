"""How fast a device multiplies matrices: the yardstick for everything else."""

from __future__ import annotations

import time

import torch

from dwm.devices.machine import synchronize


def peak_rate(device: torch.device, dtype: torch.dtype = torch.float32, seconds: float = 1.0, size: int = 0) -> float:
    """The best rate of square matrix products in operations per second, a product and a sum counting two.

    Measured over about `seconds`, with the threads that PyTorch may use. `size` is the side; 0: fit for the device.
    """
    side = size or (1024 if device.type == "cpu" else 8192)
    a = torch.ones(side, side, device=device, dtype=dtype)
    b, out = a.clone(), a.clone()
    torch.mm(a, b, out=out)
    synchronize(device)
    best, deadline = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < deadline:
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best
