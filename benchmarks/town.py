"""Pictures a second of the town's renderer. Run: python benchmarks/town.py [--all-cores]

One core is counted in CPU seconds, so that other work on the machine does not matter; --all-cores measures wall time.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from rich.console import Console
from rich.table import Table

from dwm.clip import NUSCENES_VIEWS
from dwm.town import town_scene

SIZES = ((160, 96), (256, 144), (448, 256), (1600, 900))
SCENES = 2


def draw(index: int, size: tuple[int, int], frames: int) -> tuple[int, float, float]:
    """(pictures, CPU seconds to build the scene, CPU seconds to draw) of one scene."""
    town_scene.cache_clear()
    started = time.process_time()
    clip = town_scene(31, index).clip(3.0, frames, 4)
    clip.pictures.load(0, 0, size)
    built = time.process_time()
    for frame in range(frames):
        for view in range(len(NUSCENES_VIEWS)):
            clip.pictures.load(frame, view, size)
    return frames * len(NUSCENES_VIEWS), built - started, time.process_time() - built


def one_core() -> Table:
    table = Table("size", "pictures a CPU second", "CPU seconds to build a scene")
    draw(99, SIZES[0], 1)
    for size in SIZES:
        runs = [draw(index, size, 4 if size[0] < 1000 else 1) for index in range(SCENES)]
        rate = sum(count for count, _, _ in runs) / sum(seconds for _, _, seconds in runs)
        table.add_row(f"{size[0]}×{size[1]}", f"{rate:.0f}", f"{sum(built for _, built, _ in runs) / SCENES:.2f}")
    return table


def all_cores() -> Table:
    table = Table("size", f"pictures a second with {os.cpu_count()} processes, scenes built anew")
    for size in SIZES[:3]:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(draw, [99, 98], [size] * 2, [1] * 2))
            started = time.perf_counter()
            counts = [run[0] for run in pool.map(draw, range(8), [size] * 8, [8] * 8)]
            table.add_row(f"{size[0]}×{size[1]}", f"{sum(counts) / (time.perf_counter() - started):.0f}")
    return table


if __name__ == "__main__":
    Console().print(all_cores() if "--all-cores" in sys.argv else one_core())
