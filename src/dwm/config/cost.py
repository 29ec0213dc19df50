"""What a run will cost before anything is loaded: parameters, memory and arithmetic of one step, from its settings alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dwm.checkpoints.locations import base_model_folder
from dwm.config.checks import AUTOENCODER_FACTOR
from dwm.config.files import read_json
from dwm.config.generation_memory import Plan, Request, generation_memory
from dwm.config.recipe import Recipe
from dwm.networks.cost import Cost, Shape, generation_cost, parameters, training_cost

SD3_TOKENS = 154
"""Text tokens of SD 3 and 3.5: 77 of CLIP and 77 of T5."""


@dataclass(frozen=True)
class Estimate:
    """What `dwm show memory` tells. base_model is the size of its files in bytes, None where they are not there."""

    parameters: dict[str, int]
    training: Cost
    generation: Cost
    shape: Shape
    dtype: str
    base_model: int | None
    cards: tuple[Card, ...] = ()


@dataclass(frozen=True)
class Card:
    """How clips of the run are generated on a device with `memory` bytes free. plan: None where they do not fit."""

    memory: int
    frames: int
    dtype: str
    plan: Plan | None

    def line(self) -> str:
        what = f"{self.frames} frames" if self.frames > 1 else "pictures"
        how = "do not fit" if self.plan is None else self.plan.line().removeprefix("plan: ")
        return f"  {self.memory / 1e9:.0f} GB: {what} in {self.dtype}: {how}"


CARDS = (12e9, 24e9, 80e9)
"""Memory of usual devices."""


def cards(run: Recipe, dtype: torch.dtype, free: Sequence[float] = CARDS) -> tuple[Card, ...]:
    """How the run's clips are generated on devices with so much free memory, and single pictures where clips do not fit."""
    base, (width, height) = base_model_folder(run.base_model or "town"), run.data.size
    text = (text_tokens(base) if base.is_dir() else SD3_TOKENS) if run.conditions.text else 0
    network, name = run.driving_network(), str(dtype).removeprefix("torch.")
    by_memory: dict[float, Card] = {}
    for frames in sorted({run.data.frames, 1}, reverse=True):
        waiting = [memory for memory in free if memory not in by_memory or by_memory[memory].plan is None]
        if waiting:
            request = Request(frames, run.data.views, (width, height), frames, text=text)
            need = generation_memory(network, base, request, dtype)
            by_memory |= {
                one: Card(int(one), frames, name, need.fitting(int(one), known_words=True)) for one in waiting
            }
    return tuple(by_memory[memory] for memory in free)


def estimate(run: Recipe, dtype: torch.dtype = torch.float32, on_cards: bool = True) -> Estimate:
    """The cost of one micro-batch of training, and of one sampling step of one clip with guidance; `on_cards`: and how clips are
    generated on usual devices, which is counted anew."""
    width, height = run.data.size
    folder = base_model_folder(run.base_model or "town")
    text = text_tokens(folder) if folder.is_dir() else SD3_TOKENS
    factor = AUTOENCODER_FACTOR
    batch = run.training.batch
    views = batch.views or run.data.views
    shape = Shape(batch.clips, batch.frames, views, height // factor, width // factor, text, factor)
    network = run.driving_network()
    moments = 1.0 if run.training.optimizer.kind == "muon" else 2.0
    return Estimate(
        dict(parameters(network)),
        training_cost(network, shape, dtype, network.recomputes, moments, run.training.ema_decay > 0),
        generation_cost(network, replace(shape, b=2, t=run.data.frames, v=run.data.views), dtype),
        shape,
        str(dtype).removeprefix("torch."),
        _size_of(folder) if folder.is_dir() else None,
        cards(run, torch.bfloat16 if dtype == torch.float32 else dtype) if on_cards else (),
    )


def text_tokens(folder: Path) -> int:
    """How many text tokens a picture gets: one CLIP's length (the second lies beside it in width) and T5's."""
    configs = [folder / name / "tokenizer_config.json" for name in ("tokenizer", "tokenizer_3")]
    lengths = [min(int(read_json(path)["model_max_length"]), 77) for path in configs if path.is_file()]
    return sum(lengths) or SD3_TOKENS


def _size_of(folder: Path) -> int:
    parts = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")
    return sum(path.stat().st_size for part in parts for path in (folder / part).glob("*.safetensors"))
