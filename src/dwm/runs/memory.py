"""Before weights are loaded: what a generation needs of its device's memory against what is free, and the plan. Loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dwm.base_models.trust import count_weights
from dwm.checkpoints.card import WeightsCard
from dwm.checkpoints.folder import network_skeleton, read_card
from dwm.checkpoints.locations import resolve
from dwm.clip import Clip
from dwm.config.cost import text_tokens
from dwm.config.generation_memory import GenerationMemory, Plan, Request, at_most, generation_memory, gigabytes
from dwm.data.captions import words
from dwm.devices import memory
from dwm.errors import DwmError

NEAR = 0.8
"""Share of the free memory up to which a rough upper bound is enough; beyond it is counted, which takes seconds."""


def base_folder(weights: Path, card: WeightsCard, base_model: str | None) -> Path:
    """Where the base model of a weights folder lies: as given, beside the weights, or as their card says."""
    beside = (weights / "vae").is_dir()
    return Path(base_model) if base_model is not None else weights if beside else Path(card.base_model or weights)


def needed(
    weights: Path,
    card: WeightsCard,
    base_model: str | None,
    request: Request,
    dtype: torch.dtype,
    free: int | None = None,
) -> GenerationMemory:
    """What a generation by the weights of this folder needs; where a rough bound is far below `free`, that bound."""
    base = base_folder(weights, card, base_model)
    autoencoder = None if card.autoencoder_folder is None else Path(card.autoencoder_folder)
    held = count_weights(weights / "transformer")
    if free is not None and held is not None:
        rough = at_most(held.numbers, base, request, dtype, autoencoder)
        if rough.plan("whole").peak < NEAR * free:
            return rough
    _, options = network_skeleton(weights)
    try:
        return generation_memory(options, base, request, dtype, autoencoder)
    except ValueError:  # a size that the network cannot take has no count
        if held is None:
            raise
        return at_most(held.numbers, base, request, dtype, autoencoder)


def request_of(run: Any, card: WeightsCard, base: Path) -> Request:
    """What a `GenerationRun`, or a run with some of its settings, generates."""
    size = getattr(run, "size", None) or (card.sizes[0] if card.sizes else (448, 256))
    frames = getattr(run, "frames", None) or card.window or 1
    views = getattr(run, "views", None) or card.views
    text = text_tokens(base) if card.conditions.text else 0
    return Request(
        frames, len(views), size, min(frames, card.window or frames), getattr(run, "guidance", None) != 1, text
    )


@dataclass(frozen=True)
class RunPlan:
    """How a run is made to fit into the `free` bytes of its device."""

    need: GenerationMemory
    plan: Plan
    free: int

    @property
    def how(self) -> str:
        return self.plan.how

    def lines(self) -> tuple[str, str]:
        """The estimate and the plan for people."""
        return f"memory, {gigabytes(self.free)} free: {self.need.line()}", self.plan.line()


def planned(run: Any, device: torch.device, dtype: torch.dtype, known_words: bool = False) -> RunPlan:
    """The plan for a run on a device, as it asks (`offload`) or the fastest that fits; `known_words`: all words are known
    before the start. Raises DwmError where nothing fits and the run does not force it."""
    weights, asked, forced = resolve(run.weights), getattr(run, "offload", None), getattr(run, "force", False)
    if asked and device.type == "cpu":
        raise DwmError(
            "--offload moves weights between the machine's memory and a device, and --device cpu has none: leave it out"
        )
    card, free = read_card(weights), memory(device).free
    request = request_of(run, card, base_folder(weights, card, run.base_model))
    need = needed(weights, card, run.base_model, request, dtype, free)
    can_offload = asked is not False and device.type != "cpu"
    least = need.plan("offload" if can_offload else "text first")
    plan = need.fitting(free, known_words, can_offload) if not asked else least
    if forced:
        return RunPlan(need, plan or least, free)
    if plan is None or plan.peak > free:
        raise DwmError(_too_little(need, least, request, device, free))
    return RunPlan(need, plan, free)


def _too_little(need: GenerationMemory, least: Plan, request: Request, device: torch.device, free: int) -> str:
    """What is missing, and what would help, in a line."""
    width, height = request.size
    offload = least.how == "offload"
    ways = "free some, or take fewer --frames or --views, a smaller --size"
    if device.type != "cpu" and not offload:
        ways += " or --offload"
    return (
        f"{request.frames} frames of {request.views} views of {width}x{height} need {gigabytes(least.peak)} of memory on "
        f"{device}{' even with --offload' if offload else ''}, and {gigabytes(free)} are free ({need.line()}); {ways}; "
        "--force tries all the same"
    )


def all_words(clips: Sequence[Clip], run: Any) -> set[str]:
    """Everything that a run will say of these clips."""
    told = read_card(resolve(run.weights)).captions.with_(reorder=False, drop_rates={})
    of_clips = {text for clip in clips if clip.captions for row in words(clip.captions, told) for text in row}
    return {getattr(run, "negative", "") or "", *(getattr(run, "prompt", ()) or of_clips)}
