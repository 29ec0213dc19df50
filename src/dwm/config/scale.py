"""What a training run would cost on many devices, on paper: arithmetic, bytes that devices send one another, data, memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from dwm.config.cost import estimate
from dwm.config.lidar import LidarRecipe
from dwm.config.lidar_cost import stage_named, sweep_estimate
from dwm.config.recipe import Recipe
from dwm.errors import DwmError
from dwm.networks.cost import Cost
from dwm.training.loop.options import LoopOptions

FLOAT32 = 4
MOMENTS = 2
"""Numbers of a stored latent: mean and deviation."""
USEFUL = 0.5
"""Share of the time spent computing below which more devices hardly help."""


@dataclass(frozen=True)
class Machine:
    """What is assumed of a device. rate: operations a second that training reaches; link: bytes a second it sends to others."""

    rate: float = 125e12
    link: float = 25e9

    def line(self) -> str:
        return f"assumed of each device: {self.rate / 1e12:.0f} Tflop/s reached, {self.link / 1e9:.0f} GB/s to others"


@dataclass(frozen=True)
class Scale:
    """One step of a run on so many devices. Seconds are those of arithmetic and of sending, one after the other; bytes are what
    one device sends; pictures (or sweeps) and stored are of all devices together in a second; memory is
    one device's. accumulate: micro-batches of a step that so many devices can share, None where the run's own are."""

    devices: int
    copies: int
    shards: int
    clips: int
    compute: float
    sent: int
    sending: float
    steps_a_day: float
    pictures: float
    stored: float
    memory: int
    accumulate: int | None = None

    @property
    def share(self) -> float:
        """Of the time that is spent computing where nothing overlaps."""
        return self.compute / (self.compute + self.sending)

    def line(self) -> str:
        remarks = [] if self.accumulate is None else [f"with training.accumulate={self.accumulate}"]
        if self.share < USEFUL:
            remarks.append("no longer scales: more micro-batches a step, or fewer shards")
        halt = "".join(f"  {remark}" for remark in remarks)
        return (
            f"{self.devices:7} {f'{self.copies}x{self.shards}':>9} {self.clips:7} {self.compute:10.3f} {self.sent / 1e9:9.2f} "
            f"{self.sending:10.3f} {100 * self.share:7.0f} {self.steps_a_day:10.0f} {self.pictures:11.0f} "
            f"{self.stored / 1e6:10.1f} {self.memory / 1e9:10.1f}{halt}"
        )


NAMES = (
    "devices",
    "mesh",
    "clips",
    "compute, s",
    "sent, GB",
    "sending, s",
    "share %",
    "steps/day",
    "pictures/s",
    "store MB/s",
)
WIDTHS = (7, 9, 7, 10, 9, 10, 7, 10, 11, 10)
HEAD = " ".join(f"{name:>{width}}" for name, width in zip(NAMES, WIDTHS, strict=True)) + f" {'memory, GB':>10}"


def sent_by_one(parameters: int, copies: int, shards: int, gather: int) -> int:
    """Bytes that one device sends in a step, by rings: whole gradients averaged over copies (ddp: shards 1); with shards
    weights gathered before both passes in numbers of `gather` bytes, float32 gradients scattered, then averaged over copies."""
    around = 2 * (copies - 1) / copies * FLOAT32 * parameters / shards
    within = (shards - 1) / shards * parameters * (2 * gather + FLOAT32)
    return round(around + within)


@dataclass(frozen=True)
class Step:
    """A micro-batch of a run's last stage: `clips` clips of `pictures` pictures or sweeps each; stored: bytes of a clip's latents
    in a store, 0 where there is none."""

    parameters: int
    cost: Cost
    clips: int
    pictures: int
    stored: int


def scales(
    run: Recipe | LidarRecipe, devices: Sequence[int], machine: Machine, dtype: torch.dtype = torch.bfloat16
) -> list[Scale]:
    """The run on each number of devices. A mesh keeps its shards; what does not divide raises DwmError."""
    shards = [_shards(run.training, count) for count in devices]
    step = _sweeps(run, dtype) if isinstance(run, LidarRecipe) else _pictures(run, dtype)
    return [
        _scale(run.training, step, count, of_copy, machine, dtype)
        for count, of_copy in zip(devices, shards, strict=True)
    ]


def _pictures(run: Recipe, dtype: torch.dtype) -> Step:
    estimated = estimate(run, dtype, on_cards=False)
    shape, count = estimated.shape, sum(estimated.parameters.values())
    pictures = shape.t * shape.v
    stored = MOMENTS * 2 * pictures * run.network.in_channels * shape.h * shape.w
    return Step(count, estimated.training, shape.b, pictures, stored)


def _sweeps(run: LidarRecipe, dtype: torch.dtype) -> Step:
    """Nothing of sweeps is stored: their codes and latents are made in each step."""
    stage = stage_named(sweep_estimate(run, dtype))
    cost = replace(stage.training, activations=stage.training.activations + stage.rays)
    return Step(stage.parameters, cost, stage.clips, stage.frames, 0)


def _shards(training: LoopOptions, devices: int) -> int:
    options, shards = training.parallel, 1
    if options.mode == "fsdp":
        shards = min(devices, options.mesh[1] if options.mesh is not None else devices)
    if devices < 1 or devices % shards:
        raise DwmError(f"--devices {devices}: is not a multiple of the mesh's {shards} shards; give such numbers")
    return shards


def _scale(training: LoopOptions, step: Step, devices: int, shards: int, machine: Machine, dtype: torch.dtype) -> Scale:
    options, cost = training.parallel, step.cost
    copies, micro = devices // shards, math.ceil(training.accumulate / devices)
    gather = dtype.itemsize if options.gather is None else getattr(torch, options.gather).itemsize
    traffic = sent_by_one(step.parameters, copies, shards, gather)
    compute, sending = micro * cost.flops / machine.rate, traffic / machine.link
    clips = micro * step.clips * devices
    rate = clips / (compute + sending)
    state = (cost.weights + cost.gradients + cost.optimizer + cost.average) // shards
    return Scale(
        devices,
        copies,
        shards,
        clips,
        compute,
        traffic,
        sending,
        86400 / (compute + sending),
        rate * step.pictures,
        rate * step.stored,
        state + cost.activations,
        None if micro * devices == training.accumulate else micro * devices,
    )
