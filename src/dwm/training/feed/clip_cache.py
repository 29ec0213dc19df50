"""A cache of clips that training reads at random: pictures and layouts as bytes, memory-mapped.

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
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dwm.clip import Clip
from dwm.clip_batch import TIME_INDEXED, ClipBatch, as_floats
from dwm.data import collate
from dwm.data.digests import as_bytes, picture_keys
from dwm.data.readers import Ask, Material, Part, where
from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import atomic_write, regular

LAYOUTS = frozenset(("layout_boxes", "layout_map"))
PICTURES = ("frames", "layout_boxes", "layout_map")
"""What is stored as bytes and given as floats in [0, 1]."""


@runtime_checkable
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
    """The clips of a folder made by `fill`: a reader for the feed. Safe to use in several processes, one object each."""

    draws = False

    def __init__(self, folder: Path):
        self.folder = folder
        self._shards = [_Shard(path) for path in sorted(folder.glob("clips_*.safetensors"))]
        if not self._shards:
            raise DwmError(f"{folder}: holds no clips; fill the cache first")
        self._items = [(shard, item) for shard in self._shards for item in range(len(shard))]

    def __len__(self) -> int:
        return len(self._items)

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
        shard, item = self._items[index]
        return shard.read(item, frames, views, frozenset(pictures)).map(as_floats)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every picture."""
        return self._shards[0].size

    def read(self, ask: Ask) -> Part:
        """A part of a clip as the feed asks for it. Raises DwmError for another size than the cache has."""
        if ask.size != self.size:
            raise DwmError(f"{self.folder}: holds pictures of {self.size}, not {ask.size}; fill another cache")
        shard, item = self._items[ask.index]
        fields = LAYOUTS | {"frames"} if ask.pictures else LAYOUTS
        clips = shard.read(item, ask.frames, ask.views, frozenset(fields))
        return Part(clips, shard.keys[item, ask.frames, ask.views], shard.origins[item])

    def material(self, index: int) -> Material:
        shard, item = self._items[index]

        def load(frame: int, view: int, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
            if size != self.size:
                raise DwmError(f"{self.folder}: holds pictures of {self.size}, not {size}; fill another cache")
            return shard.picture(item, frame, view)

        def texts() -> list[str]:
            captions = shard.captions[item]
            return [] if captions is None else list(dict.fromkeys(text for row in captions for text in row))

        return Material(shard.keys[item], load, texts, shard.origins[item])


class _Shard:
    """One file of clips, opened when first read."""

    def __init__(self, path: Path):
        self.path = path
        self._file: Any = None
        with safe_open(regular(path), "pt") as file:
            words = json.loads(file.metadata()["words"])
            self.names = tuple(name for name in file.keys() if name != "keys")  # noqa: SIM118
            n, t, v = file.get_slice("times").get_shape()
            self.keys = file.get_tensor("keys").numpy()
            height, width = file.get_slice("frames").get_shape()[-2:]
        self.captions, self.scenes, self.origins = words["captions"], words["scenes"], words["places"]
        self.count, self.extent, self.size = n, (t, v), (width, height)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return self.count

    def picture(self, item: int, frame: int, view: int) -> UInt8[np.ndarray, "h w 3"]:
        if self._file is None:
            self._file = safe_open(self.path, "pt")
        return self._file.get_slice("frames")[item, frame, view].permute(1, 2, 0).contiguous().numpy()

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
            values[name] = value
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
    clips = [source[index] for index in range(start, min(start + shard, len(source)))]
    batch = collate(clips, size=size)
    tensors = {
        item.name: _bytes(value) if item.name in PICTURES else value.contiguous()
        for item in fields(batch)
        if isinstance(value := getattr(batch, item.name), Tensor)
    }
    captions = batch.captions if batch.captions is not None else [None] * len(batch.times)
    tensors["keys"] = torch.from_numpy(np.stack([picture_keys(clip) for clip in clips]))
    words = json.dumps({"captions": captions, "scenes": batch.scenes, "places": [where(clip) for clip in clips]})
    with atomic_write(_shard_path(folder, start // shard)) as beside:
        save_file(tensors, beside, metadata={"words": words})


def _bytes(pictures: Tensor) -> Tensor:
    return as_bytes(pictures).contiguous()


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"clips_{number:05d}.safetensors"
