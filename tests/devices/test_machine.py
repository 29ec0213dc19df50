"""Devices are found or refused in one line; settings of an NPU are applied by name; the yardstick measures."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from dwm.devices import (
    ascend,
    autocast,
    default_dtype,
    describe,
    group_backend,
    has_fused_adamw,
    memory,
    peak_memory,
    peak_rate,
    pick_device,
    reproducible,
)
from dwm.errors import DwmError

CPU = torch.device("cpu")


def test_cpu_is_always_there() -> None:
    assert pick_device("cpu") == CPU
    assert group_backend(CPU) == "gloo"
    assert default_dtype(CPU) in (torch.float32, torch.bfloat16)
    assert "cpu" in describe(CPU)


@pytest.mark.parametrize("name", ["gpu", "cuda:first", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(DwmError, match="not known"):
        pick_device(name)


def test_a_device_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DwmError, match="does not exist"):
        pick_device("cpu:7")
    if not torch.cuda.is_available():
        with pytest.raises(DwmError, match="no CUDA device"):
            pick_device("cuda")


def test_npu_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_npu", None)
    with pytest.raises(DwmError, match="install torch_npu"):
        pick_device("npu")


def test_npu_is_set_up_when_it_is_picked() -> None:
    """In a process of its own: naming PyTorch's spare device type cannot be undone."""
    program = """
import sys, torch
from types import ModuleType, SimpleNamespace
torch.utils.rename_privateuse1_backend("npu")
made = []
torch.npu = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, config=SimpleNamespace(),
                            set_compile_mode=lambda **kw: made.append(kw))
sys.modules["torch_npu"] = ModuleType("torch_npu")
from dwm.devices import group_backend, pick_device
assert "torch_npu" not in repr(sys.modules["dwm.devices"].__dict__)
device = pick_device("npu:1")
assert (device.type, device.index) == ("npu", 1)
assert group_backend(device) == "hccl"
assert made == [{"jit_compile": False}] and torch.npu.config.allow_internal_format is False
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_npu_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_npu", ModuleType("torch_npu"))
    monkeypatch.setattr(torch, "npu", SimpleNamespace(is_available=lambda: False), raising=False)
    with pytest.raises(DwmError, match="no NPU answers"):
        pick_device("npu")


def test_settings_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert ascend.precision()["HCCL_DETERMINISTIC"] == "true"
    assert os.environ["CLOSE_MATMUL_K_SHIFT"] == "1"
    assert "HCCL_DETERMINISTIC" not in ascend.performance()
    assert "HCCL_DETERMINISTIC" not in os.environ
    assert os.environ["TASK_QUEUE_ENABLE"] == "2"


def test_settings_for_a_shell() -> None:
    command = [sys.executable, "-m", "dwm.devices.ascend", "performance"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "export TASK_QUEUE_ENABLE=2" in told and len(told) == len(ascend.PERFORMANCE)
    with pytest.raises(DwmError, match="'speed' is not known; known: precision, performance"):
        ascend.exports("speed")


def test_a_processor_and_an_npu_need_settings_for_reproducible_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.delitem(os.environ, "MKL_CBWR", raising=False)
    assert reproducible("cuda:1") == {} and "MKL_CBWR" not in os.environ
    assert reproducible("auto") == reproducible("cpu") == {"MKL_CBWR": "COMPATIBLE"}
    os.environ["MKL_CBWR"] = "AVX2"
    assert reproducible("cpu") == {"MKL_CBWR": "AVX2"}
    assert reproducible("npu:1") == ascend.PRECISION


def test_memory_and_rate_are_plausible() -> None:
    now = memory(CPU)
    assert 0 < now.free <= now.total
    assert 2**20 < peak_memory(CPU) < now.total
    assert peak_rate(CPU, seconds=0.01, size=128) > 1e7


def test_autocast_computes_products_in_the_asked_precision() -> None:
    a = torch.randn(4, 4)
    with autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert (a @ a).dtype == torch.float32


def test_no_other_room_names_a_vendor() -> None:
    package = Path(importlib.util.find_spec("dwm").origin).parent
    for path in sorted(package.rglob("*.py")):
        if package / "devices" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch_npu", "mindspeed") for name in modules), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                assert node.attr not in ("cuda", "npu"), f"{path}:{node.lineno} asks torch.{node.attr} itself"


def test_adamw_is_one_kernel_where_the_devices_library_brings_one():
    assert has_fused_adamw("cpu") and not has_fused_adamw("meta") and not has_fused_adamw("npu")
    with torch.library._scoped_library("aten", "IMPL") as library:
        library.impl("_fused_adamw_", lambda *_, **__: None, "PrivateUse1")
        assert has_fused_adamw("npu")
