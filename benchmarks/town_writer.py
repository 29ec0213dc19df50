"""How fast the town is written as nuScenes: pictures per second, and seconds for a scene of 5 s, with its LiDAR and tables.

python benchmarks/town_writer.py [--scenes 2] [--size 448x256] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from dwm.town import NuScenesOptions, write_nuscenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--size", default="448x256")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    options = NuScenesOptions(seconds=5.0, size=(width, height))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        output = write_nuscenes(Path(folder) / "set", arguments.scenes, 7, options=options, workers=arguments.workers)
        seconds = time.perf_counter() - started
        pictures = sum(1 for _ in output.rglob("*.jpg"))
        sweeps = sum(1 for _ in output.rglob("*.pcd.bin"))
        size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(
        f"{'size':>10} {'workers':>8} {'scenes':>7} {'pictures/s':>11} {'sweeps/s':>9} {'s/scene':>8} {'MB/scene':>9}"
    )
    print(
        f"{arguments.size:>10} {arguments.workers:>8} {arguments.scenes:>7} {pictures / seconds:>11.1f} "
        f"{sweeps / seconds:>9.1f} {seconds / arguments.scenes:>8.1f} {size / 1e6 / arguments.scenes:>9.1f}"
    )


if __name__ == "__main__":
    main()
