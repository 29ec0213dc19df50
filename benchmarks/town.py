"""Pictures a second of the town's renderer, on one core and on all. Run: python benchmarks/town.py"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor

from rich.console import Console
from rich.table import Table

from dwm.clip import NUSCENES_VIEWS
from dwm.town import town_scene

SIZES = ((160, 96), (256, 144), (448, 256), (1600, 900))
SCENES = 4


def draw(index: int, size: tuple[int, int], frames: int) -> tuple[int, float, float]:
    """(pictures, seconds to build the scene, seconds to draw) of one scene."""
    town_scene.cache_clear()
    started = time.perf_counter()
    clip = town_scene(31, index).clip(3.0, frames, 4)
    clip.pictures.load(0, 0, size)
    built = time.perf_counter()
    for frame in range(frames):
        for view in range(len(NUSCENES_VIEWS)):
            clip.pictures.load(frame, view, size)
    return frames * len(NUSCENES_VIEWS), built - started, time.perf_counter() - built


def main() -> None:
    table = Table(
        "size", "one core: pictures/s", "build a scene (s)", f"{os.cpu_count()} cores with building: pictures/s"
    )
    for size in SIZES:
        frames = 8 if size[0] < 1000 else 2
        draw(99, size, 1)
        single = [draw(index, size, frames) for index in range(SCENES)]
        rate = sum(n for n, _, _ in single) / sum(seconds for _, _, seconds in single)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(draw, [99, 98], [size] * 2, [1] * 2))
            started = time.perf_counter()
            drawn = sum(n for n, _, _ in pool.map(draw, range(SCENES), [size] * SCENES, [frames] * SCENES))
            both = drawn / (time.perf_counter() - started)
        built = sum(seconds for _, seconds, _ in single) / SCENES
        table.add_row(f"{size[0]}×{size[1]}", f"{rate:.0f}", f"{built:.2f}", f"{both:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
