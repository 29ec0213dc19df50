"""What a picture, a window or a caption is called in the store: 128 bits made from what decides its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dwm.clip import Clip

Keys = Int[np.ndarray, "*n 2"]


def key_of(data: bytes | str) -> bytes:
    """The 16 bytes that stand for `data`."""
    return blake2b(data.encode() if isinstance(data, str) else data, digest_size=16).digest()


def as_keys(digests: Iterable[bytes]) -> Int[np.ndarray, "n 2"]:
    return np.frombuffer(b"".join(digests), np.int64).reshape(-1, 2)


def picture_keys(clip: Clip, label: str = "") -> Int[np.ndarray, "t v 2"]:
    """One key for each picture: data set, scene, camera and time (µs), whichever window it is seen in.

    `label` tells data sets apart whose scenes have the same names and times.
    """
    names = [
        key_of(f"{label}|{clip.scene}|{view}|{time!r}")
        for row in clip.times.tolist()
        for view, time in zip(clip.views, row, strict=True)
    ]
    return as_keys(names).reshape(*clip.times.shape, 2)


def window_keys(keys: Int[np.ndarray, "t v 2"]) -> Int[np.ndarray, "v 2"]:
    """One key for the pictures of each view together, where an autoencoder makes latents of whole windows."""
    return as_keys(key_of(np.ascontiguousarray(keys[:, view]).tobytes()) for view in range(keys.shape[1]))


def text_keys(texts: Sequence[str]) -> Int[np.ndarray, "n 2"]:
    return as_keys(map(key_of, texts))


def as_bytes(pictures: Float[Tensor, "*n 3 h w"] | UInt8[Tensor, "*n 3 h w"]) -> UInt8[Tensor, "*n 3 h w"]:
    """Pictures in [0, 1] as the bytes that they were read from; bytes as they are."""
    return pictures if pictures.dtype == torch.uint8 else (pictures * 255).round().to(torch.uint8)


def pixel_keys(frames: Float[Tensor, "t v 3 h w"] | UInt8[Tensor, "t v 3 h w"]) -> Int[np.ndarray, "v 2"]:
    """One digest per view, over its frames."""
    views = as_bytes(frames).transpose(0, 1).contiguous().numpy()
    return as_keys(key_of(view.tobytes()) for view in views)
