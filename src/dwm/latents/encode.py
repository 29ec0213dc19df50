"""Fills the store: every picture (or window) of some readers through the autoencoder once, every text through the encoders once.

What is there already is skipped; what is new is written shard by shard, so that memory stays bounded and a run that was stopped
goes on. Several processes may fill one store: each takes its part of the clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dwm.base_models import Autoencoder, TextEncoder
from dwm.data.digests import as_keys, key_of, text_keys, window_keys
from dwm.data.readers import Material, Reader
from dwm.data.workers import training_worker_errors
from dwm.devices import send
from dwm.errors import DwmError
from dwm.latents.shards import Shards, write_shard
from dwm.latents.store import Size, Store
from dwm.progress import track

SHARD_BYTES = 64 * 2**20
PICTURES_AT_ONCE = 16
TEXTS_AT_ONCE = 32


@dataclass(frozen=True)
class Extent:
    """What is encoded: pictures at these sizes; whole windows and their first `references` frames where an autoencoder takes
    windows; texts."""

    sizes: Sequence[Size]
    references: int = 0
    texts: bool = True


@dataclass
class Encoded:
    """What became of it: new latents, new texts, and how many of each were there already."""

    latents: int = 0
    texts: int = 0
    latents_before: int = 0
    texts_before: int = 0


@dataclass(frozen=True)
class _Unit:
    """Frames of one view that are encoded together, t × 3 × h × w bytes."""

    key: bytes
    size: Size
    pixels: UInt8[Tensor, "t 3 h w"]


@dataclass(frozen=True)
class _Units:
    """What one clip has that the store has not."""

    units: list[_Unit]
    texts: list[str]


@torch.no_grad()
def encode(
    readers: Sequence[Reader],
    extent: Extent,
    store: Store,
    autoencoder: Autoencoder | None,
    text: TextEncoder | None,
    workers: int = 0,
    part: tuple[int, int] = (0, 1),
    device: torch.device | str = "cpu",
) -> Encoded:
    """Encodes all that the store lacks. None for `autoencoder` or `text` leaves that half out.

    `part` (k, n): this process takes part k of n, counted from 0. Raises DwmError for what cannot be read or written.
    """
    shards_of = {size: Shards(store.latents_at(size)) for size in extent.sizes}
    text_shards = Shards(store.text_at)
    result = Encoded(latents_before=sum(map(len, shards_of.values())), texts_before=len(text_shards))
    clips = _Clips(
        list(readers),
        extent,
        shards_of if autoencoder is not None else {},
        autoencoder.frames_per_latent > 1 if autoencoder is not None else False,
        text is not None and extent.texts,
        part,
    )
    latents = None if autoencoder is None else _Latents(autoencoder.eval().to(device), store)
    texts = None if text is None else _Texts(text.eval().to(device), store, text_shards)
    try:
        if texts is not None and extent.texts:
            texts.add([""])
        for units in track(_loaded(clips, workers), "clips", total=len(clips)):
            if latents is not None:
                latents.add(units.units)
            if texts is not None:
                texts.add(units.texts)
    finally:
        for half in (latents, texts):
            if half is not None:
                half.close()
    result.latents, result.texts = latents.count if latents else 0, texts.count if texts else 0
    return result


class _Clips(IterableDataset):
    """What the clips of this process's part lack, each clip once; workers take spans of neighbours, which share pictures."""

    def __init__(
        self, readers, extent: Extent, shards_of: dict[Size, Shards], windows: bool, texts: bool, part
    ) -> None:
        self.readers, self.extent, self.shards_of, self.windows, self.texts = readers, extent, shards_of, windows, texts
        self.part = part

    def __len__(self) -> int:
        return sum(len(_span(len(reader), *self.part)) for reader in self.readers)

    def __iter__(self) -> Iterator[_Units | DwmError]:
        info = get_worker_info()
        number, count = (0, 1) if info is None else (info.id, info.num_workers)
        part = (self.part[0] * count + number, self.part[1] * count)
        keys_before: set[bytes] = set()
        for reader in self.readers:
            for index in _span(len(reader), *part):
                try:
                    yield self._units(reader.material(index), keys_before)
                except DwmError as error:
                    yield error

    def _units(self, material: Material, keys_before: set[bytes]) -> _Units:
        units = []
        for size, shards in self.shards_of.items():
            for frames, keys in self._wholes(material.keys):
                there = shards.has(keys)
                for index in np.flatnonzero(~there):
                    key = keys[index].tobytes()
                    if key + _mark(size) in keys_before:
                        continue
                    keys_before.add(key + _mark(size))
                    first, view = divmod(int(index), material.keys.shape[1])
                    pixels = [material.load(first + frame, view, size) for frame in range(frames)]
                    units.append(_Unit(key, size, torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()))
        return _Units(units, material.texts() if self.texts else [])

    def _wholes(self, keys: Int[np.ndarray, "t v 2"]) -> list[tuple[int, Int[np.ndarray, "_ 2"]]]:
        """Frames that are encoded together, and the keys of such units."""
        if not self.windows:
            return [(1, keys.reshape(-1, 2))]
        lengths = {len(keys), self.extent.references} - {0}
        return [(length, window_keys(keys[:length])) for length in sorted(lengths)]


