"""Weights folders: the network, its card and the base model beside it, read and written. Samples nothing."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dwm.base_models import BaseModel
from dwm.base_models.base import quiet, read_json
from dwm.base_models.finite import require_finite
from dwm.base_models.text import Sd3TextEncoder, TextEncoder
from dwm.base_models.trust import check_config, check_parts, check_sizes, weights_held
from dwm.checkpoints.card import WeightsCard
from dwm.errors import DwmError
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet, DiTOptions, NetworkOptions, UNetOptions
from dwm.options import Options
from dwm.storage import check_folder, regular
from dwm.strict_json import check_pointer

TOWN = Path(__file__).parents[1] / "weights" / "town"
"""The weights that come with the package."""

CARD = "dwm.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
KEYS_SHOWN = 10
Kind = TypeVar("Kind", bound=Options)
NETWORKS: dict[str, tuple[Callable[[Any], nn.Module], type[NetworkOptions]]] = {
    "CrossviewTemporalDiT": (CrossviewTemporalDiT, DiTOptions),
    "CrossviewTemporalUNet": (CrossviewTemporalUNet, UNetOptions),
}
"""Networks that a folder may hold, by the name in its config."""


def resolve(name: str | Path) -> Path:
    """The folder of weights: a path, or "town" for those that come with the package.

    A folder called town in the working directory counts only if it holds weights. Raises DwmError for a folder without, naming
    the one that was probably meant.
    """
    if "://" in str(name):
        raise DwmError(f"{name}: weights are read from folders of this machine; fetch them first")
    folder = Path(name)
    if str(name) == "town" and not (folder / CARD).is_file():
        folder = TOWN
    if not (folder / CARD).is_file():
        known = "no weights come with this installation" if folder == TOWN else 'give a folder with one, or "town"'
        raise DwmError(f"{folder}: holds no {CARD}; {_deeper(folder) or known}")
    return folder


def _deeper(folder: Path) -> str:
    """Where weights lie in the folder of a run or of a campaign, or around the one given, as advice; empty where nowhere."""
    inside = [path.parent for pattern in ("*", "*/*") for path in sorted(folder.glob(f"{pattern}/{CARD}"))]
    if inside:
        more = f" (or {', '.join(map(str, inside[:-1][:3]))})" if len(inside) > 1 else ""
        return f"weights lie in {inside[-1]}{more}: give that folder"
    if (folder / "state.json").is_file():
        return f"this is a save of training: dwm convert weights {folder} -o weights/mine"
    around = next((parent for parent in (folder.parent, folder.parent.parent) if (parent / CARD).is_file()), None)
    return "" if around is None else f"weights lie in {around}: give that folder"


def read_card(folder: Path) -> WeightsCard:
    return _options(WeightsCard, folder / "dwm.json", read_json(folder / "dwm.json", folder))


def load_network(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network of `folder`/transformer; its parameters are read once, straight into place."""
    path = folder / "transformer" / "config.json"
    config = read_json(path, folder)
    name = config.pop("_class_name", "CrossviewTemporalDiT")
    if name not in NETWORKS:
        raise DwmError(f"{path}: _class_name {name!r} is not known; known: {', '.join(NETWORKS)}")
    network_class, options_class = NETWORKS[name]
    check_config(path, config)
    check_sizes(path, config, weights_held(folder / "transformer"))
    options = _options(options_class, path, config)
    try:
        with torch.device("meta"):
            network = network_class(options)
    except (ValueError, TypeError, ArithmeticError, RuntimeError, LookupError) as error:
        raise DwmError(f"{path}: no network can be built of these sizes ({error}); fetch it again") from error
    load_state(network, folder / "transformer", dtype)
    return network.eval().requires_grad_(False)


def load_state(network: nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """Puts the weights of `folder` (one file, or parts with an index) into a network on the meta device."""
    expected = network.state_dict()
    found: dict[str, Tensor] = {}
    for path in _parts(folder):
        regular(path)
        try:
            with safe_open(path, "pt") as file:
                read = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            if path.is_file():
                check_pointer(path)
            raise DwmError(f"{path}: cannot be read ({error}); fetch or write it again") from None
        require_finite(path, read)
        found.update({key: _converted(value, dtype) for key, value in read.items()})
    different = [f"missing {key}" for key in expected if key not in found]
    different += [f"unexpected {key}" for key in found if key not in expected]
    different += [
        f"{key} is {tuple(found[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    if different:
        shown = "; ".join(different[:KEYS_SHOWN])
        raise DwmError(f"{folder}: {len(different)} keys differ from its config.json: {shown}")
    network.load_state_dict(found, strict=True, assign=True)


def write_folder(
    folder: Path,
    card: WeightsCard,
    network: nn.Module,
    base: BaseModel | None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes everything beside and renames it; an older folder of weights is replaced, anything else is left alone.

    Without `base` the card says where the base model is.
    """
    check_folder(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "dwm.json").is_file():
        raise DwmError(f"{folder}: holds other files than weights; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_network(beside / "transformer", network, dtype)
        if base is not None:
            _write_base(beside, base, dtype)
        (beside / "dwm.json").write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
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
    config = {"_class_name": type(network).__name__, **options.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    state = {key: _converted(value.detach().cpu(), dtype).contiguous() for key, value in network.state_dict().items()}
    save_file(state, folder / WEIGHTS, {"format": "pt"})


def _write_base(folder: Path, base: BaseModel, dtype: torch.dtype) -> None:
    """The base model's parts. A part that was not loaded is copied from where the others came from."""
    _copy_part(base.folder / "scheduler", folder / "scheduler")
    if base.autoencoder is not None:
        _save_part(base.autoencoder.model, folder / "vae", dtype)
    written = _write_text(folder, base.text, dtype) if base.text is not None else set()
    for name in ("vae", *TEXT_PARTS):
        if name not in written and not (folder / name).exists() and (base.folder / name).is_dir():
            _copy_part(base.folder / name, folder / name)


def _copy_part(source: Path, target: Path) -> None:
    """A folder with its files, links as what they lead to; a pipe or a device among them is refused."""
    shutil.copytree(source, target, copy_function=lambda file, copy: shutil.copyfile(regular(file), copy))


TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")


def _write_text(folder: Path, text: TextEncoder, dtype: torch.dtype) -> set[str]:
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


def _parts(folder: Path) -> list[Path]:
    index = folder / f"{WEIGHTS}.index.json"
    if not index.is_file():
        return [folder / WEIGHTS]
    return [folder / name for name in check_parts(index)]


def _converted(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _options(kind: type[Kind], path: Path, values: dict) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DwmError(f"{path}: {where or 'the file'}: {first['msg']}") from None
