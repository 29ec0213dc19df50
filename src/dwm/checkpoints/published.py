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
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dwm.base_models.finite import require_finite
from dwm.base_models.trust import check_parts
from dwm.errors import DwmError
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet, DiTOptions, NetworkOptions, UNetOptions
from dwm.storage import limits, open_binary, regular
from dwm.strict_json import LFS, check_pointer, lfs_pointer

KEYS_SHOWN = 10
SAFE = Version("2.10")
"""PyTorch from which `weights_only` is not known to be tricked."""
WHOLE_PARTS = ("model_state_dict", "state_dict", "model", "module")
"""Names under which training scripts wrap a state dict."""

Network = CrossviewTemporalDiT | CrossviewTemporalUNet
NETWORKS: dict[type[NetworkOptions], Callable[[Any], Network]] = {
    DiTOptions: CrossviewTemporalDiT,
    UNetOptions: CrossviewTemporalUNet,
}

NEW_IN_DIT = (
    "crossview_transformer_blocks.",
    "temporal_transformer_blocks.",
    "view_mixers.",
    "time_mixers.",
    "view_pos_embeds.",
    "time_pos_embeds.",
    "view_embedding.",
    "rayencoder.",
    "condition_image_adapter.",
    "mask_module.",
)
"""Beginnings of keys that SD 3 and 3.5 do not have."""

NEW_IN_UNET = re.compile(
    r"(^|\.)(crossview_transformer_blocks|temporal_transformer_blocks|temporal_res_block|time_mixer|view_mixer"
    r"|time_pos_embed|view_pos_embed|add_embedding|condition_image_adapter)\."
)
"""Parts of keys that SD 2.1 does not have."""


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: keys taken from the file, keys of new blocks that it lacks (left at their start), keys renamed."""

    taken: int
    new: tuple[str, ...]
    renamed: int

    def __str__(self) -> str:
        new = f", {len(self.new)} of new blocks start fresh" if self.new else ""
        renamed = f", {self.renamed} renamed" if self.renamed else ""
        return f"{self.taken} tensors loaded{renamed}{new}"


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict, mapped from its file. Raises DwmError for what is no state dict: other pickles, LoRA, optimizers."""
    if path.is_dir():
        state = _read_folder(path)
        require_finite(path, state)
        return state
    if not path.is_file():
        raise DwmError(f"{path}: no such file of weights")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    for name in WHOLE_PARTS:
        if isinstance(state, Mapping) and set(state) >= {name} and isinstance(state[name], Mapping):
            state = state[name]
    checked = _checked(path, state)
    require_finite(path, checked)
    return checked


def load_published(options: NetworkOptions, path: Path, dtype: torch.dtype | None = None) -> tuple[Network, LoadReport]:
    """The network of `options` with all its weights from `path`, strictly. dtype None keeps the file's."""
    return network_of(options, read_state(path), path, dtype)


def network_of(
    options: NetworkOptions, state: Mapping[str, Tensor], path: Path, dtype: torch.dtype | None = None
) -> tuple[Network, LoadReport]:
    """The same with a state dict that was read from `path`."""
    with torch.device("meta"):
        net = NETWORKS[type(options)](options)
    _refuse(path, state, net, allowed=lambda key: False)
    net.load_state_dict(_converted(state, dtype), assign=True)
    return net, LoadReport(len(state), (), 0)


def load_base(options: NetworkOptions, path: Path, dtype: torch.dtype | None = None) -> tuple[Network, LoadReport]:
    """A network for training whose base is SD 3, SD 3.5 or SD 2.1 at `path`; what these lack keeps its starting values.

    Starting values come from PyTorch's generator. Raises DwmError where the base is another one than the options ask for.
    """
    net = NETWORKS[type(options)](options)
    state = read_state(path)
    renamed = 0
    if isinstance(options, UNetOptions):
        state, renamed = rename_sd21(state)
    _refuse(path, state, net, allowed=lambda key: _is_new(options, key))
    new = tuple(key for key in net.state_dict() if key not in state)
    net.load_state_dict(_converted(state, dtype), strict=False, assign=True)
    return net if dtype is None else net.to(dtype), LoadReport(len(state), new, renamed)


