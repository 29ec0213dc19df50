"""Kills training processes at random moments, lets the run go on, and compares it with one that nobody killed.

    python benchmarks/kills.py                          # one process, killed twenty times, started again each time
    python benchmarks/kills.py --processes 2            # all processes killed at once
    python benchmarks/kills.py --processes 2 --elastic  # one of two killed; torchrun --max-restarts starts them again

Prints a line for each kill: the step that was logged last, the save that the run went on from, the steps that were lost, and
whether a save was being written. At the end, whether all losses and the final weights are those of the whole run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from dwm.training.loop.log import WatchOptions
from dwm.training.loop.optimizers import OptimizerOptions
from dwm.training.loop.options import ScheduleOptions
from dwm.training.loop.step import LoopOptions, step_generator, train_task
from dwm.training.loop.task import Losses, Work
from dwm.training.parallel import ranks as parallel
from dwm.training.parallel.options import ParallelOptions
from dwm.training.saves import checkpoint

WIDTH, SAVE_EVERY, PATIENCE = 384, 5, 120.0
started: list[subprocess.Popen[bytes]] = []
"""Whatever still runs at the end is killed."""


class Perceptron:
    """A few million parameters, so that a save takes about as long as the steps between two."""

    def __init__(self) -> None:
        self.device, self.dtype = torch.device("cpu"), torch.float32
        torch.manual_seed(3)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU()) for _ in range(3))
        self.back = nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in range(3))
        self.module = nn.ModuleDict({"layers": self.layers, "back": self.back})

    def batches(self, start: int, every: int = 1) -> Iterator[Tensor]:
        number = start
        while True:
            yield torch.randn(8, WIDTH, generator=step_generator(1, number))
            number += every

    def losses(self, batch: Tensor, generator: torch.Generator) -> Losses:
        x = batch + 0.1 * torch.randn(batch.shape, generator=generator)
        for layer, back in zip(self.layers, self.back, strict=True):
            x = x + back(layer(x))
        return Losses(((x - batch.cumsum(1).sin()) ** 2).mean())

    def work(self, batch: Tensor) -> Work:
        return Work(clips=len(batch))

    def identity(self, batch: Tensor) -> str:
        return "invented numbers"

    def blocks(self) -> list[nn.Module]:
        return list(self.back)


def work(folder: Path, steps: int, mode: str) -> None:
    """One training process; goes on with what is there."""
    torch.set_num_threads(1)
    with parallel.group("cpu"):
        rank = parallel.current_ranks().rank
        (folder / f"pid-{rank}").write_text(str(os.getpid()))
        options = LoopOptions(
            steps=steps,
            accumulate=2,
            log_every=1,
            save_every=SAVE_EVERY,
            optimizer=OptimizerOptions(lr=1e-3),
            schedule=ScheduleOptions(warmup=20, decay=0.5),
            parallel=ParallelOptions(mode=mode),
            watch=WatchOptions(trackers=()),
        )
        weights = train_task(Perceptron(), options, folder).averaged()
        if rank == 0:
            checkpoint.save_weights(weights, folder / "weights.safetensors")


def start(folder: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """The run in processes of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(Path(__file__).resolve()),
        "--work",
        str(folder),
        "--steps",
        str(options.steps),
        "--mode",
        options.mode,
    ]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(options.processes), "--standalone"]
    if options.elastic:
        launcher += ["--max-restarts", str(options.kills + 1), "--monitor-interval", "0.1"]
    alone = options.processes == 1
    process = subprocess.Popen(
        [sys.executable, *([] if alone else launcher), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr.txt").open("ab"),
        start_new_session=True,
    )
    started.append(process)
    return process


def logged(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's log, the last of which may be torn."""
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            assert line is lines[-1], "a torn line in the middle"
    return found


def wait_for_line(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until the log has more lines than `count`, or the run has ended well."""
    deadline = time.monotonic() + PATIENCE
    while len(logged(folder)) <= count:
        if process.poll() == 0:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((folder / "stderr.txt").read_text()[:6000] or "the run does not move")
        time.sleep(0.02)


def kill(folder: Path, process: subprocess.Popen[bytes], options: argparse.Namespace, chance: random.Random) -> str:
    pids = [int((folder / f"pid-{rank}").read_text()) for rank in range(options.processes)]
    if options.elastic:
        rank = chance.randrange(options.processes)
        os.kill(pids[rank], signal.SIGKILL)
        return f"rank {rank}"
    for pid in (process.pid, *pids):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    return "all" if options.processes > 1 else "it"


def run(options: argparse.Namespace, folder: Path) -> None:
    """Both runs, and the table."""
    whole = start(folder / "whole", options)
    assert whole.wait() == 0, (folder / "whole" / "stderr.txt").read_text()[-4000:]
    chance, killed = random.Random(options.seed), folder / "killed"
    print(f"{options.steps} steps, a save every {SAVE_EVERY}, processes: {options.processes} {options.mode}")
    print("kill  whom     after step  went on after  lost  while saving")
    process, lost = start(killed, options), []
    for number in range(1, options.kills + 1):
        before = len(logged(killed))
        wait_for_line(killed, before, process)
        time.sleep(chance.uniform(0, options.within))
        if process.poll() == 0:
            print("the run has ended; give more --steps for more kills")
            break
        saving = bool(list((killed / "checkpoints").glob(".saving-*")))
        whom = kill(killed, process, options, chance)
        last = logged(killed)
        if not options.elastic:
            process = start(killed, options)
        wait_for_line(killed, len(last), process)
        first = logged(killed)[len(last)]["step"] - 1
        lost.append(last[-1]["step"] - first)
        print(
            f"{number:4d}  {whom:7}  {last[-1]['step']:10.0f}  {first:13.0f}  {lost[-1]:4.0f}  {'yes' if saving else 'no'}"
        )
    assert process.wait() == 0, (killed / "stderr.txt").read_text()[-4000:]
    compare(logged(folder / "whole"), logged(killed), folder, lost)


def compare(whole: list[dict[str, float]], killed: list[dict[str, float]], folder: Path, lost: list[float]) -> None:
    losses = {entry["step"]: entry["loss"] for entry in whole}
    unlike = [entry["step"] for entry in killed if entry["loss"] != losses[entry["step"]]]
    names = [folder / name / "weights.safetensors" for name in ("whole", "killed")]
    same = names[0].read_bytes() == names[1].read_bytes()
    print(f"steps logged {len(killed)} of {len(whole)}, some twice; losses that differ: {len(unlike)}")
    print(f"steps lost a kill: {sum(lost) / len(lost):.1f} in the mean, {max(lost):.0f} at most")
    print(f"final weights: {'the same, byte for byte' if same else 'DIFFERENT'}")
    for step in range(len(whole) // 6, len(whole) + 1, max(1, len(whole) // 6)):
        twice = [entry["loss"] for entry in killed if entry["step"] == step]
        print(f"  step {step:5d}: whole {losses[step]:.6f}, killed {', '.join(f'{value:.6f}' for value in twice)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--elastic", action="store_true", help="kill one process, let torchrun start all again")
    parser.add_argument("--mode", default="ddp", choices=("ddp", "fsdp"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--within", type=float, default=1.0, help="seconds after the first step of a life")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="three kills")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work, options.steps, options.mode)
        return
    if options.quick:
        options.kills, options.steps = 3, 150
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(options, Path(folder))
        finally:
            for process in started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
