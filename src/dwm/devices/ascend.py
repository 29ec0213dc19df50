"""Huawei's Ascend NPUs: their library, kernels and environment. Loaded only when `device: npu` is asked for.

`eval "$(python -m dwm.devices.ascend performance)"` sets the environment of a shell (or `precision`).
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

import torch
from torch import Tensor

from dwm.errors import DwmError

PRECISION: Mapping[str, str] = MappingProxyType(
    {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TASK_QUEUE_ENABLE": "2",
        "CPU_AFFINITY_CONF": "2",
        "HCCL_WHITELIST_DISABLE": "1",
        "HCCL_DETERMINISTIC": "true",
        "CLOSE_MATMUL_K_SHIFT": "1",
    }
)
"""Reproducible sums: deterministic collectives and matrix products; the settings of the published accuracy run."""

PERFORMANCE: Mapping[str, str] = MappingProxyType(
    {name: value for name, value in PRECISION.items() if name not in ("HCCL_DETERMINISTIC", "CLOSE_MATMUL_K_SHIFT")}
)
"""Speed first: a pipelined operator queue and fine core binding, sums in any order."""

SETTINGS = MappingProxyType({"precision": PRECISION, "performance": PERFORMANCE})

INSTALL = "install torch_npu for your CANN version, and source CANN's set_env.sh"


def present() -> bool:
    """Whether an NPU can be used: its library is installed and sees one. Never raises."""
    if importlib.util.find_spec("torch_npu") is None:
        return False
    try:
        load()
    except DwmError:
        return False
    return True


def load() -> ModuleType:
    """torch_npu, set up for training: kernels compiled ahead, plain memory formats. Raises DwmError where it is missing."""
    try:
        library = importlib.import_module("torch_npu")
    except ImportError as error:
        raise DwmError(f"device npu: torch_npu cannot be imported ({error}); {INSTALL}") from None
    npu = getattr(torch, "npu", None)
    if npu is None or not npu.is_available():
        raise DwmError(f"device npu: torch_npu is here, but no NPU answers; {INSTALL}, and look at npu-smi info")
    npu.set_compile_mode(jit_compile=False)
    npu.config.allow_internal_format = False
    return library


def precision() -> Mapping[str, str]:
    """Applies `PRECISION` and returns what it set. To be called before the first use of the device."""
    return _apply(PRECISION)


def performance() -> Mapping[str, str]:
    """Applies `PERFORMANCE` and returns what it set. To be called before the first use of the device."""
    for name in PRECISION.keys() - PERFORMANCE.keys():
        os.environ.pop(name, None)
    return _apply(PERFORMANCE)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The fused kernel; it wants both tensors in one dtype, the weight's if that is half."""
    if weight.dtype in (torch.float16, torch.bfloat16):
        x = x.to(weight.dtype)
    return load_once().npu_rms_norm(x, weight.to(x.dtype), epsilon=eps)[0]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The fused kernel in its (batch, heads, sequence, width) layout. Its mask is True where attention is forbidden."""
    blocked = None if mask is None else (~mask).expand(q.shape[0], 1, q.shape[2], k.shape[2]).contiguous()
    scale = 1 / math.sqrt(q.shape[-1])
    return load_once().npu_fusion_attention(
        q, k, v, head_num=q.shape[1], input_layout="BNSD", atten_mask=blocked, scale=scale
    )[0]


def load_once() -> ModuleType:
    """The library without its checks: for calls inside a network."""
    return importlib.import_module("torch_npu")


def _apply(settings: Mapping[str, str]) -> Mapping[str, str]:
    os.environ.update(settings)
    return settings


def exports(name: str) -> str:
    """The settings of this name (`precision`, `performance`) as lines for a shell. Raises DwmError for another name."""
    if name not in SETTINGS:
        raise DwmError(f"{name!r} is not known; known: {', '.join(SETTINGS)}")
    return "\n".join(f"export {key}={value}" for key, value in SETTINGS[name].items())


if __name__ == "__main__":
    import sys

    try:
        print(exports(sys.argv[1] if len(sys.argv) == 2 else ""))
    except DwmError as error:
        sys.exit(f"dwm.devices.ascend: {error}")
