"""Published weights as a folder of ours: safetensors in parts, an index, and the network's config. Overwrites nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from dwm.errors import DwmError
from dwm.generation.published import NETWORKS, LoadReport, load_published
from dwm.networks import DiTOptions, UNetOptions

NAME = "diffusion_pytorch_model"
PART_SIZE = 2 * 10**9


def convert_weights(
    source: Path,
    folder: Path,
    options: DiTOptions | UNetOptions,
    dtype: torch.dtype | None = None,
    part_size: int = PART_SIZE,
) -> LoadReport:
    """Checks `source` strictly against `options` and writes `folder`/transformer beside, then renames it."""
    target = folder / "transformer"
    if target.exists():
        raise DwmError(f"{target}: exists already; choose another --output")
    net, report = load_published(options, source, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".transformer-", dir=folder))
    except OSError as error:
        raise DwmError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None
    try:
        _write_parts(beside, dict(net.state_dict()), part_size)
        config = {"_class_name": NETWORKS[type(options)].__name__, **options.model_dump(mode="json")}
        (beside / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        beside.chmod(0o755)
        beside.rename(target)
    except OSError as error:
        reason = error.strerror or error
        raise DwmError(f"{target}: cannot be written ({reason}); free space, or choose another --output") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return report


def _write_parts(folder: Path, state: dict[str, torch.Tensor], part_size: int) -> None:
    plan = split_torch_state_dict_into_shards(
        state, filename_pattern=NAME + "{suffix}.safetensors", max_shard_size=part_size
    )
    for name, keys in plan.filename_to_tensors.items():
        save_file({key: state[key].contiguous() for key in keys}, folder / name, {"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / f"{NAME}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