def rename_sd21(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Plain SD 2.1 keys as ours: its residual blocks become the spatial half of ours. Idempotent."""
    if not any(re.search(r"resnets\.\d+\.conv", key) for key in state):
        return dict(state), 0
    named = {re.sub(r"resnets\.(\d+)", r"resnets.\1.spatial_res_block", key): value for key, value in state.items()}
    return named, sum(key not in state for key in named)


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


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    regular(path)
    try:
        return load_file(regular(path))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        check_pointer(path)
        raise DwmError(f"{path}: not a whole safetensors file ({error}); fetch it again") from None


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """A transformer's folder: one file, or parts named by an index."""
    for name in ("diffusion_pytorch_model", "model"):
        index = folder / f"{name}.safetensors.index.json"
        if index.is_file():
            parts = check_parts(index)
            return {key: value for part in parts for key, value in _read_safetensors(folder / part).items()}
        if (folder / f"{name}.safetensors").is_file():
            return _read_safetensors(folder / f"{name}.safetensors")
    raise DwmError(f"{folder}: holds no diffusion_pytorch_model.safetensors and no index of parts")


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


def _refuse(path: Path, state: Mapping[str, Tensor], net: nn.Module, allowed) -> None:
    """Raises DwmError with at most ten of the keys that differ, and a guess at why."""
    expected = net.state_dict()
    missing = [key for key in expected if key not in state and not allowed(key)]
    surplus = [key for key in state if key not in expected]
    shapes = [key for key in state if key in expected and state[key].shape != expected[key].shape]
    kinds = [
        key for key in state if key in expected and state[key].is_floating_point() != expected[key].is_floating_point()
    ]
    if kinds and not (missing or surplus or shapes):
        found = str(state[kinds[0]].dtype).removeprefix("torch.")
        raise DwmError(
            f"{path}: {len(kinds)} tensors are not of the config's kind of numbers ({kinds[0]} is {found}); quantized weights "
            "are not read: give float16, bfloat16 or float32"
        )
    if not (missing or surplus or shapes):
        return
    told = [f"missing {key}" for key in missing] + [f"unexpected {key}" for key in surplus]
    told += [f"{key} is {tuple(state[key].shape)}, not {tuple(expected[key].shape)}" for key in shapes]
    more = f" and {len(told) - KEYS_SHOWN} more" if len(told) > KEYS_SHOWN else ""
    shown = "; ".join(told[:KEYS_SHOWN])
    raise DwmError(f"{path}: {len(told)} keys differ from the config: {shown}{more}{_guess(missing, surplus, shapes)}")


def _guess(missing: Iterable[str], surplus: Iterable[str], shapes: Iterable[str]) -> str:
    has_35 = re.compile(r"(?<!crossview_)(?<!temporal_)transformer_blocks\.\d+\.(attn2|attn\.norm_(added_)?[qk])")
    if any(has_35.search(key) for key in missing):
        return "; the file looks like SD 3, the config asks for SD 3.5 (qk_norm, dual_attention_layers)"
    if any(has_35.search(key) for key in surplus):
        return "; the file looks like SD 3.5, the config asks for SD 3 (qk_norm, dual_attention_layers)"
    if "pos_embed.pos_embed" in set(shapes):
        return "; pos_embed_max_size of the config is another one (SD 3: 192, SD 3.5: 384)"
    return ""


def _is_new(options: NetworkOptions, key: str) -> bool:
    return key.startswith(NEW_IN_DIT) if isinstance(options, DiTOptions) else bool(NEW_IN_UNET.search(key))


def _converted(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    if dtype is None:
        return dict(state)
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
