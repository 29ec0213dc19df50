"""A training step of the embedded network, part by part, beside the same the way OpenDWM computes it (`reference_way`).

`train_step.py --as-reference` runs it. There blocks are computed again in the backward pass, as its published configs ask,
and AdamW and clipping are PyTorch's defaults. Both ways take turns, each on a network of its own with the same first weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from reference_way import reference_way

from dwm.training.loop.ema import Ema
from dwm.training.loop.optimizers import OptimizerOptions, build_optimizers
from dwm.training.loop.scaler import Scaler
from dwm.training.loop.step import step_generator

PARTS = ("forward", "backward", "rest")
WARM_UP = 1


@dataclass(frozen=True)
class Way:
    """One way of a step: its task, and all after the backward pass."""

    task: Any
    published: bool
    after: Callable[[], None]

    def step(self, number: int, clock: Callable[[], float]) -> tuple[dict[str, float], float]:
        """Seconds of each part, and the loss."""
        batch, generator = next(self.task.batches(number)), step_generator(2, number)
        begun = clock()
        with reference_way() if self.published else nullcontext():
            loss = self.task.losses(batch, generator).loss
            forward = clock()
            loss.backward()
        backward = clock()
        self.after()
        spent = (forward - begun, backward - forward, clock() - backward)
        return dict(zip(PARTS, spent, strict=True)), float(loss.detach())


def ours(task: Any) -> Way:
    named = list(task.module.named_parameters())
    parameters = [parameter for _, parameter in named]
    optimizers, ema = build_optimizers(named, OptimizerOptions()), Ema(task.module, 0.999)
    scaler = Scaler(torch.float32)

    def after() -> None:
        scaler.clip(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        ema.update()

    return Way(task, False, after)


def theirs(task: Any) -> Way:
    """With recomputation; no average of weights is kept there."""
    parameters = list(task.module.parameters())
    options = OptimizerOptions()
    optimizer = torch.optim.AdamW(parameters, options.lr, options.betas, options.eps, options.weight_decay)
    task.network.gradient_checkpointing = True
    task.network.temporal_checkpointing = task.network.crossview_checkpointing = True

    def after() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Way(task, True, after)


def compare(make: Callable[[], Any], rounds: int) -> list[str]:
    """Lines of a table: medians of processor time in milliseconds, and ratios."""
    ways = {"reference": theirs(make()), "ours": ours(make())}
    seconds: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PARTS} for name in ways}
    losses: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-WARM_UP, rounds):
        for name, way in ways.items():
            spent, loss = way.step(number + WARM_UP, time.process_time)
            losses[name].append(loss)
            if number >= 0:
                for part, value in spent.items():
                    seconds[name][part].append(value)
    lines = [f"{'part':10} {'reference, ms':>14} {'ours, ms':>10} {'ratio':>7} {'from':>6} {'to':>6}"]
    for part in (*PARTS, "step"):
        times = [
            [sum(values[i] for values in seconds[name].values()) for i in range(rounds)]
            if part == "step"
            else seconds[name][part]
            for name in ways
        ]
        ratios = sorted(a / b for a, b in zip(*times, strict=True))
        shown = [1000 * median(values) for values in times]
        lines.append(
            f"{part:10} {shown[0]:14.1f} {shown[1]:10.1f} {median(ratios):7.2f} {ratios[0]:6.2f} {ratios[-1]:6.2f}"
        )
    apart = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    return [*lines, f"losses of {rounds + WARM_UP} steps differ by at most {apart:.1e}"]
