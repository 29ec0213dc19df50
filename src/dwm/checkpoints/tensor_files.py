"""Tensors in safetensors files: one, or the parts of a folder. The one reader and the one writer of weights; knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dwm.base_models.finite import is_finite, require_none
from dwm.base_models.trust import check_parts
from dwm.errors import DwmError
from dwm.storage import regular
from dwm.strict_json import check_pointer

NAME = "diffusion_pytorch_model"
NAMES = (NAME, "model")
"""What diffusers and transformers call the files of a folder."""


def read_tensors(path: Path, dtype: torch.dtype | None = None, device: torch.device | None = None) -> dict[str, Tensor]:
    """The tensors of a file or of a folder's files, mapped from them where they keep their numbers (dtype None) and stay.

    One after another goes to the device in its dtype, so that never a second copy of all is held.
    Raises DwmError for what is missing, damaged or not finite.
    """
    if not path.is_dir():
        return _read(path, dtype, device)
    return {key: value for part in weight_files(path) for key, value in _read(part, dtype, device).items()}


def weight_files(folder: Path) -> list[Path]:
    """One file, or the parts that an index names."""
    for name in NAMES:
        index, alone = folder / f"{name}.safetensors.index.json", folder / f"{name}.safetensors"
        if index.is_file():
            return [folder / part for part in check_parts(index)]
        if alone.exists():
            return [alone]
    raise DwmError(f"{folder}: holds no {NAME}.safetensors and no index of parts; fetch or write it again")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Writes one file; the caller sees to it that it appears whole."""
    state: dict[str, Tensor] = {}
    memories: set[int] = set()
    for key, value in tensors.items():
        tensor = converted(value.detach().cpu(), dtype).contiguous()
        memory = tensor.untyped_storage().data_ptr()
        state[key] = tensor.clone() if memory in memories else tensor  # safetensors refuses tied parameters
        memories.add(memory)
    save_file(state, path, {"format": "pt"})


def converted(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The same numbers in `dtype`; None, and what are no fractions, stay as they are."""
    return value.to(dtype) if dtype is not None and value.is_floating_point() else value


def _read(path: Path, dtype: torch.dtype | None, device: torch.device | None) -> dict[str, Tensor]:
    regular(path)
    tensors: dict[str, Tensor] = {}
    wrong: list[str] = []
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                value = file.get_tensor(key)
                if not is_finite(value):
                    wrong.append(key)
                tensors[key] = converted(value, dtype).to(device or value.device)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if path.is_file():
            check_pointer(path)
        raise DwmError(f"{path}: not a whole safetensors file ({error}); fetch or write it again") from None
    require_none(path, wrong, len(tensors))
    return tensors
