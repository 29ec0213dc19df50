"""What a sampling step costs, and what each way of making it faster is worth: variants take turns in one process.

    python benchmarks/generate.py [--compare now,own_linear,…] [--case images|video|long|wide] [--rounds 9] [--json FILE]
    python benchmarks/generate.py --as-reference [--case images|video|long] [--dtype bfloat16]

Each round runs every variant once; processor time, its median and p90, the ratio to the first variant (the median of the
rounds' ratios), operations, their share of the measured peak, and how far the result lies from the first's. `now` is the
package as it is; `own_…` takes one thing back, `compiled` adds one. `--as-reference` sets a whole generation beside one the
way OpenDWM computes it (`whole_generation.py`). Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import whole_generation
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dwm.devices import Compiler, peak_memory, pick_device, synchronize
from dwm.networks import Conditions, CrossviewTemporalDiT, DiTOptions, feed_forward
from dwm.recipes.sd3 import layout_adapter, sd35_network
from dwm.recipes.town import town_network

WARM_UP = 2


@contextmanager
def now() -> Iterator[None]:
    """The package as it is."""
    yield


@contextmanager
def own_linear() -> Iterator[None]:
    """Linear layers, and GELU after its product, by PyTorch's kernels."""
    with patch.object(feed_forward, "has_linear_kernel", lambda x, weight: False):
        yield


@contextmanager
def compiled() -> Iterator[None]:
    """As `--compile` has it; compiling itself falls into the warm-up."""
    with patch.object(CrossviewTemporalDiT, "_recomputed", _compiled):
        yield


VARIANTS = {variant.__name__: variant for variant in (now, own_linear, compiled)}
COMPILER = Compiler()
COMPILED: dict[nn.Module, Callable[..., Any]] = {}


def _compiled(network: CrossviewTemporalDiT, recompute: bool, block: nn.Module, *inputs: Any) -> Any:
    if block not in COMPILED:
        COMPILED[block] = COMPILER.compiled(block.forward)
    return COMPILED[block](*inputs)


@dataclass(frozen=True)
class Case:
    """A network and the latents of one step; b counts both halves of guidance."""

    network: Callable[[], DiTOptions]
    latents: tuple[int, int, int, int, int]
    words: int


def wide() -> DiTOptions:
    """Layers of Stable Diffusion 3.5's width, few of them."""
    few: dict[str, Any] = {"num_layers": 3, "dual_attention_layers": (0, 1), "crossview_block_layers": (0,)}
    adapter = layout_adapter()
    adapter = adapter.with_(channels=adapter.channels[:1], is_downblocks=adapter.is_downblocks[:1])
    return sd35_network().with_(**few, temporal_block_layers=(1,), condition_image_adapter_config=adapter)


CASES = {
    "images": Case(town_network, (2, 1, 6, 12, 20), 8),
    "video": Case(town_network, (2, 4, 6, 12, 20), 8),
    "long": Case(town_network, (2, 8, 6, 12, 20), 8),
    "wide": Case(wide, (1, 1, 3, 32, 56), 154),
}


@dataclass(frozen=True)
class Row:
    """What was measured of one variant: milliseconds of processor time (of the clock on accelerators) a step."""

    variant: str
    milliseconds: float
    p90: float
    ratio: float
    spread: tuple[float, float]
    difference: float


