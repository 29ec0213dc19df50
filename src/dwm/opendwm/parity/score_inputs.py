"""What recorded scores are of: pictures and clips drawn by a written rule, and networks filled by another. All of it is exact."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dwm.evaluation.networks.i3d import I3D, network_input
from dwm.evaluation.networks.inception import REFERENCE, Inception, Preparation, to_bytes
from dwm.opendwm.parity.cases import Setup

HEIGHT, WIDTH = 256, 448
FIRST_SEEDS = {"a": 1000, "b": 2000, "real": 3000, "generated": 4000}
BATCH = 8
Network = TypeVar("Network", bound=nn.Module)


def bright(seed: int) -> int:
    """Of the recorded sets, every second thousand is bright."""
    return (seed // 1000 + 1) % 2


def fill(network: Network) -> Network:
    """The network with every tensor by the written rule, from its own name and shape."""
    state = {
        name: torch.from_numpy(rule_tensor(name, tuple(tensor.shape)))
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    network.load_state_dict(state, strict=False)
    return network.eval().requires_grad_(False)


def rule_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers by the key's checksum; filters of convolutions sum to zero, so that pictures stay apart."""
    n = math.prod(shape)
    u = np.random.RandomState(zlib.crc32(key.encode("utf-8"))).random_sample(n)
    if key.endswith("running_mean"):
        values = 0.2 * (2.0 * u - 1.0)
    elif key.endswith("running_var"):
        values = 0.75 + 0.5 * u
    elif len(shape) == 1 and key.endswith("weight"):
        values = 0.8 + 0.4 * u
    elif key.endswith("bias"):
        values = 0.2 * (2.0 * u - 1.0)
    elif len(shape) == 2 or key.startswith("logits."):
        values = (2.0 * u - 1.0) * math.sqrt(3.0 / (n // shape[0]))
    else:
        fan = n // shape[0]
        steps = np.floor(u * 1048576.0).astype(np.int64).reshape(shape[0], fan)
        centred = steps * fan - steps.sum(axis=1, keepdims=True)
        values = centred.astype(np.float64) * (1.7 * math.sqrt(12.0 / fan) / (fan * 1048576.0))
    return values.reshape(shape).astype(np.float32)


def picture(seed: int, light: int, t: int = 0) -> UInt8[np.ndarray, "256 448 3"]:
    """A gradient, a wave, translucent boxes that move by whole pixels a frame, and grain."""
    draws = np.random.RandomState(seed)

    def draw(low: int, high: int, *size: int) -> np.ndarray:
        return low + np.floor(draws.random_sample(size) * (high - low)).astype(np.int64)

    top, bottom = draw(40, 200, 3) + 40 * light, draw(20, 160, 3)
    (x_step, y_step, t_step), half, amplitude = draw(1, 9, 3, 3), draw(7, 60, 3), draw(10, 60, 3)
    n = 6 + 6 * light
    ranges = ((0, HEIGHT), (0, WIDTH), (12, 90), (12, 140), (-4, 5), (-7, 8))
    boxes = np.stack([draw(low, high, n) for low, high in ranges], 1)
    colours, grain = draw(0, 256, n, 3), draw(-12, 13, HEIGHT // 4, WIDTH // 4)

    y, x = np.arange(HEIGHT, dtype=np.int64)[:, None, None], np.arange(WIDTH, dtype=np.int64)[None, :, None]
    wave = np.mod(x * x_step + y * y_step + 4 * t * t_step, 2 * half)
    values = top + (bottom - top) * y // (HEIGHT - 1)
    values = values + np.minimum(wave, 2 * half - wave) * amplitude // half - amplitude // 2
    for (y0, x0, h, w, y_speed, x_speed), colour in zip(boxes, colours, strict=True):
        y0, x0 = (y0 + t * y_speed) % HEIGHT, (x0 + t * x_speed) % WIDTH
        values[y0 : y0 + h, x0 : x0 + w] = (values[y0 : y0 + h, x0 : x0 + w] + 3 * colour) // 4
    values = values + np.repeat(np.repeat(grain, 4, 0), 4, 1)[:, :, None]
    return np.clip(values, 0, 255).astype(np.uint8)


def clip(seed: int, frames: int) -> UInt8[np.ndarray, "t 256 448 3"]:
    return np.stack([picture(seed, bright(seed), t) for t in range(frames)])


def pictures(seeds: Sequence[int]) -> UInt8[Tensor, "n 3 256 448"]:
    return torch.from_numpy(np.stack([picture(seed, bright(seed)) for seed in seeds])).movedim(-1, 1).contiguous()


def floats(video: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "1 t 3 h w"]:
    """Frames in 0 … 1."""
    return torch.from_numpy(video).movedim(-1, 1)[None].float() / 255


@lru_cache(maxsize=2)
def filled_inception(device: torch.device, dtype: torch.dtype) -> Inception:
    return fill(Inception()).to(device, dtype)


@lru_cache(maxsize=2)
def filled_i3d(device: torch.device, dtype: torch.dtype) -> I3D:
    return fill(I3D()).to(device, dtype)


def inception_features(
    seeds: Sequence[int], setup: Setup, prepare: Preparation = REFERENCE, dtype: torch.dtype | None = None
) -> Float[Tensor, "n 2048"]:
    """Features of pictures by our network, from bytes to the end."""
    dtype = dtype or setup.dtype
    network = filled_inception(setup.device, dtype)

    def features(part: Sequence[int]) -> Tensor:
        resized = prepare(to_bytes(pictures(part).to(setup.device).float() / 255))
        return network(resized.to(dtype)).cpu()

    return _batched(features, seeds)


def i3d_features(frames: Float[Tensor, "n t 3 h w"], setup: Setup) -> Float[Tensor, "n 400"]:
    return filled_i3d(setup.device, setup.dtype)(network_input(frames.to(setup.device)).to(setup.dtype)).cpu()


def clip_features(seeds: Sequence[int], setup: Setup, frames: int = 16) -> Float[Tensor, "n 400"]:
    return torch.cat([i3d_features(floats(clip(seed, frames)), setup) for seed in seeds])


def _batched(features: Callable[[Sequence[int]], Tensor], seeds: Sequence[int]) -> Tensor:
    return torch.cat([features(seeds[start : start + BATCH]) for start in range(0, len(seeds), BATCH)])
