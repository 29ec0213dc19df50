"""A CUDA device that does not exist, on which nothing is computed: for what can be proven of a GPU without one.

Tensors on it are fake: they have a shape, a dtype and a device, and no numbers. What lies in the processor's memory is real.
Only `load`, which must be called before PyTorch is imported, may be used before the others.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def load() -> None:
    """Compiles the device's guard, once for each version of PyTorch, and loads it."""
    assert "torch" not in sys.modules, "the guard must be there before PyTorch looks for a device"
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    torch = Path(spec.origin).parent
    version = (torch / "version.py").read_bytes()
    name = hashlib.sha256(version + SOURCE.read_bytes() + str(torch).encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"dwm-pretended-cuda-{os.getuid()}-{name}.so"
    if not library.exists():
        made = library.with_suffix(f".{os.getpid()}")
        links = ["-L", torch / "lib", f"-Wl,-rpath,{torch / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu", "-lc10"]
        options = ["-std=c++20", "-O0", "-shared", "-fPIC", "-w", "-I", torch / "include"]
        subprocess.run([compiler(), *options, SOURCE, "-o", made, *links], check=True)
        made.replace(library)
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