def step_of(case: Case, device: torch.device) -> tuple[Callable[[], Tensor], float]:
    """One pass of the network on invented latents and conditions, and its operations."""
    options, generator = case.network(), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    with device:
        network = CrossviewTemporalDiT(options).eval().requires_grad_(False)
    b, t, v, h, w = case.latents
    shape = (b, t, v, options.in_channels, h, w)

    def random(*size: int) -> Tensor:
        return torch.randn(b, t, v, *size, generator=generator).to(device)

    told = Conditions(
        text=random(case.words, options.joint_attention_dim),
        pooled=random(options.pooled_projection_dim),
        layout=random(6, 8 * h, 8 * w),
        added_ids=random((options.projection_class_embeddings_input_dim or 0) // 256),
        crossview_mask=torch.ones(b, v, v, dtype=torch.bool, device=device),
        disable_crossview=torch.zeros(b, dtype=torch.bool, device=device),
        disable_temporal=torch.zeros(b, dtype=torch.bool, device=device),
    )
    prepared, sample = network.prepare(told, shape), random(options.in_channels, h, w)
    times = torch.full((b, t, v), 500.0, device=device)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        network(sample, times, prepared)
    return lambda: network(sample, times, prepared), counter.get_total_flops()


def compared(
    work: Callable[[], Tensor], names: list[str], rounds: int, device: torch.device
) -> tuple[list[Row], float]:
    """The variants in turn, each once a round; and the rate of a plain product in operations a second, taken between them."""
    spent: dict[str, list[float]] = {name: [] for name in names}
    results: dict[str, Tensor] = {}
    side = 1024 if device.type == "cpu" else 8192
    square, rates = torch.ones(side, side, device=device), []
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for number in range(-WARM_UP, rounds):
        for name in names:
            with VARIANTS[name]():
                synchronize(device)
                started = clock()
                results[name] = work()
                synchronize(device)
                if number >= 0:
                    spent[name].append(1000 * (clock() - started))
        started = clock()
        square @ square
        synchronize(device)
        rates.append(2 * side**3 / (clock() - started))
    return [row(name, spent, results, names[0]) for name in names], median(rates[WARM_UP:])


def row(name: str, spent: Mapping[str, list[float]], results: Mapping[str, Tensor], first: str) -> Row:
    ratios = sorted(b / a for a, b in zip(spent[first], spent[name], strict=True))
    far = float((results[name] - results[first]).abs().max())
    p90 = sorted(spent[name])[math.ceil(0.9 * len(spent[name])) - 1]
    return Row(name, median(spent[name]), p90, median(ratios), (ratios[0], ratios[-1]), far)


def as_reference(case: str, rounds: int, device: torch.device, dtype: str, path: Path | None) -> None:
    """Prints a whole generation by both ways."""
    with torch.no_grad():
        found, apart = whole_generation.measured(whole_generation.FRAMES[case], rounds, device, getattr(torch, dtype))
    print(f"case {case}, {dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}, {device.type}")
    print(*found.lines(), sep="\n")
    print(
        f"pictures of both ways differ by at most {apart:.2f} of 255; peak memory {peak_memory(device) / 2**20:.0f} MiB"
    )
    if path is not None:
        path.write_text(json.dumps({"case": case, "dtype": dtype, "apart": apart, **asdict(found)}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--compare", default="now,own_linear", help=f"of {', '.join(VARIANTS)}; the first is the yardstick"
    )
    parser.add_argument("--case", default="long", choices=CASES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write what was measured there too")
    parser.add_argument("--quick", action="store_true", help="three rounds of the smallest case")
    parser.add_argument("--as-reference", action="store_true", help="a whole generation beside OpenDWM's way of it")
    parser.add_argument("--dtype", default="float32", help="of --as-reference: what products are computed in")
    given = parser.parse_args()
    names, case = given.compare.split(","), "images" if given.quick else given.case
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"--compare: {', '.join(sorted(unknown))} is not known; known: {', '.join(VARIANTS)}")
    torch.set_num_threads(given.threads)
    device = pick_device(given.device)
    if given.as_reference:
        as_reference(case, 3 if given.quick else given.rounds, device, given.dtype, given.json)
        return
    with torch.no_grad():
        work, operations = step_of(CASES[case], device)
        rows, peak = compared(work, names, 3 if given.quick else given.rounds, device)
    facts = {"case": case, "threads": given.threads, "torch": torch.__version__, "machine": platform.machine()}
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{operations / 1e9:.1f} billion operations; a product of matrices makes {peak / 1e9:.0f} billion a second;")
    print(
        f"peak memory {peak_memory(device) / 2**20:.0f} MiB; ms of {'processor' if device.type == 'cpu' else 'clock'} time"
    )
    print(f"{'variant':16} {'ms':>9} {'p90':>9} {'ratio':>7} {'from':>6} {'to':>6} {'of peak':>8} {'differs by':>11}")
    for one in rows:
        share = operations / (one.milliseconds / 1000) / peak
        print(
            f"{one.variant:16} {one.milliseconds:9.1f} {one.p90:9.1f} {one.ratio:7.2f} {one.spread[0]:6.2f} {one.spread[1]:6.2f} "
            f"{share:8.0%} {one.difference:11.1e}"
        )
    if given.json is not None:
        measured = {**facts, "operations": operations, "peak": peak, "rows": [asdict(one) for one in rows]}
        given.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
