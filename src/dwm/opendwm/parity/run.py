"""Parity: computes recorded cases with our networks and says how far the numbers lie apart.

Each kind of case is computed by a handler in a module of its own; this one finds cases, compares and tabulates.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from dwm.errors import DwmError
from dwm.opendwm.parity.cases import Case, Deviation, Setup, compare, find_cases, join_gradients, read_case
from dwm.progress import track
from dwm.screen import plain

Handler = Callable[[Case, Setup], "Mapping[str, Tensor] | Sequence[Deviation]"]
"""Computes a case: tensors under the names of its outputs, or deviations that it has judged itself."""

HANDLERS = {
    "dit": "networks",
    "adapter": "networks",
    "blender": "networks",
    "ray_encoder": "networks",
    "attention_block": "networks",
    "unet": "unet",
    "transformer": "unet",
    "resblock": "unet",
    "scheduler": "schedulers",
    "pipeline": "pipelines",
    "streaming": "pipelines",
    "training": "training",
    "byte_conversion": "score_features",
    "clips": "score_features",
    "fid": "scores",
    "fvd": "scores",
    "i3d_features": "score_features",
    "inception_features": "score_features",
    "kid": "scores",
    "libraries": "scores",
    "pictures": "score_features",
    "prc": "scores",
    "resize": "score_features",
    "sharding": "scores",
    "voxelizer": "lidar_functions",
    "points": "lidar_functions",
    "bernoulli": "lidar_functions",
    "tables": "lidar_functions",
    "schedule": "lidar_functions",
    "conditions": "lidar_functions",
    "preview": "lidar_functions",
    "metrics": "lidar_functions",
    "render": "lidar_rendering",
    "quantizer": "lidar_rendering",
    "vq_encoder": "lidar_networks",
    "vq_decoder": "lidar_networks",
    "vae_encoder": "lidar_networks",
    "vae_decoder": "lidar_networks",
    "variational": "lidar_networks",
    "maskgit": "lidar_networks",
    "maskgit_sample": "lidar_tokens",
    "diffusion_sample": "lidar_latents",
    "vq_train": "lidar_training",
    "vae_train": "lidar_training",
    "vq_preview": "lidar_training",
    "maskgit_train": "lidar_generator_training",
    "diffusion_train": "lidar_generator_training",
}
"""Kind of case → the module beside this one whose function `run_<kind>(case, setup)` is its handler."""

OPTIONAL = "intermediate/"
"""Recorded values on the way: compared where the handler gives them, to show where a difference begins."""


@dataclass(frozen=True)
class CaseResult:
    """One case: its worst tensor, that tensor's error and bound (absolute when strict, else relative L2), and all others."""

    name: str
    kind: str
    passed: bool
    strict: bool
    worst: Deviation | None
    deviations: tuple[Deviation, ...]
    seconds: float
    note: str = ""
    folder: Path = Path()

    @property
    def error(self) -> float:
        """The largest absolute error of the case."""
        return max((deviation.error for deviation in self.deviations), default=float("nan"))

    @property
    def relative(self) -> float:
        """The largest relative L2 of the case."""
        return max((deviation.relative for deviation in self.deviations), default=float("nan"))


def run_parity(
    path: Path | str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    base_models: Path | str | None = None,
) -> list[CaseResult]:
    """Runs a case, a group of cases or all below a folder. A case that cannot run has failed; its note says why."""
    setup = Setup(torch.device(device), dtype, None if base_models is None else Path(base_models))
    return [run_case(folder, setup) for folder in track(find_cases(Path(path)), "parity", unit="cases")]


def run_case(folder: Path, setup: Setup) -> CaseResult:
    """Computes the case in a folder and compares every recorded output."""
    started = time.perf_counter()
    name, kind, deviations, note = folder.name, "", (), ""
    try:
        case = read_case(folder)
        name, kind = case.name, case.kind
        results = _handler(case)(case, setup)
        deviations = _compare_all(case, results, setup) if isinstance(results, Mapping) else tuple(results)
    except Exception as error:  # one broken case must not hide the others
        note = _line(error)
    worst = max(deviations, key=lambda deviation: _badness(deviation, setup), default=None)
    passed = bool(deviations) and all(deviation.passed for deviation in deviations)
    return CaseResult(name, kind, passed, setup.strict, worst, deviations, time.perf_counter() - started, note, folder)


def parity_table(results: Iterable[CaseResult]) -> Table:
    """One row per case: largest absolute error, relative L2, the tensor nearest to or farthest beyond its bound."""
    table = Table("case", "kind", "largest error", "relative L2", "worst tensor", "its bound", "s", "")
    for result in results:
        worst = result.worst
        cells = ("–", "–", "not computed", "–")
        if worst is not None:
            bound = f"{worst.bound:.1e}" + ("" if result.strict else " rel.")
            cells = (f"{result.error:.1e}", f"{result.relative:.1e}", escape(plain(worst.tensor)), bound)
        verdict = "[green]pass[/]" if result.passed else "[red]FAIL[/]"
        table.add_row(escape(plain(result.name)), escape(plain(result.kind)), *cells, f"{result.seconds:.1f}", verdict)
    return table


def _line(error: Exception) -> str:
    """What stopped a case, in one line; the class is told only where it is not we who speak."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join([error.title, *map(str, first['loc'])])}: {first['msg']}"
    text = " ".join(str(error).split())
    return text if isinstance(error, DwmError) else f"{type(error).__name__}: {text}"


def _handler(case: Case) -> Handler:
    module = HANDLERS.get(case.kind)
    if module is None:
        raise DwmError(f"cases of kind {case.kind!r} cannot be computed yet")
    try:
        handlers = importlib.import_module(f"dwm.opendwm.parity.{module}")
    except ModuleNotFoundError as error:
        if error.name != f"dwm.opendwm.parity.{module}":
            raise
        raise DwmError(f"cases of kind {case.kind!r} cannot be computed yet") from None
    return getattr(handlers, f"run_{case.kind}")


def _compare_all(case: Case, results: Mapping[str, Tensor], setup: Setup) -> tuple[Deviation, ...]:
    missing = [name for name in case.outputs if name not in results and not name.startswith(OPTIONAL)]
    if missing:
        raise DwmError(f"{case.name}: {', '.join(missing[:10])} recorded, but not computed")
    deviations = tuple(compare(case, name, results[name], setup) for name in case.outputs if name in results)
    return deviations if setup.strict else join_gradients(case, deviations)


def _badness(deviation: Deviation, setup: Setup) -> float:
    size = deviation.error if setup.strict else deviation.relative
    ratio = size / deviation.bound if deviation.bound else float(size > 0)
    return ratio if ratio == ratio else float("inf")
