"""The store: VAE latents (mean and deviation) and text embeddings that were made once, read by key while training.

Layout: latents/AUTOENCODER/WIDTHxHEIGHT/*.safetensors and text/ENCODERS/*.safetensors, where AUTOENCODER and ENCODERS are
digests of the base model's files, so that one store serves several. It makes nothing itself: see `encode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from dwm.base_models import Moments, StoredText, TextEmbedding
from dwm.base_models.identity import autoencoder_identity, text_identity
from dwm.data.digests import text_keys
from dwm.errors import DwmError
from dwm.latents.shards import Shards
from dwm.storage.source import reaching, remote

Size = tuple[int, int]
AGAIN = "encode with the run that is trained: dwm data encode RECIPE -o STORE"


@dataclass(frozen=True)
class Store:
    """The folder or URL of a store, and which base model's numbers are wanted."""

    where: str
    autoencoder: str
    text: str

    @classmethod
    def of(cls, where: str | Path, base: Path, autoencoder: Path | None = None, t5: bool = True) -> Store:
        """For a base model's folder; `autoencoder` is the folder of another one. Where a folder is not on this machine, the
        only base model that the store knows is taken."""
        root = str(where).rstrip("/")
        folder = autoencoder or base
        return cls(
            root,
            autoencoder_identity(folder) if (folder / "vae").is_dir() else _only(f"{root}/latents"),
            text_identity(base, t5) if (base / "text_encoder").is_dir() else _only(f"{root}/text"),
        )

    def latents_at(self, size: Size) -> str:
        return f"{self.where}/latents/{self.autoencoder}/{size[0]}x{size[1]}"

    @property
    def text_at(self) -> str:
        return f"{self.where}/text/{self.text}"


class StoredLatents:
    """The latents of a store, by picture (or by window, where the autoencoder takes whole windows)."""

    def __init__(self, store: Store, sizes: Sequence[Size], sample: bool = True):
        self.sample = sample
        self._shards = {size: Shards(store.latents_at(size)) for size in sizes}
        for size, shards in self._shards.items():
            if not len(shards):
                raise DwmError(f"{shards.where}: holds no latents of {size[0]}×{size[1]}; {AGAIN}")

    @property
    def windows(self) -> bool:
        """Whether latents are of whole windows (2, c, s, h, w), as a video autoencoder makes them, not of pictures."""
        return any(len(shards.row_shape("moments")) == 5 for shards in self._shards.values())

    def moments(self, keys: Int[np.ndarray, "n 2"], size: Size, whose: str) -> Moments:
        """n latents, float16, as they were stored. Raises DwmError naming `whose` they should be."""
        shards = self._shards[size]
        try:
            values = torch.from_numpy(shards.read("moments", keys))
        except KeyError:
            raise DwmError(f"{shards.where}: holds no latents of {whose}; {AGAIN}") from None
        return Moments(values[:, 0], values[:, 1] if self.sample else None)

    def pixels(self, keys: Int[np.ndarray, "n 2"], size: Size) -> Int[np.ndarray, "n 2"]:
        """Digests of the pictures that the latents were made of."""
        return self._shards[size].read("pixels", keys)


class StoredTexts:
    """The text embeddings of a store."""

    def __init__(self, store: Store):
        self._shards = Shards(store.text_at)
        if not len(self._shards):
            raise DwmError(f"{store.text_at}: holds no embeddings; {AGAIN}")

    def of(self, texts: Sequence[str]) -> StoredText:
        """The embeddings of these texts. Raises DwmError naming one that is not there."""
        distinct = list(dict.fromkeys(texts))
        keys = text_keys(distinct)
        there = self._shards.has(keys)
        if not there.all():
            lacking = distinct[int(np.flatnonzero(~there)[0])]
            raise DwmError(f"{self._shards.where}: holds no embedding of {lacking[:60]!r}; {AGAIN}")
        sequence = torch.from_numpy(self._shards.read("sequence", keys))
        pooled = torch.from_numpy(self._shards.read("pooled", keys))
        return StoredText(distinct, TextEmbedding(sequence, pooled if pooled.shape[-1] else None))


def _only(where: str) -> str:
    """The only base model under a folder of the store."""
    system, root = remote(where)
    with reaching(where):
        names = system.ls(root, detail=False) if system.isdir(root) else []
    folders = sorted(str(name).rstrip("/").rpartition("/")[2] for name in names)
    if len(folders) != 1:
        raise DwmError(f"{where}: is of {len(folders)} base models; put the one that is meant where `base_model` says")
    return folders[0]
