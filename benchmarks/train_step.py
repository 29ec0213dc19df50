"""How long a training step takes, where it goes, and what the trainer adds of its own.

    python benchmarks/train_step.py [--quick]
    python benchmarks/train_step.py --as-reference [--rounds 9]     # a step beside OpenDWM's way of it (`whole_step.py`)

Three tasks, in one thread: the town's network on one clip of six views and four frames; a network of 24 million parameters
whose step takes about a second; and an invented task whose forward and backward take 200 ms over as many parameters as the
town's network has, to see what the trainer adds. Times are of this process's main thread (`time.thread_time`), which other
work on the machine hardly changes, and of the clock. The whole loop runs: accumulation, log lines, a save in the background.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
import whole_step
from torch import Tensor, nn

from dwm import progress
from dwm.networks import Conditions, CrossviewTemporalDiT, DiTOptions
from dwm.recipes.town import MUON, town_network
from dwm.training.loop.ema import Ema
from dwm.training.loop.optimizers import Muon, OptimizerOptions
from dwm.training.loop.scaler import Scaler
from dwm.training.loop.step import LoopOptions, Moment, step_generator, train_task
from dwm.training.loop.task import Losses, Task, Work
from dwm.training.saves.saver import Saver

PARTS = ("data", "forward", "backward", "optimizer", "clip", "average", "rest")

TIMED = (
    (Tensor, "backward", "backward"),
    (torch.optim.AdamW, "step", "optimizer"),
    (Muon, "step", "optimizer"),
    (Scaler, "clip", "clip"),
    (Ema, "update", "average"),
)
"""Methods whose time is a part's."""


class Clock:
    """Seconds of the main thread by part of a step."""

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.sums = self.parts

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, whose time goes to a part."""

        def run(*arguments: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return work(*arguments, **named)
            finally:
                self.parts[part] += time.thread_time() - started

        return run


class Network:
    """A driving network on invented latents and conditions of one shape."""

    def __init__(self, options: DiTOptions, frames: int, latent: tuple[int, int]):
        torch.manual_seed(0)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.network = CrossviewTemporalDiT(options).train()
        self.module = nn.ModuleDict({"transformer": self.network})
        self.shape = (1, frames, 6, options.in_channels, *latent)

    def batches(self, start: int, every: int = 1) -> Iterator[Tensor]:
        number = start
        while True:
            yield torch.randn(self.shape, generator=step_generator(1, number))
            number += every

    def losses(self, batch: Tensor, generator: torch.Generator) -> Losses:
        o, (b, t, v, _, h, w) = self.network.options, self.shape
        noise = torch.randn(batch.shape, generator=generator)
        told = Conditions(
            text=torch.ones(b, t, v, 24, o.joint_attention_dim),
            pooled=torch.ones(b, t, v, o.pooled_projection_dim),
            layout=torch.rand(b, t, v, 6, 8 * h, 8 * w, generator=generator),
            added_ids=torch.ones(b, t, v, o.projection_class_embeddings_input_dim // 256),
            crossview_mask=torch.ones(b, v, v, dtype=torch.bool),
            disable_crossview=torch.zeros(b, dtype=torch.bool),
            disable_temporal=torch.zeros(b, dtype=torch.bool),
        )
        velocity = self.network(
            (batch + noise) / 2, torch.full((b, t, v), 500.0), self.network.prepare(told, self.shape)
        )
        loss = (velocity - (noise - batch)).square().mean()
        return Losses(loss, {"generation": (loss.detach(), torch.ones(()))})

    def work(self, batch: Tensor) -> Work:
        return Work(clips=1, tokens=batch[:, :, :, 0].numel() // 4)

    def identity(self, batch: Tensor) -> str:
        return "invented latents"

    def blocks(self) -> list[nn.Module]:
        return list(self.network.transformer_blocks)


class Busy(Network):
    """The town's parameters, each used once, and matrix products until forward and backward have taken `seconds`."""

    def __init__(self, seconds: float):
        super().__init__(town_network(), 1, (2, 2))
        self.seconds = seconds

    def losses(self, batch: Tensor, generator: torch.Generator) -> Losses:
        matrix, ends = torch.ones(256, 256), time.thread_time() + self.seconds
        loss = sum(parameter.square().mean() for parameter in self.network.parameters())
        backward = 0.03  # of the sum above, roughly; it is measured apart
        while time.thread_time() < ends - backward:
            matrix = matrix @ matrix / 256
        return Losses(loss, {"generation": (loss.detach(), torch.ones(()))})


