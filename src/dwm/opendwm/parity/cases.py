"""Recorded cases: a folder with `case.json`, inputs, outputs and weights; and how far a result lies from its record."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dwm.errors import DwmError
from dwm.storage import limits, read_file, regular
from dwm.strict_json import parse_json

LOOSE_BOUNDS = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Relative L2 allowed where the recorded tolerance (float32 on a CPU) does not apply."""


SCORES = (
    "byte_conversion",
    "clips",
    "fid",
    "fvd",
    "i3d_features",
    "inception_features",
    "kid",
    "libraries",
    "pictures",
    "prc",
    "resize",
    "sharding",
)
"""Kinds whose cases lie in folders of these names and say no kind themselves."""


@dataclass(frozen=True)
class Setup:
    """Where and in which precision cases are computed; base_models replaces the folder of that name beside the cases."""

    device: torch.device
    dtype: torch.dtype
    base_models: Path | None = None

    @property
    def strict(self) -> bool:
        """Whether the tolerances in the cases hold."""
        return self.device.type == "cpu" and self.dtype in (torch.float32, torch.float64)


@dataclass(frozen=True)
class Case:
    """One recorded case. `data` is its case.json."""

    folder: Path
    data: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.data.get("name", self.folder.name))

    @property
    def kind(self) -> str:
        return str(self.data.get("kind", ""))

    @property
    def config(self) -> Mapping[str, Any]:
        return self.need("config")

    @property
    def call(self) -> Mapping[str, Any]:
        return self.data.get("call", {})

    def need(self, key: str) -> Any:
        """An entry of case.json that this kind of case cannot do without."""
        if key not in self.data:
            raise DwmError(f"{self.folder / 'case.json'}: lacks {key}")
        return self.data[key]

    def input(self, name: str) -> Tensor:
        """A tensor that this kind of case cannot do without."""
        if name not in self.inputs:
            raise DwmError(f"{self.folder / 'inputs.safetensors'}: lacks {name}")
        return self.inputs[name]

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return read_tensors(self.folder / "inputs.safetensors")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        return read_tensors(self.folder / "outputs.safetensors")

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The state dict, floating numbers as float32."""
        shared = self.data.get("weights_from")
        folder = self.folder if shared is None else self.find(shared)
        loaded = read_tensors(folder / "weights.safetensors")
        return {k: v.float() if v.is_floating_point() else v for k, v in loaded.items()}

    def find(self, name: str, setup: Setup | None = None) -> Path:
        """A file or folder that the case names: beside it or in any parent; `base_models/…` also where the setup says.

        Since parents are searched, a leading `../` says nothing more.
        """
        while name.startswith("../"):
            name = name.removeprefix("../")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DwmError(f"{self.folder / 'case.json'}: {name!r} leaves the folders of the cases")
        head, _, rest = name.partition("/")
        if head == "base_models" and setup is not None and setup.base_models is not None:
            return _existing(setup.base_models / rest, self.folder, name)
        for parent in (self.folder, *Path(os.path.realpath(self.folder)).parents):
            if (parent / name).exists():
                return parent / name
        raise DwmError(f"{self.folder / 'case.json'}: {name!r} is neither beside the case nor in a folder above it")


@dataclass(frozen=True)
class Deviation:
    """How far one tensor lies from its record: largest error, the bound where it is worst, and relative L2."""

    tensor: str
    error: float
    bound: float
    relative: float
    passed: bool


def find_cases(root: Path) -> list[Path]:
    """The folder of the case in `root`, or of all cases below it, in order. Raises DwmError where there is none."""
    if not root.is_dir():
        raise DwmError(f"{root}: no such folder; give a case, a group of cases, or the folder of all")
    folders = [path.parent for path in _walk(root)]
    if not folders:
        raise DwmError(f"{root}: no case.json in it or below it")
    return folders


def read_case(folder: Path) -> Case:
    """The case in a folder. Raises DwmError where its case.json is not one that can be computed."""
    path = folder / "case.json"
    data = parse_json(read_file(path, limits.TEXT), str(path), "record the case again")
    if not isinstance(data, dict):
        raise DwmError(f"{path}: expected an object {{…}}, found {type(data).__name__}")
    data = _with_kind(folder, data)
    if "kind" not in data:
        raise DwmError(f"cases of the group {folder.parent.name!r} cannot be computed yet: case.json names no kind")
    return Case(folder, data)


def compare(case: Case, name: str, got: Tensor, setup: Setup) -> Deviation:
    """Against the record under the case's own tolerance, or under the loose bound off float32 on a CPU."""
    want = case.outputs[name].double()
    if got.numel() != want.numel():
        raise DwmError(f"{case.name}: {name} has shape {tuple(got.shape)}, recorded {tuple(want.shape)}")
    result = got.detach().cpu().double().reshape(want.shape)
    off = (result - want).abs().masked_fill(result.isnan() & want.isnan(), 0.0)
    relative = float(off.norm() / want.nan_to_num().norm().clamp_min(1e-12))
    if off.numel() == 0:
        return Deviation(name, 0.0, 0.0, 0.0, True)
    if not setup.strict:
        bound = LOOSE_BOUNDS[setup.dtype]
        return Deviation(name, float(off.max()), bound, relative, relative <= bound)
    allowed = _allowed(case, name, want)
    worst = int((off / allowed.clamp_min(1e-30)).nan_to_num(nan=torch.inf).argmax())
    error = float(off.flatten()[worst])
    return Deviation(name, error, float(allowed.flatten()[worst]), relative, bool((off <= allowed).all()))


