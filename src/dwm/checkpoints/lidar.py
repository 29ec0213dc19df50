"""Weights of the networks of sweeps: published files and our own, strictly checked. Knows no run."""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dwm.checkpoints.key_check import require_keys, shapes_of
from dwm.checkpoints.published import read_state
from dwm.checkpoints.tensor_files import converted, write_tensors
from dwm.errors import DwmError
from dwm.networks.lidar.swin import COMPUTED
from dwm.storage import atomic_write, read_file
from dwm.strict_json import parse_json

RENAMED = {"bev_decoder.": "lidar_decoder."}
"""Beginnings of names in older files → ours."""

LEFT_ASIDE = ("vector_quantizer.reservoir", *COMPUTED)
"""A reservoir has as many rows as its first batch gave; the other two follow from the sizes."""

RENDERING = tuple(f"lidar_decoder.{name}." for name in ("visual_block", "visual_norm", "visual_pred", "density_mlp"))
"""Beginnings of names of the head for depths, which generation has no use for."""

MOST_CODES = 1 << 16
NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
AROUND = ("PROTO", "FRAME", "EMPTY_LIST", "LIST", "MARK", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP")


def read_lidar_state(path: Path) -> dict[str, Tensor]:
    """A file's tensors under our names, without what follows from the sizes."""
    state = {_renamed(name): value for name, value in read_state(path).items()}
    return {key: value for key, value in state.items() if not key.endswith(LEFT_ASIDE)}


def expected_of(net: nn.Module) -> dict[str, Tensor]:
    """What a file of this network holds."""
    return {key: value for key, value in net.state_dict().items() if not key.endswith(LEFT_ASIDE)}


def load_lidar(net: nn.Module, path: Path, source: str) -> None:
    """Fills a network. A file may have the head for depths in surplus. Raises DwmError where names or shapes differ."""
    state, expected = read_lidar_state(path), expected_of(net)
    state = {key: value for key, value in state.items() if key in expected or not key.startswith(RENDERING)}
    require_keys(path, shapes_of(state), shapes_of(expected), source)
    whole = {key: value.to(expected[key].dtype) for key, value in state.items()}
    net.load_state_dict({**net.state_dict(), **whole})


def save_lidar(path: Path, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> int:
    """Writes a network's state as one file, whole or not at all; how many tensors."""
    own = {key: converted(value, dtype) for key, value in state.items() if not key.endswith(LEFT_ASIDE)}
    with atomic_write(path) as beside:
        write_tensors(beside, own)
    return len(own)


def weights_file(path: Path, name: str) -> Path:
    """A file as it is; of a folder the file of the network `name`. Raises DwmError where there is none."""
    if not path.is_dir():
        return path
    file = path / f"{name}.safetensors"
    if not file.is_file():
        raise DwmError(f"{path}: holds no {name}.safetensors; give a folder of LiDAR weights, or the file itself")
    return file


def read_blank_codes(path: Path) -> tuple[int, ...]:
    """Codes of empty space: a JSON list, or OpenDWM's pickle of a plain list of numbers, which is read and never run."""
    data = read_file(path, MOST_CODES * 16)
    if path.suffix == ".json":
        codes = parse_json(data, str(path), "give a list of codes")
    else:
        codes = _pickled_numbers(data, path)
    if not isinstance(codes, list) or not all(type(code) is int and code >= 0 for code in codes):
        raise DwmError(f"{path}: expected a list of codes (numbers from 0)")
    return tuple(codes)


def _pickled_numbers(data: bytes, path: Path) -> list[int]:
    """The numbers of a pickle that holds one list and nothing else."""
    numbers: list[int] = []
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in NUMBERS and type(argument) is int:
                numbers.append(argument)
            elif operation.name not in (*AROUND, "APPEND", "APPENDS"):
                raise ValueError(operation.name)
    except Exception as error:  # whatever a damaged pickle does to its reader
        raise DwmError(
            f"{path}: is no pickle of a plain list of numbers ({error}); write the codes as a JSON list, [3, 7, …], in a .json"
        ) from None
    return numbers


def _renamed(name: str) -> str:
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
