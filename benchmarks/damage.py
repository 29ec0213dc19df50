"""How scores of pictures answer to damage: real clips of the town, spoiled in known ways, against themselves and others.

    python benchmarks/damage.py                                   # 8 clips, two frames of each, six views
    python benchmarks/damage.py --quick                           # 4 clips of one frame
    python benchmarks/damage.py --scores imagenet_fid,town_fid

Prints a table, a line for each damage. A score that does not fall under its own damage is worth nothing: the lines should rise from
top to bottom of each kind. `other clips` is what a perfect generator would score on as many clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dwm.data import DatasetWindows, collate
from dwm.evaluation import EvaluationOptions, Tools, known_scores
from dwm.report import Video, real_video
from dwm.runs.evaluate import HELD_OUT
from dwm.town import TownDataset

SIZE = (256, 144)
VIEWS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
FPS, LATER = 4.0, 2
"""Frames a second; half a second in frames."""


def blurred(times: float) -> Callable[[Tensor], Tensor]:
    def change(frames: Tensor) -> Tensor:
        small = [round(side / times) for side in frames.shape[-2:]]
        flat = F.interpolate(frames.flatten(0, 2), small, mode="bilinear", antialias=True)
        whole = F.interpolate(flat, frames.shape[-2:], mode="bilinear")
        return whole.unflatten(0, frames.shape[:3])

    return change


def noisy(amount: float) -> Callable[[Tensor], Tensor]:
    def change(frames: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return frames + amount * torch.randn(frames.shape, generator=generator)

    return change


def painted(frames: Tensor) -> Tensor:
    """Fine structure gone, edges of large areas kept: a median over 5×5 pixels, twice."""
    flat = frames.flatten(0, 2)
    for _ in range(2):
        parts = F.unfold(F.pad(flat, (2, 2, 2, 2), mode="replicate").flatten(0, 1)[:, None], 5)
        flat = parts.median(dim=1).values.view_as(flat)
    return flat.unflatten(0, frames.shape[:3])


DAMAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda frames: frames,
    "blur ×1.5": blurred(1.5),
    "blur ×2": blurred(2),
    "blur ×4": blurred(4),
    "noise 2 %": noisy(0.02),
    "noise 5 %": noisy(0.05),
    "noise 20 %": noisy(0.2),
    "watercolour": painted,
    "40 % darker": lambda frames: frames * 0.6,
    "upside down": lambda frames: frames.flip(4),
}


def videos(first: int, count: int, frames: int) -> Video:
    """Real clips."""
    clips = DatasetWindows(TownDataset(1000, first, count, VIEWS), frames, ((FPS, 1.0),))
    return real_video(collate([clips[number] for number in range(count)], size=SIZE, layout=None), VIEWS)


def distance(name: str, tools: Tools, spoiled: Video, real: Video) -> float:
    score = known_scores()[name].make(tools)
    score.add(spoiled, real)
    return score.result().distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", default="imagenet_fid,town_fid")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="4 clips of one frame")
    arguments = parser.parse_args()
    count, frames = (4, 1) if arguments.quick else (arguments.clips, arguments.frames)
    names = arguments.scores.split(",")
    tools = Tools(EvaluationOptions(scores=tuple(names)), remembered=2 + len(DAMAGES))
    real = videos(HELD_OUT, count, frames + LATER)
    now, later = Video(real.frames[:, :frames], FPS, VIEWS), Video(real.frames[:, LATER:], FPS, VIEWS)
    other = videos(HELD_OUT + count, count, frames)
    pictures = count * frames * len(VIEWS)
    print(f"{pictures} pictures of {SIZE[0]}×{SIZE[1]} against the same ones / against {pictures} of other clips")
    print("| damage | " + " | ".join(names) + " |\n| --- |" + " --- |" * len(names))
    for label, change in DAMAGES.items():
        spoiled = Video(change(now.frames), FPS, VIEWS)
        cells = [
            f"{distance(name, tools, spoiled, now):.2f} / {distance(name, tools, spoiled, other):.2f}" for name in names
        ]
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
    cells = [f"{distance(name, tools, later, now):.2f} / {distance(name, tools, later, other):.2f}" for name in names]
    print(f"| {LATER / FPS:g} s later | " + " | ".join(cells) + " |")


main()
