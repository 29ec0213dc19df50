"""How long a data set of nuScenes trainval's size takes to open, and what a process of its own then holds.

The tables of a small set are repeated in memory to the wanted size, kept as an index, and opened by a fresh process; what
reading JSON would add to the first opening is measured on the small set and told per row.

    python benchmarks/data_open.py DATA [--frames 2600000] [--quick]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from dwm.data import ReadOptions, open_dataset
from dwm.data.nuscenes import index
from dwm.data.nuscenes.index import Index, build_index

OPENS = """
import resource, sys, time
from dwm.data import ReadOptions, open_dataset
def private():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024
before, started = private(), time.perf_counter()
dataset = open_dataset(sys.argv[1], options=ReadOptions(maps=False, missing_captions="empty"))
opened = time.perf_counter() - started
scene = dataset.scenes[len(dataset) // 2]
started = time.perf_counter()
clip = scene.clip(0, 2, 2)
print(len(dataset), opened, time.perf_counter() - started, private() - before)
"""


def repeated(small: Index, times: int) -> Index:
    """The same index `times` over, with scenes of other names."""

    def shifted(table: pa.Table, column: str, by: int) -> pa.Table:
        """Copies of a table in which a column of row numbers counts on."""
        values = np.tile(table[column].to_numpy(), times) + np.repeat(np.arange(times) * by, len(table))
        whole = pa.concat_tables([table] * times)
        return whole.set_column(whole.column_names.index(column), column, pa.array(values))

    scenes = pa.concat_tables([small.scenes] * times)
    names = [f"scene-{i:04d}" for i in range(len(scenes))]
    scenes = scenes.set_column(1, "name", pa.array(names)).set_column(0, "token", pa.array(names))
    spans = pa.concat_tables([small.spans] * times)
    for column, by in (("scene", len(small.scenes)), ("start", len(small.frames)), ("stop", len(small.frames))):
        spans = spans.set_column(spans.column_names.index(column), column, shifted(small.spans, column, by)[column])
    samples = pa.table({name: shifted(small.samples, name, len(small.boxes))[name] for name in ("start", "stop")})
    frames, boxes = shifted(small.frames, "sample", len(small.samples)), pa.concat_tables([small.boxes] * times)
    tables = small.tables() | {"scenes": scenes, "spans": spans, "samples": samples, "frames": frames, "boxes": boxes}
    return Index(**{name: table.combine_chunks() for name, table in tables.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--frames", type=int, default=2_600_000, help="rows of sample_data to reach")
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    wanted = parser.parse_args()
    dataset = open_dataset(wanted.data, options=ReadOptions(maps=False, missing_captions="empty"))
    started = time.process_time()
    small = build_index(dataset.tree, dataset.version)
    seconds = time.process_time() - started
    times = max(1, (wanted.frames // 10 if wanted.quick else wanted.frames) // len(small.frames))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / dataset.version).mkdir()
        for table in index.SCHEMAS:
            (Path(folder) / dataset.version / f"{table}.json").write_text("[]")
        large = repeated(small, times)
        index.build_index = lambda tree, version: large
        kept = index.open_index(open_tree_of(folder), dataset.version)
        size = sum(file.stat().st_size for file in kept.place.iterdir())
        told = subprocess.run([sys.executable, "-c", OPENS, folder], capture_output=True, text=True, check=True)
    scenes, opened, clip, private = map(float, told.stdout.split())
    print(f"{'scenes':>8} {'frames':>10} {'boxes':>10} {'index':>9} {'open':>8} {'first clip':>11} {'private':>9}")
    print(
        f"{scenes:8.0f} {len(large.frames):10d} {len(large.boxes):10d} {size / 1e6:6.0f} MB {opened:6.2f} s "
        f"{clip:9.2f} s {private:6.0f} MB"
    )
    rows = len(small.frames) + len(small.boxes)
    print(f"building from JSON, on the small set: {1e6 * seconds / rows:.0f} µs of a core per frame or box")


def open_tree_of(folder: str):
    from dwm.storage import open_tree

    return open_tree(folder)


if __name__ == "__main__":
    main()
