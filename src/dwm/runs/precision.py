"""What generation computes in: one rule for every verb, said in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch

from dwm.config.files import read_json
from dwm.devices import default_dtype, processor_rates, supports_bf16, usable_cores
from dwm.errors import DwmError
from dwm.runs.claim import PRECISION_NAME, begun
from dwm.storage import atomic_write

DTYPES = ("float32", "bfloat16", "float16")
DtypeChoice = Literal["auto", "float32", "bfloat16", "float16"]


def chosen_dtype(choice: str | None, device: torch.device) -> torch.dtype:
    """The dtype that a run asks for, or what is fastest on the device (`auto`, None)."""
    return default_dtype(device) if choice in (None, "auto") else getattr(torch, str(choice))


def precision_line(choice: str | None, device: torch.device) -> str:
    """What is computed in on this device, and why."""
    name = str(chosen_dtype(choice, device)).removeprefix("torch.")
    if choice not in (None, "auto"):
        return f"computing in {name}, as asked"
    if device.type != "cpu":
        return f"computing in {name}, the fastest of {device.type}"
    rates = processor_rates()
    shown = ", ".join(f"{kind} {rate / 1e9:.0f} GFLOP/s" for kind, rate in rates.items())
    threads, cores = torch.get_num_threads(), usable_cores()
    where = f" on {threads} of {cores} cores" if threads < cores else ""
    return f"computing in {name}{where} (measured on this processor: {shown}; --dtype says otherwise)"


def training_dtype(choice: str | None, device: torch.device, output: Path) -> torch.dtype:
    """What matrix products of a training run are computed in: as it asks; as it began, where it goes on on the same kind of
    device; else what is fastest there. Older runs began in bfloat16 wherever there were instructions for it."""
    if choice is not None:
        return getattr(torch, choice)
    path = output / PRECISION_NAME
    if path.is_file():
        began = read_json(path)
        if not isinstance(began, dict) or began.get("dtype") not in DTYPES:
            raise DwmError(
                f"{path}: names no dtype ({', '.join(DTYPES)}); remove it to compute in what is fastest here"
            )
        if began.get("device") == device.type:
            return getattr(torch, str(began["dtype"]))
    elif begun(output):
        usual = torch.float32 if device.type == "cpu" else torch.float16
        return torch.bfloat16 if supports_bf16(device) else usual
    return default_dtype(device)


def note_training_dtype(dtype: torch.dtype, device: torch.device, output: Path) -> None:
    """Writes down what a run computes in, for when it goes on."""
    name = str(dtype).removeprefix("torch.")
    with atomic_write(output / PRECISION_NAME) as temporary:
        temporary.write_text(json.dumps({"device": device.type, "dtype": name}) + "\n", encoding="utf-8")
