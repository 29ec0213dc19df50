"""Makes the segmenter that `box_pixels` looks with, from pictures of the town, and says what it is worth on scenes it never saw.

python benchmarks/box_segmenter.py -o src/dwm/weights/box_segmenter.safetensors     # the file that ships
python benchmarks/box_segmenter.py --quick                                           # 8 scenes, one round
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dwm.clip import Clip
from dwm.conventions import NUSCENES_VIEWS
from dwm.evaluation.networks.segmenter import save_segmenter
from dwm.runs.evaluate import HELD_OUT
from dwm.town import TownDataset
from dwm.training.box_segmenter import SegmenterLearning, labelled, learn_segmenter, overlap

TOWN = 1000


def clips(first: int, count: int) -> Sequence[Clip]:
    """Two pictures of each camera, five seconds apart, of each scene."""
    scenes = TownDataset(TOWN, first, count, NUSCENES_VIEWS).scenes
    return [scene.clip(3.0, 2, 0.2, NUSCENES_VIEWS) for scene in scenes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="where the weights are written; nowhere by default")
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=SegmenterLearning().rounds)
    parser.add_argument("--quick", action="store_true", help="8 scenes, one round")
    arguments = parser.parse_args()
    count, rounds = (8, 1) if arguments.quick else (arguments.scenes, arguments.rounds)
    network = learn_segmenter(*labelled(clips(0, count)), SegmenterLearning(rounds=rounds))
    print("| class | its cells that are named so | cells named so that are |\n| --- | --- | --- |")
    for name, (recall, precision) in overlap(network, *labelled(clips(HELD_OUT + 100, max(2, count // 10)))).items():
        print(f"| {name} | {recall:.0%} | {precision:.0%} |")
    if arguments.output is not None:
        save_segmenter(network, arguments.output)
        print(f"{arguments.output}: {arguments.output.stat().st_size / 1e3:.0f} kB")


main()
