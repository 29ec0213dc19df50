"""What a generation needs of a device's memory, and how it is made to fit. Counted from shapes and headers: loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from dwm.base_models.autoencoder import working_bytes
from dwm.base_models.trust import count_weights
from dwm.config.files import read_json
from dwm.networks.cost import Shape, generation_cost
from dwm.networks.options import NetworkOptions

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
SD3_ENCODERS = (123_650_304, 694_659_840, 4_762_310_656)
SD3_AUTOENCODER = 83_819_683
"""Parameters of SD 3's and 3.5's parts, where no folder of them is there to ask."""
WIDTHS = (128, 256, 512, 512)
"""Channels of the levels of SD's autoencoders."""
CHANNELS = 9
"""Of a finished picture and of the layout's, boxes and map."""
ROUGHLY = 4096
"""Bytes of activations a pixel at most; SD 3.5 in float32 takes 740, in bfloat16 370."""
MARGIN = 1.1
"""Of every estimate: allocators round up, and kernels take room of their own."""

How = Literal["whole", "text first", "offload"]
WORDS: dict[How, str] = {
    "whole": "all parts stay on the device",
    "text first": "text encoders one after another, gone once the words are encoded",
    "offload": "text encoders one after another, then network and autoencoder in turns (--offload)",
}


@dataclass(frozen=True)
class Plan:
    """How a generation is made to fit. peak: bytes at most at once; resident: bytes of weights while sampling."""

    how: How
    peak: int
    resident: int

    def line(self) -> str:
        return (
            f"plan: {WORDS[self.how]}; {gigabytes(self.resident)} of weights while sampling, "
            f"{gigabytes(self.peak)} at most"
        )


@dataclass(frozen=True)
class GenerationMemory:
    """Bytes of one generation by what holds them. text: of each encoder; decoding: of one picture, or one video where the
    autoencoder takes videos; pictures: the layout's and the finished ones; rough: activations are a bound, not counted."""

    network: int
    activations: int
    text: tuple[int, ...]
    autoencoder: int
    decoding: int
    pictures: int
    rough: bool = False

    def plan(self, how: How) -> Plan:
        words = max(self.text, default=0)
        decoding = self.autoencoder + self.decoding
        if how == "whole":
            resident = self.network + sum(self.text) + self.autoencoder
            peak = resident + max(self.activations, self.decoding)
        elif how == "text first":
            resident = self.network + self.autoencoder
            peak = max(words, resident + max(self.activations, self.decoding))
        else:
            resident = self.network
            peak = max(words, self.network + self.activations, decoding)
        return Plan(how, int(MARGIN * (peak + self.pictures)), resident)

    def fitting(self, free: int, known_words: bool = False, can_offload: bool = True) -> Plan | None:
        """The plan that costs the least time among those that fit into `free` bytes; None where none does. `known_words`: all
        words are known before the start, so that reading the encoders for them costs nothing."""
        order: tuple[How, ...] = ("text first", "offload") if known_words else ("whole", "text first", "offload")
        plans = [self.plan(how) for how in order if how != "offload" or can_offload]
        return next((plan for plan in plans if plan.peak <= free), None)

    def line(self) -> str:
        text = (
            f", text encoders {gigabytes(sum(self.text))} (the largest {gigabytes(max(self.text))})"
            if self.text
            else ""
        )
        below = "below " if self.rough else ""
        return (
            f"network {gigabytes(self.network)}, activations {below}{gigabytes(self.activations)}{text}, autoencoder "
            f"{gigabytes(self.autoencoder)} and {gigabytes(self.decoding)} a picture, pictures {gigabytes(self.pictures)}"
        )


@dataclass(frozen=True)
class Request:
    """What is generated: `frames` pictures of `views` views of `size` (width, height), `window` of them at once; guidance
    counts everything twice. text: tokens of a picture, 0 where nothing is said."""

    frames: int
    views: int
    size: tuple[int, int]
    window: int
    guidance: bool = True
    text: int = 154

    def shape(self, factor: int, latent_frames: int) -> Shape:
        width, height = self.size
        return Shape(
            2 if self.guidance else 1,
            latent_frames,
            self.views,
            height // factor,
            width // factor,
            self.text or 1,
            factor,
        )


def generation_memory(
    options: NetworkOptions, base: Path | None, request: Request, dtype: torch.dtype, autoencoder: Path | None = None
) -> GenerationMemory:
    """Of a network on a base model's folder, SD 3's where None or not there; `autoencoder`: another folder that has it."""
    folder = base if base is not None and base.is_dir() else None
    config = _autoencoder_config(autoencoder or folder)
    widths = config.get("block_out_channels") or WIDTHS
    compression = int(config.get("temporal_compression_ratio") or 1)
    window = request.window
    latents = window if compression == 1 else 1 + (window - 1) // compression
    cost = generation_cost(options, request.shape(2 ** (len(widths) - 1), latents), dtype)
    return around(folder, config, request, dtype, cost.weights, cost.activations, autoencoder or folder)


def at_most(
    numbers: int, base: Path, request: Request, dtype: torch.dtype, autoencoder: Path | None = None
) -> GenerationMemory:
    """An upper bound without counting, for a network of so many `numbers`: what is far from the limit need not be counted."""
    config = _autoencoder_config(autoencoder or base)
    activations = (
        ROUGHLY * request.shape(1, request.window).b * request.window * request.views * math.prod(request.size)
    )
    memory = around(base, config, request, dtype, dtype.itemsize * numbers, activations, autoencoder or base)
    return replace(memory, rough=True)


def around(
    base: Path | None,
    config: Mapping[str, Any],
    request: Request,
    dtype: torch.dtype,
    network: int,
    activations: int,
    autoencoder: Path | None,
) -> GenerationMemory:
    """The same with what stands around the network. The autoencoder is in float32."""
    widths, height, width = config.get("block_out_channels") or WIDTHS, request.size[1], request.size[0]
    videos = bool(config.get("temporal_compression_ratio"))
    pixels = height * width * (request.window if videos else 1)
    weights = None if autoencoder is None else count_weights(autoencoder / "vae")
    return GenerationMemory(
        network,
        activations,
        _encoders(base, dtype) if request.text else (),
        4 * (SD3_AUTOENCODER if weights is None else weights.numbers),
        working_bytes(widths, pixels, 4),
        4 * CHANNELS * request.frames * request.views * height * width,
    )


def _encoders(base: Path | None, dtype: torch.dtype) -> tuple[int, ...]:
    if base is None:
        return tuple(dtype.itemsize * count for count in SD3_ENCODERS)
    weights = (count_weights(base / name) for name in ENCODERS if (base / name).is_dir())
    return tuple(dtype.itemsize * one.numbers for one in weights if one is not None)


def _autoencoder_config(folder: Path | None) -> dict[str, Any]:
    path = None if folder is None else folder / "vae" / "config.json"
    config = read_json(path) if path is not None and path.is_file() else {}
    widths = config.get("block_out_channels") if isinstance(config, dict) else None
    good = isinstance(widths, list) and widths and all(isinstance(one, int) and one > 0 for one in widths)
    return config if isinstance(config, dict) and good else {}


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.0f} MB"
