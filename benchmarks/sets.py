"""How long an item of each data set takes, a picture, against nuScenes' in the same minutes, and where the time goes.

    python benchmarks/sets.py ../shared/data/{nuscenes_keyframe,waymo,argoverse2,kitti360,opendv}

An item is one frame of all of a set's usual cameras with photographs and both layouts at 448×256, read anew each time, as bytes.
The sets take turns, and the first is the measure: the ratio of processor times holds on a busy machine, the times do not.
Of the scenes with the most cameras the one whose pictures have the most bytes is read. JPEGs of one colour say nothing of what
photographs cost: where one has less than a twentieth of a byte a pixel, a photograph of the first set stands in for it, enlarged
to its size (`*` in the table). `--workers` shows what two of a loader's processes give of what one does, by the clock and by the
processor time that an item costs them: where each has a core, two give 2 × the one over the other. Prints tables; asserts nothing.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data import Repeated, loaded
from dwm.clip import Clip
from dwm.data import LayoutOptions, ReadOptions, draw_boxes, draw_map, open_dataset, prepare
from dwm.data.dataset import Scene
from dwm.data.pictures import open_picture
from dwm.data.tables.sensors import TreePictures
from dwm.data.waymo import records
from dwm.storage import Tree, limits

SIZE = (448, 256)
FLAT = 0.05
"""Bytes a pixel below which a JPEG is no photograph: those of nuScenes have 0.1, of Waymo 0.2."""
QUALITY = 85
PARTS = ("clip", "bytes", "decoded", "boxes", "map")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path, help="folders of data sets; the first is the measure")
    parser.add_argument("--rounds", type=int, default=20, help="items of each set")
    parser.add_argument("--workers", action="store_true", help="one and two processes of a loader, instead")
    parser.add_argument("--quick", action="store_true", help="a few items only")
    given = parser.parse_args()
    photograph = first_picture(usual_scene(given.sets[0]))
    items = {path.name: Item(usual_scene(path), photograph) for path in given.sets}
    rounds = 4 if given.quick else given.rounds
    report = report_workers if given.workers else report_parts
    report(items, rounds)


def report_workers(items: dict[str, Item], rounds: int) -> None:
    """One and two take turns, twice."""
    print(f"{'set':20} by the clock   by processor time   ms an item: one, two")
    for name, item in items.items():
        rates: dict[int, list[float]] = {1: [], 2: []}
        costs: dict[int, list[float]] = {1: [], 2: []}
        for workers in (1, 2, 1, 2):
            rate, cost = loaded(Repeated(item.clip, 4 * rounds), workers, item.views)
            rates[workers].append(rate)
            costs[workers].append(cost)
        (one, two), (cost, cost_of_two) = ([statistics.mean(part[n]) for n in (1, 2)] for part in (rates, costs))
        print(
            f"{name:20} {two / one:12.2f}   {2 * cost / cost_of_two:17.2f}   {1000 * cost:.0f}, {1000 * cost_of_two:.0f}"
        )


def report_parts(items: dict[str, Item], rounds: int) -> None:
    whole: dict[str, list[float]] = {name: [] for name in items}
    parts: dict[str, list[list[float]]] = {name: [] for name in items}
    for number in range(rounds):
        for name, item in items.items():
            spent, times = item.read(number)
            if number:  # the first item of each opens files and builds what is kept
                whole[name].append(spent)
                parts[name].append(times)
    print(f"{'set':20} views   size of a picture      bytes   ms a picture   of the first's   {'   '.join(PARTS)}")
    measure = statistics.median(whole[next(iter(items))])
    for name, item in items.items():
        median = statistics.median(whole[name])
        split = "   ".join(
            f"{1000 * statistics.median(column):{len(part)}.1f}"
            for part, column in zip(PARTS, zip(*parts[name], strict=True), strict=True)
        )
        ratio = f"{1000 * median:12.1f}   {median / measure:14.2f}"
        print(f"{name:20} {item.views:5}   {item.shown:20} {item.bytes:8}   {ratio}   {split}")


class Item:
    """What is read again and again of a set: frames of one scene."""

    def __init__(self, scene: Scene, photograph: bytes) -> None:
        self.scene, self.starts = scene, [part * scene.seconds / 4 for part in (0, 2, 1, 3)]
        clip = scene.clip(0.0, 1)
        self.views, sizes = len(clip.views), clip.rig.at(0).image_size
        lengths = [len(bytes_of(clip, view)) for view in range(self.views)]
        flat = [
            length < FLAT * size.prod() and picture_name(clip, view).endswith(".jpg")
            for view, (length, size) in enumerate(zip(lengths, sizes, strict=True))
        ]
        shapes = {(int(width), int(height)) for width, height in sizes}
        self.stand_ins = {shape: enlarged(photograph, shape) for shape in shapes} if all(flat) else None
        if self.stand_ins is not None:
            lengths = [len(self.stand_ins[int(width), int(height)]) for width, height in sizes]
        self.bytes = sum(lengths) // len(lengths)
        self.shown = ", ".join(f"{w}×{h}" for w, h in sorted(shapes, reverse=True)) + "*" * all(flat)

    def clip(self, number: int) -> Clip:
        """Of another time than the last; nothing that was parsed for the last is at hand."""
        records._frames.clear()
        clip = self.scene.clip(self.starts[number % len(self.starts)], 1)
        if self.stand_ins is None or not isinstance(clip.pictures, TreePictures):
            return clip
        tree = StandIns(clip.pictures.tree, self.stand_ins, sizes_of(clip))
        return replace(clip, pictures=replace(clip.pictures, tree=tree))

    def read(self, number: int) -> tuple[float, list[float]]:
        """Processor seconds a picture: of the whole item, and of its parts when they are done one after another."""
        spent, _ = timed(lambda: prepare(self.clip(number), SIZE, LayoutOptions(), as_bytes=True))
        cut, clip = timed(lambda: self.clip(number))
        views = range(self.views)
        reading = timed(lambda: [bytes_of(clip, view) for view in views])[0]
        both = timed(lambda: [clip.pictures.load(0, view, SIZE) for view in views])[0]
        boxes = timed(lambda: [draw_boxes(clip, 0, view, SIZE) for view in views])[0]
        lanes = timed(lambda: [draw_map(clip, 0, view, SIZE) for view in views])[0] if clip.map else 0.0
        times = [cut, reading, both, boxes, lanes]
        return spent / self.views, [time / self.views for time in times]


@dataclass(frozen=True)
class StandIns:
    """A tree whose pictures are read, and exchanged for a photograph of their size."""

    base: Tree
    pictures: dict[tuple[int, int], bytes]
    sizes: dict[str, tuple[int, int]]

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        data = self.base.read(name, most)
        return self.pictures[self.sizes[name]] if name in self.sizes else data


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def picture_name(clip: Clip, view: int) -> str:
    """Empty for a film's."""
    name = clip.pictures.files[0][view] if isinstance(clip.pictures, TreePictures) else ""
    return "" if "#" in name else name


def bytes_of(clip: Clip, view: int) -> bytes:
    """Of a picture's file; none of a film."""
    name = picture_name(clip, view)
    return clip.pictures.tree.read(name) if name else b""


def sizes_of(clip: Clip) -> dict[str, tuple[int, int]]:
    sizes = clip.rig.at(0).image_size.tolist()
    return {name: (width, height) for name, (width, height) in zip(clip.pictures.files[0], sizes, strict=True)}


def enlarged(photograph: bytes, size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    open_picture(photograph, "the first set's photograph").convert("RGB").resize(size).save(
        data, "JPEG", quality=QUALITY
    )
    return data.getvalue()


def first_picture(scene: Scene) -> bytes:
    return bytes_of(scene.clip(0.0, 1), 0)


def usual_scene(path: Path) -> Scene:
    """Of the scenes with the most cameras the one whose first pictures have the most bytes."""
    dataset = open_dataset(path, options=ReadOptions(missing_captions="empty"))
    most = max(len(scene.views) for scene in dataset.scenes)
    scenes = [scene for scene in dataset.scenes if len(scene.views) == most]
    return max(scenes, key=lambda scene: sum(len(bytes_of(scene.clip(0.0, 1), view)) for view in range(most)))


if __name__ == "__main__":
    main()
