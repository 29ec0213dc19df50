"""How fast clips are read: items/s of six cameras with both layouts and captions at 448×256, ours against a plain way.

    python benchmarks/data.py                                  # on a small town, made on the spot
    python benchmarks/data.py --data ../shared/data/nuscenes_keyframe
    python benchmarks/data.py --data … --map-copies 1000       # a thousand times more map around the same place

The plain way decodes whole JPEGs, draws every edge of the map at the original size with Pillow, and resizes. Processor time
is steadier than the clock where other work runs beside. Prints tables; asserts nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from shapely.affinity import translate

from dwm.clip import Clip, LaneMap
from dwm.data import LayoutOptions, collate, draw_boxes, draw_map, open_dataset, prepare
from dwm.data.layout import BOX_EDGES, MAP_ORDER, color_of
from dwm.data.readers import WindowReader
from dwm.geometry import NEAR, UNIT_CUBE_CORNERS
from dwm.training.feed.batches import Feed
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan

SIZE = (448, 256)
OPTIONS = LayoutOptions()


class Repeated:
    """The same clips again and again, as many as asked for."""

    def __init__(self, clips: Callable[[int], Clip], count: int) -> None:
        self.clips, self.count = clips, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        return self.clips(index)


def feed(clips: Repeated, workers: int, views: int = 6) -> Feed:
    """The training's feed, clip by clip in order."""
    plan = Plan([(np.arange(len(clips)), [Bucket(SIZE, 1, 1)])], 1, seed=0, shuffle=False)
    return Feed([WindowReader(clips, 1, views)], Joined.of([len(clips)]), plan, seed=0, workers=workers)


def loaded(clips: Repeated, workers: int, views: int) -> tuple[float, float]:
    """Items a second of a running loader, and the processor seconds that each costs its processes."""
    skip, loader = 2 * workers, feed(clips, workers, views).batches(0)
    for _ in range(skip):
        next(loader)
    pids = [worker.pid for worker in active_children()]
    started, before = time.perf_counter(), sum(map(processor_seconds, pids))
    for _ in range(len(clips) - 2 * skip):
        next(loader)
    count = len(clips) - 2 * skip
    return count / (time.perf_counter() - started), (sum(map(processor_seconds, pids)) - before) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a nuScenes folder; none: a town of one scene")
    parser.add_argument("--items", type=int, default=40, help="clips of one frame to read")
    parser.add_argument("--map-copies", type=int, default=1, help="how many times the map lies around the place")
    parser.add_argument("--quick", action="store_true", help="a few items only")
    given = parser.parse_args()
    count = 6 if given.quick else given.items
    with tempfile.TemporaryDirectory() as folder:
        clips = read_clips(given.data or small_town(Path(folder)), given.map_copies)
        report(clips, count, given.map_copies)


def small_town(folder: Path) -> Path:
    """One scene of the town as a nuScenes set with pictures of the real size."""
    from dwm.town import write_nuscenes
    from dwm.town.nuscenes.writer import NuScenesOptions

    return write_nuscenes(folder / "town", 1, 1, options=NuScenesOptions(seconds=1.0, size=(1600, 900)), workers=1)


def read_clips(path: Path, map_copies: int) -> Callable[[int], Clip]:
    """Clips of one frame by number, each read anew; the map laid out `map_copies` times in a grid of 3 km."""
    dataset = open_dataset(path)
    windows = dataset.windows(1, 0, 1)
    lane_map = more_map(dataset.tables.map(dataset.scenes[0].location), map_copies)

    def clip(index: int) -> Clip:
        return replace(dataset.clip(windows[index % len(windows)]), map=lane_map)

    return clip


