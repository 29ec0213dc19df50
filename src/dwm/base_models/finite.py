"""Weights that are no numbers: found when they are read, by the name of the tensor, not in a grey video. Reads no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dwm.errors import DwmError


def require_finite(path: Path | str, state: Mapping[str, Tensor]) -> None:
    """Raises DwmError for the tensors of `path` that hold NaN or infinite numbers."""
    require_none(path, [name for name, value in state.items() if not is_finite(value)], len(state))


def require_none(path: Path | str, wrong: Sequence[str], count: int) -> None:
    """Raises DwmError where there are names of tensors with such numbers, of `count` tensors in all."""
    if wrong:
        more = f" and {len(wrong) - 1} more of {count} tensors" if len(wrong) > 1 else ""
        raise DwmError(
            f"{path}: {wrong[0]}{more} holds numbers that are not finite (NaN or infinite): training went astray, or the file "
            "is damaged; take an earlier save, or fetch it again"
        )


def is_finite(value: Tensor) -> bool:
    """Whether all numbers are finite. The sum tells in one pass and without a copy, but for sums that are too large."""
    if not value.is_floating_point() or value.is_meta or not value.numel():
        return True
    if value.dtype.itemsize < 2:  # float8 has no arithmetic
        value = value.to(torch.float32)
    return bool(torch.isfinite(value.sum(dtype=torch.float32))) or bool(torch.isfinite(value).all())
