"""How long an item of each data set takes, a picture, against nuScenes' in the same minutes.

    python benchmarks/sets.py ../shared/data/{nuscenes_keyframe,waymo,argoverse2,kitti360,opendv}

An item is one frame of all of a set's usual cameras with photographs and both layouts at 448×256, read anew each time, as bytes.
The sets take turns, and the first is the measure: the ratio of processor times holds on a busy machine, the times do not.
Prints a table; asserts nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from dwm.data import LayoutOptions, ReadOptions, open_dataset, prepare
from dwm.data.dataset import Scene

SIZE = (448, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path, help="folders of data sets; the first is the measure")
    parser.add_argument("--rounds", type=int, default=20, help="items of each set")
    parser.add_argument("--quick", action="store_true", help="a few items only")
    given = parser.parse_args()
    scenes = {path.name: usual_scene(path) for path in given.sets}
    spent: dict[str, list[float]] = {name: [] for name in scenes}
    for number in range(3 if given.quick else given.rounds):
        for name, (scene, starts) in scenes.items():
            began = time.process_time()
            batch = prepare(scene.clip(starts[number % len(starts)], 1), SIZE, LayoutOptions(), as_bytes=True)
            spent[name].append((time.process_time() - began) / batch.shape[2])
    measure = statistics.median(spent[next(iter(scenes))][1:])
    print(f"{'set':24} views   size of a picture   ms a picture   of the first's   pixels, of the first's")
    pixels = {name: pixels_of(scene, starts) for name, (scene, starts) in scenes.items()}
    first = pixels[next(iter(scenes))]
    for name, (scene, starts) in scenes.items():
        # The first item of each opens files and builds what is kept.
        median = statistics.median(spent[name][1:])
        sizes = {tuple(size) for size in scene.clip(starts[0], 1).rig.at(0).image_size.tolist()}
        shown = ", ".join(f"{width}×{height}" for width, height in sorted(sizes, reverse=True))
        ratios = f"{median / measure:14.2f}   {pixels[name] / first:22.2f}"
        print(f"{name:24} {len(scene.views):5}   {shown:17}   {1000 * median:12.1f}   {ratios}")


def pixels_of(scene: Scene, starts: list[float]) -> float:
    """Of a picture as stored, the mean of the cameras."""
    return float(scene.clip(starts[0], 1).rig.at(0).image_size.prod(-1).mean())


def usual_scene(path: Path) -> tuple[Scene, list[float]]:
    """A scene with the most cameras, and starts (s) of a few of its frames: what is read next is never what was read last."""
    dataset = open_dataset(path, options=ReadOptions(missing_captions="empty"))
    scene = max(dataset.scenes, key=lambda scene: (len(scene.views), scene.seconds))
    return scene, [part * scene.seconds / 4 for part in (0, 2, 1, 3)]


if __name__ == "__main__":
    main()
