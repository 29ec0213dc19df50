"""Published weights (`.pth`, `.safetensors`, sharded folders) into our networks: mapped from the file, never held twice.

Reads with `weights_only`; nothing in a file is ever run. Draws no pictures and picks no device.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor, nn

from dwm.base_models.finite import require_finite
from dwm.checkpoints.key_check import require_keys, shapes_of
from dwm.checkpoints.tensor_files import converted, read_tensors
from dwm.errors import DwmError
from dwm.networks import NetworkOptions
from dwm.networks.kinds import kind_of
from dwm.storage import limits, open_binary
from dwm.strict_json import LFS, lfs_pointer

SAFE = Version("2.10")
"""PyTorch from which `weights_only` is not known to be tricked."""
WHOLE_PARTS = (
    *("model_state_dict", "state_dict", "model", "module"),
    *("lidar_vae", "vae_bev_mm", "bi_directional_Transformer", "diffusion_model"),
)
"""Names under which training scripts wrap a state dict."""


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: keys taken from the file, keys of new blocks that it lacks (left at their start), keys renamed."""

    loaded: int
    new: tuple[str, ...]
    renamed: int

    def __str__(self) -> str:
        new = f", {len(self.new)} of new blocks start fresh" if self.new else ""
        renamed = f", {self.renamed} renamed" if self.renamed else ""
        return f"{self.loaded} tensors loaded{renamed}{new}"


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict, mapped from its file. Raises DwmError for what is no state dict: other pickles, LoRA, optimizers."""
    if path.is_dir():
        return read_tensors(path)
    if not path.is_file():
        raise DwmError(f"{path}: no such file of weights")
    if path.suffix == ".safetensors":
        return _checked(path, read_tensors(path))
    state = _read_pth(path)
    for name in WHOLE_PARTS:
        if isinstance(state, Mapping) and set(state) >= {name} and isinstance(state[name], Mapping):
            state = state[name]
    checked = _checked(path, state)
    require_finite(path, checked)
    return checked


def load_published(options: NetworkOptions, path: Path, dtype: torch.dtype | None = None) -> tuple[Any, LoadReport]:
    """The network of `options` with all its weights from `path`, strictly. dtype None keeps the file's."""
    return network_of(options, read_state(path), path, dtype)


def network_of(
    options: NetworkOptions, state: Mapping[str, Tensor], path: Path, dtype: torch.dtype | None = None
) -> tuple[Any, LoadReport]:
    """The same with a state dict that was read from `path`."""
    net = kind_of(options).without_numbers(options)
    _fill(net, state, path, dtype, lambda key: False)
    return net, LoadReport(len(state), (), 0)


def load_base(options: NetworkOptions, path: Path, dtype: torch.dtype | None = None) -> tuple[Any, LoadReport]:
    """A network for training whose base is SD 3, SD 3.5 or SD 2.1 at `path`; what these lack keeps its starting values.

    Starting values come from PyTorch's generator. Raises DwmError where the base is another one than the options ask for.
    """
    kind, stored = kind_of(options), read_state(path)
    net, state = kind.network()(options), kind.from_base(stored)
    _fill(net, state, path, dtype, kind.is_new)
    new = tuple(key for key in net.state_dict() if key not in state)
    renamed = sum(key not in stored for key in state)
    return net if dtype is None else net.to(dtype), LoadReport(len(state), new, renamed)


def _fill(
    net: nn.Module, state: Mapping[str, Tensor], path: Path, dtype: torch.dtype | None, may_lack: Callable[[str], bool]
) -> None:
    expected = net.state_dict()
    require_keys(path, shapes_of(state), shapes_of(expected), "the config", may_lack, _guess)
    _require_numbers(path, state, expected)
    net.load_state_dict({key: converted(value, dtype) for key, value in state.items()}, strict=False, assign=True)


