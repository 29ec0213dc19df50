"""Trains one tiny network in several ways; a script that tests start as several processes, and as one.

Usage: processes.py FOLDER WAYS…, each way a name in `WAYS`; losses and weights are written to FOLDER/WAY.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from dwm.devices import autocast
from dwm.training.loop.log import WatchOptions
from dwm.training.loop.optimizers import OptimizerOptions
from dwm.training.loop.options import ScheduleOptions
from dwm.training.loop.step import LoopOptions, step_generator, train_task
from dwm.training.loop.task import Losses, Work
from dwm.training.parallel import ranks as parallel
from dwm.training.parallel.options import ParallelOptions

WIDTH, ODD = 12, 7


class Block(nn.Module):
    """A residual perceptron with an odd number of rows, which no number of shards divides."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, ODD), nn.Linear(ODD, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))


class Stack(nn.Module):
    """Blocks, the last of which only some batches use, a part that `prepare` uses outside of forward, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.agreed = bool
        self.embed = nn.Linear(3, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.mix = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.never = nn.Linear(4, 4)
        self.register_buffer("offset", torch.ones(WIDTH))

    def prepare(self, condition: Tensor) -> Tensor:
        return self.embed(condition)

    def forward(self, x: Tensor, prepared: Tensor, alone: bool) -> Tensor:
        x = self.frozen(x + prepared + self.offset)
        for block in self.blocks[:2]:
            x = block(x)
        x = x.float()
        if self.agreed(not alone):
            # Where another process wants the block, this one's batch must come out as if it had not run.
            x = x + (0 if alone else 1) * torch.sigmoid(self.mix) * self.blocks[2](x)
        return x


class Stacked:
    """A regression on invented numbers; every third micro-batch leaves out the last block."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        self.device, self.dtype = torch.device("cpu"), dtype
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.network = Stack()
        self.module = nn.ModuleDict({"network": self.network})

    def batches(self, start: int, every: int = 1) -> Iterator[tuple[int, Tensor]]:
        number = start
        while True:
            yield number, torch.randn(5, WIDTH, generator=step_generator(2, number))
            number += every

    def losses(self, batch: tuple[int, Tensor], generator: torch.Generator) -> Losses:
        number, x = batch
        noise = 0.1 * torch.randn(x.shape, generator=generator)
        with autocast(self.device, self.dtype):
            made = self.network(x + noise, self.network.prepare(x[:, :3]), alone=number % 3 == 0)
        loss = ((made.float() - x.cumsum(1).sin()) ** 2).mean()
        part = "image" if number % 2 else "generation"
        zero, one = torch.zeros(()), torch.ones(())
        parts = {name: (loss.detach(), one) if name == part else (zero, zero) for name in ("generation", "image")}
        return Losses(loss, parts)

    def work(self, batch: tuple[int, Tensor]) -> Work:
        return Work(clips=5, tokens=5 * WIDTH, operations=1e4)

    def identity(self, batch: tuple[int, Tensor]) -> str:
        return f"batch {batch[0]}"

    def blocks(self) -> list[nn.Module]:
        return list(self.network.blocks)


STEPS = 4
PLAIN = LoopOptions(
    steps=STEPS,
    accumulate=4,
    log_every=1,
    save_every=2,
    clip_norm=0.5,
    optimizer=OptimizerOptions(lr=1e-2, weight_decay=0.1),
    schedule=ScheduleOptions(warmup=2, decay=0.5),
    watch=WatchOptions(trackers=()),
)
MUON = PLAIN.with_(optimizer=OptimizerOptions(kind="muon", lr=1e-2, muon_lr=1e-2, muon_except="embed"))


def _fsdp(*mesh: int, **more: object) -> ParallelOptions:
    return ParallelOptions(mode="fsdp", mesh=mesh or None, **more)


WAYS = {
    "ddp": PLAIN,
    "fsdp": PLAIN.with_(parallel=_fsdp()),
    "fsdp-22": PLAIN.with_(parallel=_fsdp(2, 2)),
    "fsdp-14": PLAIN.with_(parallel=_fsdp(1, 4)),
    "fsdp-41": PLAIN.with_(parallel=_fsdp(4, 1)),
    "fsdp-16-half": PLAIN.with_(parallel=_fsdp()),
    "fsdp-muon": MUON.with_(parallel=_fsdp()),
    "fsdp-recompute": PLAIN.with_(parallel=_fsdp(recompute=True)),
    "ddp-recompute": PLAIN.with_(parallel=ParallelOptions(recompute=True)),
    "ddp-half": PLAIN,
    "fsdp-half": PLAIN.with_(parallel=_fsdp(gather="float32")),
    "plain": PLAIN,
    "muon": MUON,
    "half": PLAIN,
    "compile": PLAIN.with_(parallel=ParallelOptions(compile=True)),
    "recompute": PLAIN.with_(parallel=ParallelOptions(recompute=True)),
}


def train(folder: Path, way: str, steps: int = STEPS) -> None:
    """Trains in one way (the last part of a path) and writes `weights.safetensors` beside its log: the averaged ones, whole."""
    task = Stacked(torch.float16 if way.endswith("half") else torch.float32)
    training = train_task(task, WAYS[Path(way).name].with_(steps=steps), folder / way)
    weights = training.averaged()
    if parallel.current_ranks().first:
        save_file(weights, folder / way / "weights.safetensors")
    parallel.current_ranks().barrier()


def main(folder: Path, *ways: str) -> None:
    torch.set_num_threads(1)
    with parallel.group("cpu"):
        for way in ways:
            train(folder, way)


def start(rank: int, ranks: int, port: int, folder: Path, ways: tuple[str, ...]) -> None:
    """One of several processes."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(ranks))
    main(folder, *ways)
    assert not dist.is_initialized()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
