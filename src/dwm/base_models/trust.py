"""What the configs of a base model may ask for: known classes and local files, of sizes that their weights bear out.

Configs come from anywhere. The libraries would follow them: run a folder's Python (`auto_map`), fetch kernels, load other
models; and build a billion layers before they look at the weights. Asked here, before a library sees the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from dwm.errors import DwmError
from dwm.storage import read_file, regular
from dwm.storage.names import fault, printable
from dwm.strict_json import parse_json

CODE = {
    "auto_map": "names Python code of the folder, which is never run",
    "trust_remote_code": "asks to run code of the folder, which is never done",
    "quantization_config": "asks for quantized weights, which are not read",
    "compression_config": "asks for compressed weights, which are not read",
    "use_kernels": "asks for kernels from the hub, which are not fetched",
    "kernel_config": "asks for kernels from the hub, which are not fetched",
    "custom_pipelines": "names code, which is never run",
}
"""Keys that may not say anything, wherever they stand, and why."""
ATTENTION = (None, "eager", "sdpa")
DTYPES = (None, "auto", "float32", "float16", "bfloat16")
CHOICES = {
    "attn_implementation": ATTENTION,
    "_attn_implementation": ATTENTION,
    "_attn_implementation_internal": ATTENTION,
    "experts_implementation": ATTENTION,
    "_experts_implementation": ATTENTION,
    "dtype": DTYPES,
    "torch_dtype": DTYPES,
}
"""Keys that choose among names: others are looked up on the hub, or as attributes of a library."""
FILES = ("vocab_file", "merges_file", "tokenizer_file", "spm_file", "sp_model_file", "source_spm", "target_spm")
"""Keys by which a tokenizer's config may name files; those of the folder only."""
CONFIG = 16 << 20
"""Bytes of a config; a tokenizer's with all its added words has a few."""
SMALLEST, LAYERS = 1 << 16, 1000
"""What a number in a config may be, however small its weights; and a number of layers, where they cannot be counted."""
DEEPEST = 64


@dataclass(frozen=True)
class WeightCount:
    """What the weights of a folder hold: how many tensors, and how many numbers in them."""

    tensors: int
    numbers: int


def check_model(kind: Any, folder: Path, values: dict[str, Any]) -> None:
    """Whether `folder`/config.json, whose `values` these are, describes a model of this kind that its weights can fill.

    Nothing is allocated. Raises DwmError naming file, key and fix.
    """
    path = folder / "config.json"
    check_config(path, values)
    if (adapter := folder / "adapter_config.json").exists():
        raise DwmError(f"{adapter}: an adapter changes weights of another model; merge the two, and remove this file")
    for index in folder.glob("*.index.json"):
        check_parts(index)
    weights = count_weights(folder)
    check_sizes(path, values, weights)
    try:
        with torch.device("meta"):
            empty = (
                kind.from_config(values) if hasattr(kind, "from_config") else kind(kind.config_class.from_dict(values))
            )
    except Exception as error:  # of a known class and a foreign config: the config is at fault, whatever is raised
        words = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DwmError(
            f"{path}: describes no {kind.__name__} ({type(error).__name__}: {words}); fetch it again"
        ) from None
    numbers = sum(parameter.numel() for parameter in empty.parameters())
    # Tied tensors are counted twice in some versions of the library, and lie once in the file.
    if weights is not None and numbers > 2 * weights.numbers:
        raise DwmError(
            f"{path}: describes {numbers} numbers, of which the weights beside it hold {weights.numbers}; fetch both again"
        )


def check_config(path: Path, values: Any) -> None:
    """Raises DwmError for a config that asks for code, for other weights, or for a file elsewhere; `path` is for the message."""
    for key, value in _entries(path, values):
        if key in CODE and value not in (None, False, {}, [], ""):
            raise DwmError(f"{path}: {key} {CODE[key]}; take a folder that does without, or remove the key")
        if key in CHOICES and (
            not isinstance(value, str | None) or (value or "").removeprefix("torch.") not in _names(key)
        ):
            choices = ", ".join(name for name in CHOICES[key] if name)
            raise DwmError(f"{path}: {key} is {printable(str(value))}; known are {choices}: remove the key")
        if key in FILES and isinstance(value, str) and fault(value.removeprefix("./")) is not None:
            raise DwmError(f"{path}: {key} {printable(value)} is no file of this folder; remove the key")


def check_sizes(path: Path, values: Any, weights: WeightCount | None) -> None:
    """Raises DwmError where a config counts more layers than its weights have tensors, or more of anything than numbers."""
    layers = max(16, weights.tensors) if weights is not None else LAYERS
    most = max(SMALLEST, weights.numbers) if weights is not None else 1 << 31
    beside = (
        f"the weights beside it hold {weights.tensors} tensors" if weights is not None else "there are no such models"
    )
    for key, value in _entries(path, values):
        if isinstance(value, list) and len(value) > layers:
            raise DwmError(f"{path}: {key} has {len(value)} entries, but {beside}; fetch both again")
        for number in value if isinstance(value, list) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float) or key.endswith("_id"):
                continue
            if "layers" in key and number > layers:
                raise DwmError(f"{path}: {key} is {number}, but {beside}; fetch both again")
            if isinstance(number, int) and number > most:
                raise DwmError(
                    f"{path}: {key} is {number}, more than the weights beside it have numbers; fetch both again"
                )


def check_parts(index: Path) -> list[str]:
    """The names of the files that an index of weights names. Raises DwmError where one is not of its folder."""
    values = read_config(index)
    parts = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
        raise DwmError(f"{index}: is no index of weights; fetch it again")
    names = sorted(set(parts.values()))
    for name in names:
        if "/" in name or fault(name) is not None:
            raise DwmError(f"{index}: names files outside its folder ({printable(name)}); fetch it again")
    return names


def count_weights(folder: Path) -> WeightCount | None:
    """Of all safetensors files of a folder, by their headers; None where there are none that can be read."""
    tensors = numbers = 0
    for path in sorted(folder.glob("*.safetensors")):
        regular(path)
        try:
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118
                    tensors += 1
                    count = 1
                    for length in file.get_slice(key).get_shape():
                        count *= length
                    numbers += count
        except (OSError, SafetensorError):
            return None  # said in full by whoever loads it
    return WeightCount(tensors, numbers) if tensors else None


def check_folder_configs(folder: Path) -> None:
    """`check_config` of every config of a tokenizer's folder that a library may look into."""
    for name in ("tokenizer_config.json", "config.json", "special_tokens_map.json", "added_tokens.json"):
        if (path := folder / name).exists():
            check_config(path, read_config(path))


def read_config(path: Path) -> Any:
    """A config's values. Raises DwmError where it is no JSON."""
    return parse_json(read_file(path, CONFIG), str(path))


def _entries(path: Path, values: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    waiting = [("", values, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if depth > DEEPEST:
            raise DwmError(f"{path}: is nested too deep; fetch it again")
        if isinstance(value, dict):
            yield from ((str(key), inner) for key, inner in value.items())
            waiting += [(str(key), inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(name, inner, depth + 1) for inner in value]


def _names(key: str) -> tuple[str, ...]:
    return tuple(name or "" for name in CHOICES[key])