def _read_pth(path: Path) -> object:
    """What a `.pth` holds, mapped from the file: tensors and plain containers only."""
    with open_binary(path) as file:
        start = file.read(64)
    if start.startswith(LFS):
        raise DwmError(f"{path}: {lfs_pointer()}")
    if start[:1] == b"\x80":
        raise DwmError(
            f"{path}: a bare pickle, not the zip of tensors that torch.save writes; load it where you trust it, and save its "
            "state dict again"
        )
    check_packing(path)
    if Version(torch.__version__) < SAFE:
        warnings.warn(
            f"{path}: PyTorch before {SAFE} can be tricked by a hostile .pth even so; take files from people you trust, or "
            "a newer PyTorch",
            stacklevel=2,
        )
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        raise DwmError(f"{path}: holds other objects than tensors; give the file of a network's state dict") from None
    except UNREADABLE:
        raise DwmError(f"{path}: not a whole .pth file: it ends early or is damaged; fetch it again") from None


UNREADABLE = (
    *(RuntimeError, EOFError, OSError, ValueError, MemoryError, RecursionError),
    *(LookupError, AttributeError, TypeError, AssertionError, OverflowError, ArithmeticError, struct.error),
)
"""What PyTorch's reader of pickles raises for bytes that are none: it takes their structure on trust."""


def check_packing(path: Path) -> None:
    """Raises DwmError where the parts of a `.pth` are packed: torch.save packs none, and a few bytes may become any number."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise DwmError(f"{path}: not a whole .pth file: it ends early or is damaged; fetch it again") from None
    for part in parts:
        if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
            raise DwmError(f"{path}: its part {part.filename} is packed, which torch.save never does; save it again")
        if part.filename.endswith(".pkl"):
            limits.check_size(f"{path}: {part.filename}", part.file_size, limits.TEXT)


def _check_claims(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raises DwmError for tensors that claim more numbers than a network has: with steps of zero a small file may claim any."""
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    limits.check_size(f"{path}: its tensors", claimed, limits.WEIGHTS)


def _checked(path: Path, state: object) -> dict[str, Tensor]:
    if isinstance(state, Mapping) and {"state", "param_groups"} <= set(state):
        raise DwmError(f"{path}: holds an optimizer's state; give the file of the network's weights")
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items())
    ):
        raise DwmError(f"{path}: holds no state dict (names and tensors); give the file of a network's weights")
    for key, value in state.items():
        if (wrong := _no_weight(value)) is not None:
            raise DwmError(f"{path}: {key[:100]} {wrong}; save the network's plain state dict")
    if any(re.search(r"lora_(A|B|up|down)", key) for key in state):
        raise DwmError(f"{path}: holds LoRA weights, which change a network but are none; give the network's own file")
    _check_claims(path, state)
    return dict(state)


def _no_weight(value: Tensor) -> str | None:
    """What keeps a tensor from being a weight: None for plain numbers in memory."""
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return f"is a {str(value.layout).removeprefix('torch.')} or quantized tensor, not a plain one"
    if value.is_meta:
        return "has a shape but no numbers (it was saved from the meta device)"
    if value.is_complex():
        return "holds complex numbers"
    return None


def _require_numbers(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises DwmError where whole numbers stand for fractions, as in quantized weights."""
    unlike = [key for key in state if state[key].is_floating_point() != expected[key].is_floating_point()]
    if unlike:
        kind = str(state[unlike[0]].dtype).removeprefix("torch.")
        raise DwmError(
            f"{path}: {len(unlike)} tensors are not of the config's kind of numbers ({unlike[0]} is {kind}); quantized "
            "weights are not read: give float16, bfloat16 or float32"
        )


def _guess(missing: Iterable[str], surplus: Iterable[str], shapes: Iterable[str]) -> str:
    has_35 = re.compile(r"(?<!crossview_)(?<!temporal_)transformer_blocks\.\d+\.(attn2|attn\.norm_(added_)?[qk])")
    if any(has_35.search(key) for key in missing):
        return "; the file looks like SD 3, the config asks for SD 3.5 (qk_norm, dual_attention_layers)"
    if any(has_35.search(key) for key in surplus):
        return "; the file looks like SD 3.5, the config asks for SD 3 (qk_norm, dual_attention_layers)"
    if "pos_embed.pos_embed" in set(shapes):
        return "; pos_embed_max_size of the config is another one (SD 3: 192, SD 3.5: 384)"
    return ""