def more_map(lane_map: LaneMap, copies: int) -> LaneMap:
    """The same map many times, side by side: only the first lies where the car drives."""
    steps = [(3000.0 * (i % 32), 3000.0 * (i // 32)) for i in range(copies)]
    layers = {
        name: tuple(translate(polygon, *step) if step != (0, 0) else polygon for step in steps for polygon in polygons)
        for name, polygons in lane_map.layers.items()
    }
    return LaneMap(layers)


def report(clips: Callable[[int], Clip], count: int, map_copies: int) -> None:
    print(
        f"one frame of six cameras, boxes, map and captions at {SIZE[0]}×{SIZE[1]}; {count} items; map × {map_copies}\n"
    )
    started = time.perf_counter()
    edges = sum(len(index.start) for index in clips(0).map.edges.values())
    print(f"index of {edges} map edges: {time.perf_counter() - started:.2f} s, once per map and process\n")
    report_parts(clips, count)
    print(f"\n{'one process':34} {'s an item':>12} {'processor':>12} {'items/s':>10}")
    # The plain way looks at every edge of the map: with a thousand maps an item takes it many minutes.
    ways = (("plain", plain_item, max(2, count // 8)), ("ours, as floats", ours, count))
    for name, way, n in ways[map_copies > 10 :]:
        cost, processor = seconds(lambda i, way=way: way(clips(i)), n)
        print(f"{name:34} {cost:12.4f} {processor:12.4f} {1 / processor:10.1f}")
    report_workers(clips, 4 * count)
    report_likeness(clips(0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process {peak:.0f} MB")


def report_parts(clips: Callable[[int], Clip], count: int) -> None:
    """Where the time goes: each part alone, on clips that were found anew."""
    print(f"{'part':34} {'ms an item':>12} {'processor':>12}")
    for name, part in PARTS.items():
        part(clips(0))
        less = clips if part is not nothing else None
        wall, processor = seconds(lambda i, part=part: part(clips(i)), count, less)
        print(f"{name:34} {1e3 * wall:12.1f} {1e3 * processor:12.1f}")


def report_workers(clips: Callable[[int], Clip], count: int) -> None:
    """A running loader, from the first item that did not wait for the workers' start."""
    head = f"{'processor s an item':>20} {'own memory of a worker, MB':>28} {'cores of other work':>20}"
    print(f"\n{'loader':12} {'items/s':>10} {'':8} {head}")
    alone = None
    for workers in (1, 2):
        skip = 2 * workers
        loader = feed(Repeated(clips, count + skip), workers).batches(0)
        for _ in range(skip):
            next(loader)
        pids = [worker.pid for worker in active_children()]
        started, before, busy = (
            time.perf_counter(),
            sum(map(processor_seconds, [*pids, os.getpid()])),
            machine_seconds(),
        )
        workers_before = sum(map(processor_seconds, pids))
        for _ in range(count - skip):
            next(loader)
        wall = time.perf_counter() - started
        rate, each = (count - skip) / wall, (sum(map(processor_seconds, pids)) - workers_before) / (count - skip)
        ours_spent = sum(map(processor_seconds, [*pids, os.getpid()])) - before
        others = max(0.0, machine_seconds() - busy - ours_spent) / wall
        memory = max(map(own_memory, pids))
        del loader
        alone = alone or rate
        print(
            f"{f'{workers} worker(s)':12} {rate:10.1f} {f'× {rate / alone:.2f}':8} {each:20.4f} {memory:28.0f} {others:20.1f}"
        )


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """Processor time that everything on this machine has spent."""
    fields = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def own_memory(pid: int) -> float:
    """MB that belong to this process alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def report_likeness(clip: Clip) -> None:
    """How like the fast layouts are to the exact ones at the wanted size."""
    print(f"\n{'fast against exact, PSNR in dB':34} {'least':>12} {'median':>12}   over views with lines")
    for name, draw in (("boxes", draw_boxes), ("map", draw_map)):
        found = [likeness(draw, clip, view) for view in range(len(clip.views))]
        known = [value for value in found if np.isfinite(value)] or [np.inf]
        print(f"{name:34} {min(known):12.1f} {np.median(known):12.1f}")


def likeness(draw: Callable[..., np.ndarray], clip: Clip, view: int) -> float:
    fast, exact = (draw(clip, 0, view, SIZE, LayoutOptions(mode=mode)).astype(float) for mode in ("fast", "exact"))
    error = np.mean((fast - exact) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else np.inf


def seconds(
    work: Callable[[int], object], count: int, less: Callable[[int], object] | None = None
) -> tuple[float, float]:
    """Median seconds of one item: by the clock, and of processor time; without those of the work `less`."""
    spent = []
    for index in range(count):
        marks = [(time.perf_counter(), time.process_time())]
        for part in (work, less) if less else (work,):
            part(index)
            marks.append((time.perf_counter(), time.process_time()))
        steps = np.diff(marks, axis=0)
        spent.append(steps[0] - (steps[1] if less else 0))
    wall, processor = np.median(spent, 0)
    return float(wall), float(processor)


def ours(clip: Clip) -> object:
    return collate([clip], SIZE, OPTIONS)


def nothing(clip: Clip) -> None:
    pass


def each_view(clip: Clip, work: Callable[[int], object]) -> None:
    for view in range(len(clip.views)):
        work(view)


def decode(clip: Clip, view: int) -> None:
    """The file read and decoded at the scale that its size needs, and no more."""
    picture = Image.open(io.BytesIO(clip.pictures.tree.read(clip.pictures.files[0][view])))
    picture.draft("RGB", SIZE)
    picture.load()


PARTS: dict[str, Callable[[Clip], object]] = {
    "tables: finding the frame": nothing,
    "photographs, decoded": lambda clip: each_view(clip, lambda v: decode(clip, v)),
    "photographs, decoded and resized": lambda clip: each_view(clip, lambda v: clip.pictures.load(0, v, SIZE)),
    "boxes": lambda clip: each_view(clip, lambda v: draw_boxes(clip, 0, v, SIZE, OPTIONS)),
    "map": lambda clip: each_view(clip, lambda v: draw_map(clip, 0, v, SIZE, OPTIONS)),
    "words and numbers": lambda clip: prepare(clip, SIZE, None, pictures=False),
    "all of it, as bytes": lambda clip: prepare(clip, SIZE, OPTIONS, as_bytes=True),
    "all of it, as floats": lambda clip: prepare(clip, SIZE, OPTIONS),
}


def plain_item(clip: Clip) -> np.ndarray:
    """The whole item in the plain way: (three pictures, v, h, w, 3)."""
    pictures = []
    for view in range(len(clip.views)):
        data = clip.pictures.tree.read(clip.pictures.files[0][view])
        photo = Image.open(io.BytesIO(data)).convert("RGB")
        drawn = [photo, plain_boxes(clip, view), plain_map(clip, view)]
        pictures.append([np.asarray(p.resize(SIZE, Image.Resampling.BILINEAR), np.float32) / 255 for p in drawn])
    return np.array(pictures).swapaxes(0, 1)


def plain_boxes(clip: Clip, view: int) -> Image.Image:
    picture, boxes = Image.new("RGB", tuple(clip.rig.image_size[view].tolist())), clip.boxes[0][view]
    draw, image_from_world = ImageDraw.Draw(picture), plain_projection(clip, view)
    for i in range(0 if boxes is None else len(boxes)):
        color = color_of(boxes.category[i], OPTIONS.box_colors)
        if color is not None:
            corners = (UNIT_CUBE_CORNERS * boxes.size[i]) @ boxes.rotation[i].T + boxes.center[i]
            for start, stop in BOX_EDGES:
                plain_line(draw, image_from_world, corners[start], corners[stop], OPTIONS.box_distance, color)
    return picture


def plain_map(clip: Clip, view: int) -> Image.Image:
    picture = Image.new("RGB", tuple(clip.rig.image_size[view].tolist()))
    draw, image_from_world = ImageDraw.Draw(picture), plain_projection(clip, view)
    for layer in MAP_ORDER:
        for polygon in clip.map.layers[layer]:
            for ring in (polygon.exterior, *polygon.interiors):
                points = np.pad(np.asarray(ring.coords)[:, :2], ((0, 0), (0, 1)))
                for start, stop in pairwise(points):
                    plain_line(draw, image_from_world, start, stop, OPTIONS.map_distance, OPTIONS.map_colors[layer])
    return picture


def plain_projection(clip: Clip, view: int) -> np.ndarray:
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = clip.rig.intrinsics[view]
    return intrinsics @ np.linalg.inv(clip.world_from_ego[0, view] @ clip.rig.ego_from_camera[view])


def plain_line(draw: ImageDraw.ImageDraw, image_from_world, start, stop, far: float, color) -> None:
    ends = [image_from_world[:3, :3] @ end + image_from_world[:3, 3] for end in (start, stop)]
    depths = [end[2] for end in ends]
    if max(depths) < NEAR or min(depths) > far:
        return
    for i in (0, 1):
        for plane, beyond in ((NEAR, ends[i][2] < NEAR), (far, ends[i][2] > far)):
            if beyond:
                ends[i] = ends[i] + (plane - ends[i][2]) / (ends[1 - i][2] - ends[i][2]) * (ends[1 - i] - ends[i])
    draw.line([*(ends[0][:2] / ends[0][2]), *(ends[1][:2] / ends[1][2])], fill=color, width=OPTIONS.pen_width)


if __name__ == "__main__":
    main()
