"""Which device, in which precision, with how much memory. Vendors' libraries are loaded only when their device is asked for."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dwm.devices.precision import processor_dtype
from dwm.errors import DwmError

KINDS = ("cpu", "cuda", "npu")
BACKENDS = {"cpu": "gloo", "cuda": "nccl", "npu": "hccl"}
GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes of a device's memory: in use, free for new work, and all."""

    used: int
    free: int
    total: int


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name (`auto`, `cpu`, `cuda`, `cuda:1`, `npu`). Raises DwmError where it is not here."""
    if name == "auto":
        return pick_device("cuda") if torch.cuda.is_available() else _npu_or_cpu()
    kind, _, index = name.partition(":")
    if kind not in KINDS or (index and not index.isdigit()):
        raise DwmError(f"device: {name!r} is not known; known: auto, {', '.join(KINDS)}, cuda:1 and so on")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DwmError(
            "device: no CUDA device is usable here; use device=cpu, or install a driver and PyTorch for CUDA"
        )
    if kind == "npu":
        from dwm.devices import ascend

        ascend.load()
    count = device_count(kind)
    if index and int(index) >= count:
        raise DwmError(f"device: {name} does not exist; this machine has {count} of its kind, counted from 0")
    return torch.device(name)


def device_count(kind: str) -> int:
    """How many devices of a kind this machine has; a processor counts as one."""
    return 1 if kind == "cpu" else vendor(kind).device_count()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reproducible(name: str) -> Mapping[str, str]:
    """Applies what makes sums come out the same each time on this kind of device, before its first use; gives what was set."""
    if name.partition(":")[0] == "npu":
        from dwm.devices import ascend

        return ascend.precision()
    if name not in ("auto", "cpu"):
        return {}
    # MKL's exp differs by one bit between kinds of processors; times of 1000 make that bit visible in every layer.
    return {"MKL_CBWR": os.environ.setdefault("MKL_CBWR", "COMPATIBLE")}


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """float32 with all its digits: by default convolutions of some devices drop thirteen of them for speed (TF32)."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def group_backend(device: torch.device) -> str:
    """The backend of a process group whose tensors lie on this device."""
    return BACKENDS[device.type]


def supports_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed at speed, not emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "npu":
        return True
    flags = _cpu_flags()
    return "amx_bf16" in flags or "avx512_bf16" in flags


def default_dtype(device: torch.device) -> torch.dtype:
    """What is fastest there: on an accelerator bfloat16, else float16; on a CPU as measured, bfloat16 or float32."""
    if device.type == "cpu":
        return processor_dtype()
    return torch.bfloat16 if supports_bf16(device) else torch.float16


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    """Matrix products in `dtype`, weights as they are; nothing at all for float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def has_fused_adamw(kind: str) -> bool:
    """Whether AdamW is one kernel there: PyTorch's own devices have one since 2.4, `torch_npu` brings one in newer releases."""
    keys = {"cpu": "CPU", "cuda": "CUDA", "npu": "PrivateUse1"}
    kernel = "aten::_fused_adamw_"
    return kind in keys and torch._C._dispatch_has_kernel_for_dispatch_key(kernel, keys[kind])


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all that it was given; for measuring only."""
    if device.type != "cpu":
        vendor(device.type).synchronize(device)


def mark(device: torch.device) -> Any:
    """A mark in the device's queue, whose `synchronize` waits in another thread for all that came before; None on a CPU."""
    if device.type == "cpu":
        return None
    event = vendor(device.type).Event()
    event.record()
    return event


def memory(device: torch.device) -> Memory:
    """The device's memory; on a CPU the machine's."""
    if device.type != "cpu":
        free, total = vendor(device.type).mem_get_info(device)
        return Memory(total - free, free, total)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = _available_bytes() or total
    return Memory(total - available, available, total)


def peak_memory(device: torch.device) -> int:
    """Bytes held at most since the start or the last reset; on a CPU by this process since it began."""
    if device.type != "cpu":
        return vendor(device.type).max_memory_allocated(device)
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory(device: torch.device) -> None:
    """Starts `peak_memory` anew where the device can; a process on a CPU cannot."""
    if device.type != "cpu":
        vendor(device.type).reset_peak_memory_stats(device)


def describe(device: torch.device) -> str:
    """One line for people: name, memory, precision."""
    name = (
        platform.processor() or platform.machine()
        if device.type == "cpu"
        else vendor(device.type).get_device_name(device)
    )
    cores = f", {os.cpu_count()} cores" if device.type == "cpu" else ""
    precision = str(default_dtype(device)).removeprefix("torch.")
    return f"{device.type}: {name}{cores}, {memory(device).total / GIB:.1f} GiB, {precision}"


def _npu_or_cpu() -> torch.device:
    from dwm.devices import ascend

    return torch.device("npu") if ascend.present() else torch.device("cpu")


def vendor(kind: str):
    """torch.cuda or torch.npu: both speak the same language."""
    return getattr(torch, kind)


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    numbers = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    return int(numbers[0]) * 1024 if numbers else None
