"""Pictures a second of a drive, and whether its memory stays flat.

Run: python benchmarks/drive.py [--quick] [--frames N] [--steps N …]

The network is counted in CPU seconds, so that other work on the machine does not matter. The source alone is driven for an hour of
the world's time (a minute with --quick).
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dwm import DrivingPipeline
from dwm.drive import Action, DrivingWorld, town_source

AUTOPILOT = Action(autopilot=True)


def resident() -> float:
    """MB of this process now; its peak where the system does not say."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def drive(frames: int, steps: int, overlap: int | None) -> tuple[str, ...]:
    """One line: how it was drawn, what a picture costs, what an answer costs, memory after the first tenth and at the end."""
    pipe = DrivingPipeline.from_pretrained("town")
    world = DrivingWorld(pipe, town_source(7, 1), steps=steps, overlap=overlap)
    settled = 0.0
    started, count = time.process_time(), 0
    for frame in range(frames):
        pictures, _ = world.step(AUTOPILOT)
        count += len(pictures) * len(world.views)
        if frame == max(8, frames // 10):
            settled = resident()
    spent = time.process_time() - started
    burst = spent / frames * world.video.burst
    grown = 100 * (resident() / settled - 1) if settled else 0.0
    return f"{steps} steps, {world.way}", f"{count / spent:.2f}", f"{burst:.2f}", f"{settled:.0f} MB, {grown:+.1f} %"


def source(ticks: int) -> tuple[str, ...]:
    """One line: ticks a CPU second, and the memory, of the town without a network."""
    town = town_source(7, 1)
    settled, started, harm = 0.0, time.process_time(), 0
    moment = town.step(AUTOPILOT)
    for tick in range(1, ticks):
        moment = town.step(AUTOPILOT)
        harm += bool(moment.crash) + moment.off_road
        if tick == ticks // 10:
            settled = resident()
    rate = ticks / (time.process_time() - started)
    way = f"{moment.travelled:.0f} m in {moment.time:.0f} s, {harm} ticks of harm"
    return way, f"{rate:.0f} ticks", "", f"{settled:.0f} MB, {100 * (resident() / settled - 1):+.1f} %"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--frames", type=int, default=200)
    arguments.add_argument("--steps", type=int, nargs="*", default=[16, 4])
    asked = arguments.parse_args()
    table = Table("drive", "pictures a CPU second", "CPU seconds a window", "memory: settled, grown since")
    table.add_row(*source(240 if asked.quick else 14_400))
    for steps in asked.steps[-1:] if asked.quick else asked.steps:
        for overlap in (None,) if asked.quick else (None, 3):
            table.add_row(*drive(12 if asked.quick else asked.frames, steps, overlap))
    Console().print(table)


if __name__ == "__main__":
    main()