def join_gradients(case: Case, deviations: tuple[Deviation, ...]) -> tuple[Deviation, ...]:
    """Off float32 on a CPU the gradient is judged as one vector: a rounded ReLU moves single small tensors far."""
    parts = [deviation for deviation in deviations if deviation.tensor.startswith("grad/")]
    if not parts:
        return deviations
    norms = [float(case.outputs[deviation.tensor].double().norm()) for deviation in parts]
    off = sum((deviation.relative * norm) ** 2 for deviation, norm in zip(parts, norms, strict=True)) ** 0.5
    relative = off / max(sum(norm**2 for norm in norms) ** 0.5, 1e-12)
    error, bound = max(deviation.error for deviation in parts), parts[0].bound
    whole = Deviation("grad/*", error, bound, relative, relative <= bound)
    return (*(deviation for deviation in deviations if deviation not in parts), whole)


def read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise DwmError(f"{path}: missing; a case consists of case.json, inputs, outputs and weights")
    try:
        return load_file(regular(path))
    except SafetensorError as error:
        raise DwmError(f"{path}: not a whole safetensors file ({error})") from None


def read_words(folder: Path) -> Any:
    """The prompts of a case."""
    path = folder / "inputs.json"
    return parse_json(read_file(path, limits.TEXT), str(path), "record the case again")


def _allowed(case: Case, name: str, want: Tensor) -> Tensor:
    """The bound of each element, from whichever form of tolerance the case states."""
    tolerance = case.need("tolerance")
    if tolerance.get("integers") == "exact" and not case.outputs[name].is_floating_point():
        return torch.zeros_like(want)
    if name in tolerance.get("per_output", {}):
        # A large number that is stored as float32 is not known more closely than to its last digit.
        digit = torch.finfo(torch.float32).eps * want.abs().nan_to_num() * case.outputs[name].is_floating_point()
        return torch.full_like(want, tolerance["per_output"][name]["suggested_abs"]).maximum(digit)
    if "float32" in tolerance:
        return torch.full_like(want, tolerance["float32"]["suggested_abs"])
    if name == "images":
        return torch.full_like(want, tolerance["images_atol"])
    return tolerance["atol"] + tolerance["rtol"] * want.abs()


def _walk(root: Path) -> Iterator[Path]:
    if (root / "case.json").is_file():
        yield root / "case.json"
        return
    yield from sorted(root.rglob("case.json"))


def _with_kind(folder: Path, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A score's case with its kind, which its folder's name is or holds; any other as it is."""
    kinds = [kind for kind in SCORES if kind in folder.name]
    if "kind" in data or not kinds:
        return data
    return {"tolerance": None, "config": {}, **data, "kind": max(kinds, key=len)}


def _existing(path: Path, folder: Path, name: str) -> Path:
    if not path.exists():
        raise DwmError(f"{folder / 'case.json'}: {name!r} is not at {path}; give another --base-models")
    return path
