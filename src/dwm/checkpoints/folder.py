"""Weights folders: the network, its card and the base model beside it, read and written. Samples nothing."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dwm.base_models import BaseModel
from dwm.base_models.absent import RememberedText
from dwm.base_models.base import quiet, read_json
from dwm.base_models.text import Sd3TextEncoder, TextEncoder
from dwm.base_models.trust import check_config, check_sizes, count_weights
from dwm.checkpoints.card import WeightsCard
from dwm.checkpoints.key_check import require_keys, shapes_of
from dwm.checkpoints.locations import CARD, FAST, NETWORK
from dwm.checkpoints.tensor_files import NAME, read_tensors, write_tensors
from dwm.errors import DwmError
from dwm.networks.kinds import USUAL, kind_named, kind_of
from dwm.networks.options import NetworkOptions
from dwm.options import Options
from dwm.storage import check_folder, regular

Kind = TypeVar("Kind", bound=Options)


def read_card(folder: Path) -> WeightsCard:
    return _options(WeightsCard, folder / CARD, read_json(folder / CARD, folder))


def load_network(
    folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | None = None, part: str = NETWORK
) -> nn.Module:
    """The network of `folder`/`part` on a device; its parameters are read once, straight into place."""
    network, _ = network_skeleton(folder, part)
    load_state(network, folder / part, dtype, device)
    return network.to(device or "cpu").eval().requires_grad_(False)


def network_skeleton(folder: Path, part: str = NETWORK) -> tuple[nn.Module, NetworkOptions]:
    """The network of `folder`/`part` without numbers, and its options; sizes are checked against the files."""
    path = folder / part / "config.json"
    config = read_json(path, folder)
    kind = kind_named(config.pop("_class_name", USUAL.name), str(path))
    check_config(path, config)
    check_sizes(path, config, count_weights(folder / part))
    options = _options(kind.options, path, config)
    try:
        return kind.without_numbers(options), options
    except (ValueError, TypeError, ArithmeticError, RuntimeError, LookupError) as error:
        raise DwmError(f"{path}: no network can be built of these sizes ({error}); fetch it again") from error


def load_state(network: nn.Module, folder: Path, dtype: torch.dtype, device: torch.device | None = None) -> None:
    """Puts the weights of `folder` (one file, or parts with an index) into a network on the meta device."""
    tensors = read_tensors(folder, dtype, device)
    require_keys(folder, shapes_of(tensors), shapes_of(network.state_dict()), "its config.json")
    network.load_state_dict(tensors, strict=True, assign=True)


@torch.no_grad()
def restore(module: nn.Module, stored: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Gives what a narrower dtype rounded the digits of `stored` again, in `dtype`; what was changed since stays."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        value = stored.get(name)
        if value is None or value.shape != tensor.shape or not value.dtype.is_floating_point:
            continue
        if torch.equal(value.to(tensor.dtype), tensor.cpu()):
            tensor.data = value.to(tensor.device, dtype)


def write_folder(
    folder: Path,
    card: WeightsCard,
    network: nn.Module,
    base: BaseModel | None,
    dtype: torch.dtype = torch.float16,
    fast: nn.Module | None = None,
) -> None:
    """Writes everything beside and renames it; an older folder of weights is replaced, anything else is left alone.

    Without `base` the card says where the base model is. `fast`: the network for few steps that the card speaks of.
    """
    check_folder(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / CARD).is_file():
        raise DwmError(f"{folder}: holds other files than weights; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_network(beside / NETWORK, network, dtype)
        if fast is not None:
            _write_network(beside / FAST, fast, dtype)
        if base is not None:
            _write_base(beside, base, dtype)
        (beside / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
        beside.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    except OSError as error:
        raise DwmError(
            f"{folder}: cannot be written ({error.strerror or error}); free space, or choose another"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_network(folder: Path, network: nn.Module, dtype: torch.dtype) -> None:
    folder.mkdir()
    options: Any = network.options
    config = {"_class_name": kind_of(options).name, **options.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    write_tensors(folder / f"{NAME}.safetensors", network.state_dict(), dtype)


def _write_base(folder: Path, base: BaseModel, dtype: torch.dtype) -> None:
    """The base model's parts. A part that was not loaded is copied from where the others came from."""
    _copy_part(base.folder / "scheduler", folder / "scheduler")
    if base.autoencoder is not None:
        _save_part(base.autoencoder.model, folder / "vae", dtype)
    names = _write_text(folder, base.text, dtype) if base.text is not None else set()
    for name in ("vae", *TEXT_PARTS):
        if name not in names and not (folder / name).exists() and (base.folder / name).is_dir():
            _copy_part(base.folder / name, folder / name)


def _copy_part(source: Path, target: Path) -> None:
    """A folder with its files, links as what they lead to; a pipe or a device among them is refused."""
    shutil.copytree(source, target, copy_function=lambda file, copy: shutil.copyfile(regular(file), copy))


TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")


def _write_text(folder: Path, text: TextEncoder, dtype: torch.dtype) -> set[str]:
    if isinstance(text, RememberedText):
        return set()  # nothing of it is in memory; its files are copied
    if isinstance(text, Sd3TextEncoder):
        models: dict[str, Any] = dict(
            zip(TEXT_PARTS, [*text.clips, *([text.t5] if text.t5 is not None else [])], strict=False)
        )
    else:
        models = {"text_encoder": text.clip}
    for name, model in models.items():
        _save_part(model, folder / name, dtype)
    return set(models)


def _save_part(model: nn.Module, folder: Path, dtype: torch.dtype) -> None:
    # The plain conversion: diffusers' own warns of models loaded in float32, which is how they are here.
    converted = nn.Module.to(copy.deepcopy(model), "cpu", dtype)
    with quiet():
        converted.save_pretrained(folder)


def _options(kind: type[Kind], path: Path, values: dict) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DwmError(f"{path}: {where or 'the file'}: {first['msg']}") from None
