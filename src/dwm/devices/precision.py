"""Which numbers a processor computes fastest in: measured once for its model and this PyTorch, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import nn

from dwm.errors import DwmError

SECONDS = 0.2
"""What measuring takes."""
GAIN = 1.2
"""How many times faster bfloat16 must be: less is not worth its digits."""
ROWS, WIDTH = 512, 512
NAMES = ("float32", "bfloat16")


def processor_dtype() -> torch.dtype:
    """float32 or bfloat16, whichever this processor computes faster in."""
    rates = processor_rates()
    return torch.bfloat16 if rates["bfloat16"] >= GAIN * rates["float32"] else torch.float32


@cache
def processor_rates() -> Mapping[str, float]:
    """Operations a second in float32 and in bfloat16 of a feed-forward layer with its norm, which is most of what our networks
    compute. Processors that have the instructions may still be slower with them."""
    path = _path()
    if (stored := _read(path)) is not None:
        return stored
    rates = measured_rates(SECONDS)
    with suppress(OSError, DwmError):  # a cache that cannot be written costs 0.2 s the next time
        from dwm.storage import atomic_write

        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(rates) + "\n", encoding="utf-8")
    return rates


@torch.no_grad()
def measured_rates(seconds: float) -> dict[str, float]:
    """The best rates of both within `seconds`, turn by turn, so that what else the machine does befalls both alike."""
    layers = {name: _layer(getattr(torch, name)) for name in NAMES}
    inputs = {name: torch.ones(ROWS, WIDTH, dtype=getattr(torch, name)) for name in NAMES}
    best = dict.fromkeys(NAMES, float("inf"))
    deadline, rounds = time.perf_counter() + seconds, 0
    while rounds < 2 or time.perf_counter() < deadline:
        for name in NAMES:
            started = time.perf_counter()
            layers[name](inputs[name])
            best[name] = min(best[name], time.perf_counter() - started)
        rounds += 1
    return {name: 2 * ROWS * 8 * WIDTH * WIDTH / spent for name, spent in best.items()}


def _layer(dtype: torch.dtype) -> nn.Module:
    """The layer without random numbers: nothing is drawn from the global ones."""
    with torch.device("meta"):
        layer = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
    layer.to(dtype).to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 0.01)
    return layer


def _path() -> Path:
    root = os.environ.get("DWM_CACHE") or user_cache_path("dwm", appauthor=False)
    about = f"{_model()}|{torch.__version__}|{torch.get_num_threads()}"
    return Path(root) / f"precision-{hashlib.sha256(about.encode()).hexdigest()[:16]}.json"


def _model() -> str:
    """The processor's model and what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.processor()} {platform.machine()}"
    names = ("model name", "flags", "Features", "CPU part")
    return "\n".join(next((line for line in lines if line.startswith(name)), "") for name in names)


def _read(path: Path) -> dict[str, float] | None:
    """What was measured before; None where nothing, or nothing that makes sense, lies there."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 1024:
            return None
        rates = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(rates, dict) or set(rates) != set(NAMES):
        return None
    good = all(isinstance(rate, float) and 0 < rate < float("inf") for rate in rates.values())
    return rates if good else None
