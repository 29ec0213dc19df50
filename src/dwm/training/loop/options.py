"""Options of the training loop: steps, optimizers, the rate over steps, what is written and watched. Trains nothing."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from dwm.options import Options
from dwm.training.parallel.options import ParallelOptions


class OptimizerOptions(Options):
    kind: Literal["adamw", "muon"] = Field("adamw", description="muon: matrices by Muon, the rest by AdamW")
    lr: float = Field(1e-4, gt=0, description="learning rate of AdamW")
    betas: tuple[float, float] = Field((0.9, 0.975), description="AdamW's decay rates of the two moments")
    eps: float = Field(1e-8, gt=0, description="AdamW's denominator offset")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled weight decay")
    muon_lr: float = Field(3e-3, gt=0, description="learning rate of Muon")
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon's momentum (Nesterov)")
    muon_except: str = Field(
        r"(norm\d?(_context)?\.linear|embed|add_[qkv]_proj|to_add_out|ff_context|proj_out|zero_convs)",
        description="pattern searched in parameter names: matrices left to AdamW although Muon could take them",
    )


class ScheduleOptions(Options):
    """The learning rate's factor over the steps: a rise, then a fall or none."""

    warmup: int = Field(0, ge=0, description="optimizer steps of linear rise")
    start: float | None = Field(
        None, ge=0, le=1, description="factor at the first step of the rise; null: 1 / (warmup + 1)"
    )
    shape: Literal["linear", "cosine"] = Field(
        "linear", description="how the rate falls: linearly over the last `decay` of the steps, or as half a cosine"
    )
    decay: float = Field(0.0, ge=0, le=1, description="last fraction of the steps, over which the rate falls linearly")
    period: int | None = Field(None, gt=0, description="steps of half a cosine's fall; null: all of the run's")
    floor: float = Field(0.0, ge=0, le=1, description="fraction of the rate at the very end of the fall")
    gamma: float = Field(1.0, gt=0, le=1, description="factor by which the rate also shrinks every step")

    def factor(self, step: int, steps: int) -> float:
        """What the learning rates are multiplied by at step `step` (from 0) of `steps`."""
        start = 1 / (self.warmup + 1) if self.start is None else self.start
        rise = start + (1 - start) * step / self.warmup if step < self.warmup else 1.0
        return rise * self._fall(step, steps) * self.gamma**step

    def _fall(self, step: int, steps: int) -> float:
        if self.shape == "cosine":
            turned = math.cos(math.pi * step / (self.period or steps))
            return self.floor + (1 - self.floor) * (1 + turned) / 2
        left = (steps - step) / max(1.0, self.decay * steps) if self.decay else 1.0
        return max(self.floor, min(1.0, left))


class WatchOptions(Options):
    """What is written of a run, and when it is taken to hang."""

    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        ("tensorboard",), description="where curves go, besides log.jsonl"
    )
    project: str = Field("dwm", description="the project's name at wandb or trackio")
    name: str | None = Field(None, description="the run's name there; null: that of its folder")
    stall_after: float = Field(
        1800, ge=0, description="seconds without a step after which the run ends and says where it hung; 0: never"
    )


class LoopOptions(Options):
    steps: int = Field(1000, gt=0, description="optimizer steps")
    accumulate: int = Field(1, gt=0, description="micro-batches whose mean gradient makes one step, over all processes")
    clip_norm: float = Field(1.0, ge=0, description="largest total norm of the gradient; 0: unbounded")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights a step; 0: no average")
    seed: int = Field(0, ge=0, description="of data order and all random numbers")
    log_every: int = Field(20, gt=0, description="steps between two lines of the log")
    save_every: int = Field(500, gt=0, description="steps between two saves")
    keep: int = Field(2, gt=0, description="last saves that are kept")
    keep_best: int = Field(1, ge=0, description="saves with the best scores that are kept as well")
    optimizer: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleOptions = ScheduleOptions()
    parallel: ParallelOptions = ParallelOptions()
    watch: WatchOptions = WatchOptions()
