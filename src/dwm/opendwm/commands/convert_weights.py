"""Published weights as a folder of ours, or as one file of safetensors. Overwrites nothing, and never holds two copies."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor

from dwm.checkpoints.published import LoadReport, load_base, network_of
from dwm.checkpoints.tensor_files import write_tensors
from dwm.config import Recipe, load
from dwm.config.files import CONFIG_NAME
from dwm.errors import DwmError
from dwm.networks.kinds import kind_of
from dwm.runs.published import is_save, network_weights, published_card
from dwm.storage import atomic_folder, atomic_write, check_file, check_folder

__all__ = ["convert_weights", "is_save", "network_weights", "run_of_save", "write_file"]
NAME = "diffusion_pytorch_model"
PART_SIZE = 2 * 10**9


def convert_weights(
    source: Path,
    folder: Path,
    run: Recipe,
    dtype: torch.dtype | None = None,
    part_size: int = PART_SIZE,
    base: bool = False,
) -> LoadReport:
    """Checks `source` strictly against the run's network and writes `folder`: `transformer/` in parts, and the weights' card.

    `base`: the file is of plain SD 3, SD 3.5 or SD 2.1, and new blocks get their starting values. Raises DwmError for other
    weights, and where `folder` holds something already.
    """
    check_folder(folder, empty=True)
    if base:
        net, report = load_base(run.network, source, dtype)
    else:
        net, report = network_of(run.network, network_weights(source), source, dtype)
    card = published_card(run).with_(name=source.name)
    with atomic_folder(folder) as beside:
        target = beside / "transformer"
        target.mkdir()
        _write_parts(target, dict(net.state_dict()), part_size)
        options = run.network.model_dump(mode="json")
        _write_json(target / "config.json", {"_class_name": kind_of(run.network).name, **options})
        _write_json(beside / "dwm.json", card.model_dump(mode="json"))
    return report


def write_file(source: Path, target: Path, dtype: torch.dtype | None = None) -> int:
    """The tensors of any weights (a file, or a folder of parts) as one file of safetensors; returns how many."""
    if target.exists():
        raise DwmError(f"{target}: exists already; choose another --output")
    check_file(target)
    state = network_weights(source)
    if dtype is not None:
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    with atomic_write(target) as temporary:
        write_tensors(temporary, state)
    return len(state)


def run_of_save(source: Path) -> Recipe:
    """The run that wrote a save: its config.json lies in a folder around it. Raises DwmError where there is none."""
    for folder in Path(os.path.realpath(source)).parents[:4]:
        if (folder / CONFIG_NAME).is_file():
            return load(folder / CONFIG_NAME)
    raise DwmError(f"{source}: no {CONFIG_NAME} lies in the folders around this save; give the run's config with -c")


def _write_parts(folder: Path, state: dict[str, Tensor], part_size: int) -> None:
    plan = split_torch_state_dict_into_shards(
        state, filename_pattern=NAME + "{suffix}.safetensors", max_shard_size=part_size
    )
    for name, keys in plan.filename_to_tensors.items():
        write_tensors(folder / name, {key: state[key] for key in keys})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        _write_json(folder / f"{NAME}.safetensors.index.json", index)


def _write_json(path: Path, values: Mapping) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