@dataclass
class _Latents:
    """Encodes units as soon as there are enough, and writes shards of them."""

    autoencoder: Autoencoder
    store: Store
    count: int = 0
    done: set[bytes] = field(default_factory=set)
    waiting: dict[tuple[Size, int], list[_Unit]] = field(default_factory=dict)
    rows: dict[tuple[Size, int], list[tuple[bytes, bytes, Tensor]]] = field(default_factory=dict)

    def add(self, units: Sequence[_Unit]) -> None:
        for unit in units:
            mark = unit.key + _mark(unit.size)
            if mark in self.done:
                continue
            self.done.add(mark)
            kind = (unit.size, len(unit.pixels))
            waiting = self.waiting.setdefault(kind, [])
            waiting.append(unit)
            if len(waiting) * kind[1] >= PICTURES_AT_ONCE:
                self._encode(kind)

    def close(self) -> None:
        for kind in list(self.waiting):
            self._encode(kind)
        for kind in list(self.rows):
            self._write(kind)

    def _encode(self, kind: tuple[Size, int]) -> None:
        units = self.waiting.pop(kind, [])
        if not units:
            return
        device = next(self.autoencoder.parameters()).device
        pictures = send(torch.stack([unit.pixels for unit in units])[:, :, None], device).float().div_(255)
        encoded = self.autoencoder.moments(pictures)
        deviation = torch.zeros_like(encoded.mean) if encoded.std is None else encoded.std
        moments = torch.stack([encoded.mean, deviation], 1)[:, :, :, 0].half().cpu()
        # (n, 2, s, c, h, w) → a picture's (2, c, h, w), a window's (2, c, s, h, w)
        moments = moments[:, :, 0] if self.autoencoder.frames_per_latent == 1 else moments.transpose(2, 3)
        rows = self.rows.setdefault(kind, [])
        for unit, row in zip(units, moments, strict=True):
            rows.append((unit.key, key_of(unit.pixels.numpy().tobytes()), row))
        if len(rows) * rows[0][2].nbytes >= SHARD_BYTES:
            self._write(kind)

    def _write(self, kind: tuple[Size, int]) -> None:
        rows = self.rows.pop(kind, [])
        if rows:
            keys, pixels, moments = zip(*rows, strict=True)
            tensors = {"pixels": torch.from_numpy(as_keys(pixels).copy()), "moments": torch.stack(moments)}
            write_shard(self.store.latents_at(kind[0]), as_keys(keys), tensors)
            self.count += len(rows)


@dataclass
class _Texts:
    """Encodes new texts as soon as there are enough, and writes shards of them."""

    encoder: TextEncoder
    store: Store
    stored: Shards
    count: int = 0
    done: set[bytes] = field(default_factory=set)
    waiting: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    rows: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def add(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if key_of(text) not in self.done]
        self.done.update(map(key_of, new))
        if new:
            there = self.stored.has(text_keys(new))
            self.waiting += [text for text, is_stored in zip(new, there, strict=True) if not is_stored]
        while len(self.waiting) >= TEXTS_AT_ONCE:
            self._encode()

    def close(self) -> None:
        while self.waiting:
            self._encode()
        self._write()

    def _encode(self) -> None:
        texts, self.waiting = self.waiting[:TEXTS_AT_ONCE], self.waiting[TEXTS_AT_ONCE:]
        self.encoder.say_unread(texts)
        embedding = self.encoder.encode(texts)
        pooled = embedding.sequence.new_zeros(len(texts), 0) if embedding.pooled is None else embedding.pooled
        self.texts += texts
        self.rows += zip(embedding.sequence.half().cpu(), pooled.half().cpu(), strict=True)
        if len(self.rows) * self.rows[0][0].nbytes >= SHARD_BYTES:
            self._write()

    def _write(self) -> None:
        if self.rows:
            sequence, pooled = (torch.stack(part) for part in zip(*self.rows, strict=True))
            write_shard(self.store.text_at, text_keys(self.texts), {"sequence": sequence, "pooled": pooled})
            self.count += len(self.rows)
            self.texts, self.rows = [], []


def _loaded(clips: _Clips, workers: int) -> Iterator[_Units]:
    spawn = any(reader.draws for reader in clips.readers)
    loader = DataLoader(
        clips,
        batch_size=None,
        num_workers=workers,
        collate_fn=_same,
        generator=torch.Generator(),
        multiprocessing_context="spawn" if workers and spawn else None,
    )
    with training_worker_errors(workers):
        for units in loader:
            if isinstance(units, DwmError):
                raise units
            yield units


def _same(units: Any) -> Any:
    return units


def _span(count: int, part: int, parts: int) -> range:
    """Part k of n of `count` neighbours."""
    return range(count * part // parts, count * (part + 1) // parts)


def _mark(size: Size) -> bytes:
    return f"{size[0]}x{size[1]}".encode()
