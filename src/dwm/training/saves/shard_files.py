"""Sharded tensors in safetensors files, for torch.distributed.checkpoint: one file a process, nothing pickled.

Each file says in its header where its pieces lie in the whole tensors, and a checksum of each. Knows no network.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint import (
    DefaultLoadPlanner,
    DefaultSavePlanner,
    LoadPlanner,
    Metadata,
)
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from dwm.errors import DwmError
from dwm.storage import regular
from dwm.strict_json import parse_json
from dwm.training.parallel.tensors import local

PATTERN = "shard_*.safetensors"
HEADER = "pieces"


@dataclass(frozen=True)
class Piece:
    """What a process writes of a tensor: where it begins, and how large the whole tensor is."""

    name: str
    offsets: tuple[int, ...]
    size: tuple[int, ...]


def share_out(tensors: Mapping[str, Tensor], rank: int, gather: Any) -> list[Piece]:
    """The pieces that this process writes, so that together all processes write each tensor once.

    `gather` gives the plans of all processes in order of rank. To be asked again only where names change.
    """
    planner = DefaultSavePlanner()
    planner.set_up_planner(dict(tensors), is_coordinator=rank == 0)
    plans = gather(planner.create_local_plan())
    shared, _ = planner.create_global_plan(plans)
    return [
        Piece(item.index.fqn, tuple(data.chunk.offsets), tuple(data.size))
        for item in shared[rank].items
        if (data := item.tensor_data) is not None and (data.chunk.sizes.numel() or data.size.numel() == 0)
    ]


def copy(tensors: Mapping[str, Tensor], pieces: Sequence[Piece], into: dict[str, Tensor]) -> None:
    """Copies this process's pieces to the processor's memory, into buffers that are kept. Does not wait for a device."""
    for piece in pieces:
        source = local(tensors[piece.name]).detach()
        target = into.get(piece.name)
        if target is None or target.shape != source.shape:
            target = torch.empty(source.shape, dtype=source.dtype, pin_memory=source.device.type == "cuda")
            into[piece.name] = target
        target.copy_(source, non_blocking=True)


def write(path: Path, pieces: Sequence[Piece], copies: Mapping[str, Tensor]) -> None:
    """Writes one process's file."""
    header = {
        piece.name: {"offsets": piece.offsets, "size": piece.size, "crc32": _checksum(copies[piece.name])}
        for piece in pieces
    }
    save_file({piece.name: copies[piece.name] for piece in pieces}, path, metadata={HEADER: json.dumps(header)})


def fault(path: Path) -> str | None:
    """What is wrong with a file: None where it is whole and as it was written."""
    regular(path)
    try:
        with safe_open(path, "pt") as file:
            header = _header(file)
            for name, piece in header.items():
                if _checksum(file.get_tensor(name)) != piece["crc32"]:
                    return f"{path.name} is damaged: {name} is not what was written"
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, DwmError) as error:
        return f"{path.name} is damaged ({error})"
    return None


class Files:
    """The files of one folder, read by a plan of torch.distributed.checkpoint's."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tensors: dict[str, TensorStorageMetadata] = {}
        self._paths: dict[MetadataIndex, Path] = {}
        for path in sorted(folder.glob(PATTERN)):
            self._note(path)
        for name, tensor in self.tensors.items():
            # Memory is taken for the size that a file claims.
            if tensor.size.numel() > sum(chunk.sizes.numel() for chunk in tensor.chunks):
                raise DwmError(
                    f"{folder}: {name} claims {tuple(tensor.size)}, of which its files hold less; take an earlier save"
                )

    def _note(self, path: Path) -> None:
        with safe_open(regular(path), "pt") as file:
            for name, piece in _header(file).items():
                part = file.get_slice(name)
                chunk = ChunkStorageMetadata(torch.Size(piece["offsets"]), torch.Size(part.get_shape()))
                if name not in self.tensors:
                    dtype = getattr(torch, DTYPES[part.get_dtype()])
                    size = torch.Size(piece["size"])
                    self.tensors[name] = TensorStorageMetadata(TensorProperties(dtype), size, [])
                self.tensors[name].chunks.append(chunk)
                self._paths[MetadataIndex(name, chunk.offsets)] = path

    def read_into(self, tensors: Mapping[str, Tensor]) -> None:
        """Fills whole or sharded tensors in place. Names and sizes must be those of the files."""
        # By hand: torch.distributed.checkpoint.load makes all processes read together, and cannot be told otherwise before 2.9.
        planner = DefaultLoadPlanner()
        metadata = Metadata({**self.tensors}, storage_data=self._paths)
        planner.set_up_planner(dict(tensors), metadata, is_coordinator=True)
        plan = planner.finish_plan(planner.create_local_plan())
        by_file: dict[Path, list[Any]] = {}
        for item in plan.items:
            by_file.setdefault(self._paths[item.storage_index], []).append(item)
        for path, items in by_file.items():
            with safe_open(path, "pt") as file:
                for item in items:
                    self._read(file, item, planner)

    def whole(self, name: str) -> Tensor:
        """All of a tensor, put together."""
        entry = self.tensors[name]
        tensor = torch.empty(entry.size, dtype=entry.properties.dtype)
        self.read_into({name: tensor})
        return tensor

    def _read(self, file: Any, item: Any, planner: LoadPlanner) -> None:
        name = item.storage_index.fqn
        lengths = zip(item.storage_offsets, item.lengths, strict=True)
        ranges = tuple(slice(start, start + length) for start, length in lengths)
        stored = file.get_slice(name)[ranges] if ranges else file.get_tensor(name)
        target = planner.resolve_tensor(item).detach()
        target.copy_(stored)
        planner.commit_tensor(item, target)


DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""safetensors' names of numbers."""


def _header(file: Any) -> dict[str, Any]:
    pieces = parse_json((file.metadata() or {})[HEADER], "its header")
    if not isinstance(pieces, dict) or set(pieces) != set(file.keys()):
        raise DwmError("its header names other tensors than it holds")
    return pieces


def _checksum(tensor: Tensor) -> int:
    if tensor.numel() == 0:
        return 0
    return zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
