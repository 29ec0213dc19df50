"""A cache of clips that training reads at random: pictures and layouts as bytes, later latents beside them, memory-mapped.

Filled once by worker processes from any source of clips and resumable shard by shard; each shard is one safetensors file. It
knows no dataset: a source is anything that gives `Clip`s by number.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dwm.clip import TIME_INDEXED, Clip, ClipBatch
from dwm.data import collate
from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import atomic_write

PICTURES = ("frames", "layout_boxes", "layout_map")
"""What is stored as bytes and given as floats in [0, 1]."""


class ClipSource(Protocol):
    """Clips of one shape by number; picklable, so that worker processes can share the work."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...


def fill(folder: Path, source: ClipSource, size: tuple[int, int], shard: int = 8, workers: int = 1) -> None:
    """Renders or reads every clip of `source` at `size` (width, height) into `folder`; shards that exist are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = [start for start in range(0, len(source), shard) if not _shard_path(folder, start // shard).exists()]
    work = partial(_fill_shard, folder, source, size, shard)
    for _ in track(_spread(work, starts, workers), "clips", total=len(starts), unit="shards"):
        pass


class ClipCache:
    """The clips of a folder made by `fill`. Safe to use in several processes, one object each."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._shards = [_Shard(path) for path in sorted(folder.glob("clips_*.safetensors"))]
        if not self._shards:
            raise DwmError(f"{folder}: holds no clips; fill the cache first")
        self._place = [(shard, item) for shard in self._shards for item in range(len(shard))]

    def __len__(self) -> int:
        return len(self._place)

    @property
    def frames(self) -> int:
        """The length of every clip."""
        return self._shards[0].extent[0]

    @property
    def views(self) -> int:
        return self._shards[0].extent[1]

    def clip(
        self, index: int, frames: slice = slice(None), views: slice = slice(None), pictures: Iterable[str] = PICTURES
    ) -> ClipBatch:
        """One clip, or a part of it, as a batch of one, with only the named pictures."""
        shard, item = self._place[index]
        return shard.read(item, frames, views, frozenset(pictures))

    def latents(
        self, index: int, frames: slice = slice(None), views: slice = slice(None)
    ) -> Float[Tensor, "1 t v c h w"]:
        """The stored latents of a clip. Raises DwmError where `encode` did not run."""
        shard, item = self._place[index]
        return shard.latents[item : item + 1, frames, views].float()

    def encode(self, encoder: Callable[[Float[Tensor, "n 3 h w"]], Float[Tensor, "n c h w"]]) -> None:
        """Stores the latents of every clip, shard by shard; those that are stored are kept."""
        due = [shard for shard in self._shards if not shard.latent_path.exists()]
        for shard in track(due, "latents", unit="shards"):
            items = []
            for item in range(len(shard)):
                frames = shard.read(item, slice(None), slice(None), frozenset(("frames",))).frames
                assert frames is not None
                items.append(torch.stack([encoder(instant) for instant in frames[0]]).half())
            with atomic_write(shard.latent_path) as beside:
                save_file({"latents": torch.stack(items)}, beside)


class _Shard:
    """One file of clips, opened when first read."""

    def __init__(self, path: Path):
        self.path = path
        self.latent_path = path.with_name(path.name.replace("clips_", "latents_"))
        self._file: Any = None
        self._latents: Tensor | None = None
        with safe_open(path, "pt") as file:
            words = json.loads(file.metadata()["words"])
            self.names = tuple(file.keys())
            n, t, v = file.get_slice("times").get_shape()
        self.captions, self.scenes = words["captions"], words["scenes"]
        self.count, self.extent = n, (t, v)

    def __len__(self) -> int:
        return self.count

    @property
    def latents(self) -> Tensor:
        if self._latents is None:
            if not self.latent_path.exists():
                raise DwmError(f"{self.latent_path}: does not exist; encode the cache first")
            with safe_open(self.latent_path, "pt") as file:
                self._latents = file.get_tensor("latents")
        return self._latents

    def read(self, item: int, frames: slice, views: slice, pictures: frozenset[str]) -> ClipBatch:
        if self._file is None:
            self._file = safe_open(self.path, "pt")
        values: dict[str, Any] = {}
        for name in self.names:
            if name in PICTURES and name not in pictures:
                continue
            stored = self._file.get_slice(name)
            if name in TIME_INDEXED:
                value = stored[item : item + 1, frames, views]
            elif name == "crossview_mask":
                value = stored[item : item + 1, views, views]
            else:
                value = stored[item : item + 1]
            values[name] = value.float() / 255 if name in PICTURES else value
        captions = self.captions[item]
        if captions is not None:
            captions = (tuple(tuple(instant[views]) for instant in captions[frames]),)
        return ClipBatch(**values, captions=captions, scenes=(self.scenes[item],))


def _spread(work: Callable[[int], None], starts: list[int], workers: int) -> Iterable[None]:
    if workers <= 1 or len(starts) <= 1:
        yield from map(work, starts)
        return
    # Fresh processes: renderers and thread pools do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, starts)


def _fill_shard(folder: Path, source: ClipSource, size: tuple[int, int], shard: int, start: int) -> None:
    batch = collate([source[index] for index in range(start, min(start + shard, len(source)))], size=size)
    tensors = {
        item.name: _bytes(value) if item.name in PICTURES else value.contiguous()
        for item in fields(batch)
        if isinstance(value := getattr(batch, item.name), Tensor)
    }
    captions = batch.captions if batch.captions is not None else [None] * len(batch.times)
    words = json.dumps({"captions": captions, "scenes": batch.scenes})
    with atomic_write(_shard_path(folder, start // shard)) as beside:
        save_file(tensors, beside, metadata={"words": words})


def _bytes(pictures: Tensor) -> Tensor:
    return (pictures * 255).round().to(torch.uint8).contiguous()


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"clips_{number:05d}.safetensors"
