"""How much memory loading and converting take: a file of random weights, in a process of its own, every weight read.

python benchmarks/load_memory.py [--gigabytes 2]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from dwm.networks import CrossviewTemporalDiT, DiTOptions

CONVERT = """
import resource, sys, time
from pathlib import Path
from dwm.networks import DiTOptions
from dwm.opendwm.convert_weights import convert_weights
from dwm.recipes import Recipe
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
run = Recipe(network=DiTOptions.model_validate_json(sys.argv[2]))
before, started = resident(), time.perf_counter()
convert_weights(Path(sys.argv[1]), Path(sys.argv[1]).parent / "converted", run)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak - before, time.perf_counter() - started)
"""
LOAD = """
import resource, sys, time
from pathlib import Path
from dwm.networks import DiTOptions
from dwm.generation.published import load_published
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
before, started = resident(), time.perf_counter()
net, _ = load_published(DiTOptions.model_validate_json(sys.argv[2]), Path(sys.argv[1]))
loaded = time.perf_counter() - started
total = sum(float(value.float().abs().max()) for value in net.state_dict().values())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak - before, loaded)
"""


def options_of(gigabytes: float) -> DiTOptions:
    """A transformer of about this size in float32: six layers with one cross-view and one temporal block each."""
    heads = max(1, round((gigabytes * 1e9 / 4 / 6 / 80) ** 0.5 / 64) - 2)
    return DiTOptions(
        num_layers=6,
        num_attention_heads=heads,
        caption_projection_dim=64 * heads,
        qk_norm="rms_norm",
        enable_crossview=True,
        crossview_attention_type="rowwise",
        crossview_block_layers=tuple(range(6)),
        enable_temporal=True,
        temporal_attention_type="rowwise",
        temporal_block_layers=tuple(range(6)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    options = options_of(parser.parse_args().gigabytes)
    with tempfile.TemporaryDirectory() as folder:
        state = CrossviewTemporalDiT(options).state_dict()
        print(f"{'what':22} {'GB':>6} {'peak above start, GB':>22} {'ratio':>6} {'seconds':>8}")
        for suffix, save in (("pth", torch.save), ("safetensors", save_file)):
            path = Path(folder) / f"weights.{suffix}"
            save(state, path)
            for what, script in (("load", LOAD), ("convert", CONVERT)):
                measure(f"{what} .{suffix}", script, path, options)
                shutil.rmtree(Path(folder) / "converted", ignore_errors=True)
            path.unlink()


def measure(what: str, script: str, path: Path, options: DiTOptions) -> None:
    size = path.stat().st_size
    command = [sys.executable, "-c", script, str(path), options.model_dump_json()]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    peak, seconds = map(float, found[-2:])
    print(f"{what:22} {size / 1e9:6.2f} {peak / 1e9:22.2f} {peak / size:6.2f} {seconds:8.2f}", flush=True)


if __name__ == "__main__":
    main()