def measured(task: Task[Any], steps: int, optimizer: OptimizerOptions, clock: Clock) -> tuple[list[float], list[float]]:
    """Trains and returns the main thread's and the clock's seconds of each step but the first three."""
    task.losses = clock.timed("forward", task.losses)  # type: ignore[method-assign]
    whole: list[tuple[float, float]] = []

    def note(moment: Moment) -> None:
        whole.append((time.thread_time(), time.perf_counter()))
        if moment.step == 3:
            clock.parts.update(dict.fromkeys(PARTS, 0.0))
        elif moment.step == steps + 2:  # the last step saves, which is measured apart
            clock.sums = dict(clock.parts)

    options = LoopOptions(steps=steps + 3, log_every=20, save_every=10**6, optimizer=optimizer)
    batches = task.batches
    task.batches = lambda *where: Timed(batches(*where), clock)  # type: ignore[method-assign]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        for owner, name, part in TIMED:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, clock.timed(part, getattr(owner, name)))
        train_task(task, options, Path(folder), callbacks=[note])
    kept = whole[2:-1]
    steps_of = list(pairwise(kept))
    return [b[0] - a[0] for a, b in steps_of], [b[1] - a[1] for a, b in steps_of]


class Timed:
    """Batches, the making of which counts as data."""

    def __init__(self, batches: Iterator[Any], clock: Clock):
        self._next = clock.timed("data", batches.__next__)

    def __iter__(self) -> Timed:
        return self

    def __next__(self) -> Any:
        return self._next()


def report(name: str, task: Task[Any], steps: int, optimizer: OptimizerOptions = OptimizerOptions()) -> None:
    """A row of the table."""
    clock = Clock()
    parameters = sum(parameter.numel() for parameter in task.module.parameters())
    spent, passed = measured(task, steps, optimizer, clock)
    parts = {part: clock.sums[part] / len(spent) for part in PARTS}
    whole = sum(spent) / len(spent)
    parts["rest"] = whole - sum(parts[part] for part in PARTS[:-1])
    row = "  ".join(f"{1000 * parts[part]:9.1f}" for part in PARTS)
    shares = parts["rest"] / whole, (parts["clip"] + parts["average"] + parts["rest"]) / whole
    print(
        f"{name:10}  {parameters / 1e6:8.1f}  {1000 * whole:8.1f}  {row}  {shares[0]:8.2%}  {shares[1]:8.2%}  "
        f"{1000 * median(passed):8.1f}",
        flush=True,
    )


def saves(task: Task[Any], steps_between: int, step: float) -> None:
    """What a save costs the step that it falls into, and the thread beside."""
    with tempfile.TemporaryDirectory() as folder:
        options = LoopOptions(steps=1, save_every=10**6)
        training = train_task(task, options, Path(folder))
        saver = Saver(Path(folder) / "saves", training)
        saver.start(1)
        saver.finish()
        started, everything = time.thread_time(), time.process_time()
        saver.start(2)
        copied = time.thread_time() - started
        saver.finish()
        beside = time.process_time() - everything - copied
        size = sum(path.stat().st_size for path in Path(folder, "saves", "0000002").iterdir())
    print(
        f"a save of {size / 1e6:.0f} MB: the step waits {1000 * copied:.1f} ms for the copy, "
        f"{copied / steps_between / step:.3%} of all steps at one in {steps_between}; the thread works {1000 * beside:.0f} ms"
    )


def middle_network() -> DiTOptions:
    """The town's network, twice as wide and with its blocks in the same places."""
    town = town_network()
    width = 2 * town.width
    adapter = town.condition_image_adapter_config
    assert adapter is not None
    return town.with_(
        attention_head_dim=width // 4,
        caption_projection_dim=width,
        condition_image_adapter_config=adapter.with_(channels=(width,) * len(adapter.channels)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--as-reference", action="store_true", help="a step beside OpenDWM's way of it")
    parser.add_argument("--rounds", type=int, default=9, help="of --as-reference")
    arguments = parser.parse_args()
    quick = arguments.quick
    torch.set_num_threads(1)
    if arguments.as_reference:
        lines = whole_step.compare(lambda: Network(town_network(), 4, (12, 20)), 2 if quick else arguments.rounds)
        print(*lines, sep="\n")
        return
    progress.QUIET = True
    heads = "  ".join(f"{part:>9}" for part in PARTS)
    print("milliseconds of a step; share: of `rest` alone, and with clipping and averaging")
    print(f"{'task':10}  {'million':>8}  {'step':>8}  {heads}  {'share':>8}  {'':8}  {'clock':>8}")
    report("invented", Busy(0.2), 8 if quick else 30)
    report("town", Network(town_network(), 4, (12, 20)), 2 if quick else 6)
    report("town, Muon", Network(town_network(), 4, (12, 20)), 2 if quick else 6, MUON)
    report("middle", Network(middle_network(), 2, (12, 20)), 2 if quick else 6)
    saves(Busy(0.01), 100, 0.2)


if __name__ == "__main__":
    main()
