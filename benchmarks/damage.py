"""How scores answer to damage: real clips of the town, spoiled in known ways, scored against the real ones.

    python benchmarks/damage.py                                   # 8 clips of eight frames, six views; what needs no file
    python benchmarks/damage.py --weights town                    # … and what the weights make of the same clips
    python benchmarks/damage.py --scores imagenet_fid,town_fid --frames 2
    python benchmarks/damage.py --quick                           # 2 clips of three frames

Prints a table, a line for each damage, each number with its interval of 95 % over the clips. A score that does not fall under its
own damage is worth nothing. `other clips` is what a generator of real pictures without an eye for the layout would score.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from dwm import DrivingPipeline
from dwm.clip import Clip
from dwm.data import DatasetWindows, collate
from dwm.evaluation import EvaluationOptions, Pair, Tools, known_scores
from dwm.evaluation.details import details_of
from dwm.evaluation.score import Score
from dwm.progress import track
from dwm.report import Video, real_video
from dwm.runs.evaluate import HELD_OUT
from dwm.town import TownDataset

SIZE = (160, 96)
VIEWS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
FPS, LATER = 4.0, 2
"""Frames a second; half a second in frames."""
SCORES = "layout_retrieval,box_pixels,view_agreement,warp_error"


@dataclass(frozen=True)
class Case:
    """A clip with its pictures, and `LATER` frames more of them."""

    clip: Clip
    whole: Tensor
    frames: int

    @property
    def real(self) -> Tensor:
        """(1, t, v, 3, h, w)"""
        return self.whole[:, : self.frames]


Damage = Callable[[Case], Tensor]


def blurred(times: float) -> Damage:
    def change(case: Case) -> Tensor:
        frames = case.real
        small = [round(side / times) for side in frames.shape[-2:]]
        flat = F.interpolate(frames.flatten(0, 2), small, mode="bilinear", antialias=True)
        return F.interpolate(flat, frames.shape[-2:], mode="bilinear").unflatten(0, frames.shape[:3])

    return change


def noisy(amount: float) -> Damage:
    def change(case: Case) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return case.real + amount * torch.randn(case.real.shape, generator=generator)

    return change


def painted(case: Case) -> Tensor:
    """Fine structure gone, edges of large areas kept: a median over 5×5 pixels, twice."""
    flat = case.real.flatten(0, 2)
    for _ in range(2):
        parts = F.unfold(F.pad(flat, (2, 2, 2, 2), mode="replicate").flatten(0, 1)[:, None], 5)
        flat = parts.median(dim=1).values.view_as(flat)
    return flat.unflatten(0, case.real.shape[:3])


def one_view_late(case: Case) -> Tensor:
    """Every other camera is half a second late."""
    views = [case.whole[:, LATER * (view % 2) :][:, : case.frames, view] for view in range(len(VIEWS))]
    return torch.stack(views, dim=2)


def flickering(case: Case) -> Tensor:
    light = 1 + 0.15 * torch.randn((1, case.frames, len(VIEWS), 1, 1, 1), generator=torch.Generator().manual_seed(0))
    return case.real * light


DAMAGES: Mapping[str, Damage] = {
    "none": lambda case: case.real,
    "blur ×1.5": blurred(1.5),
    "blur ×2": blurred(2),
    "blur ×4": blurred(4),
    "noise 2 %": noisy(0.02),
    "noise 5 %": noisy(0.05),
    "noise 20 %": noisy(0.2),
    "watercolour": painted,
    "40 % darker": lambda case: case.real * 0.6,
    "upside down": lambda case: case.real.flip(4),
    "half a second later": lambda case: case.whole[:, LATER:],
    "every other view half a second late": one_view_late,
    "views swapped with their neighbours": lambda case: case.real[:, :, [1, 0, 3, 2, 5, 4]],
    "backwards": lambda case: case.real.flip(1),
    "standing still": lambda case: case.real[:, :1].expand_as(case.real),
    "flicker 15 %": flickering,
}


def cases(first: int, count: int, frames: int) -> list[Case]:
    """Real clips."""
    windows = DatasetWindows(TownDataset(1000, first, count, VIEWS), frames + LATER, ((FPS, 1.0),))
    found = []
    for number in range(count):
        clip = windows[number]
        whole = real_video(collate([clip], size=SIZE, layout=None), VIEWS).frames
        found.append(Case(clip.part(slice(0, frames), slice(None)), whole, frames))
    return found


def moved(clip: Clip) -> Clip:
    """Every box four metres to its left."""
    kinds = {kind.split(".")[0] for kind in clip.instances.values()}
    for kind in sorted(kinds):
        clip = clip.moving(kind, left=4)
    return clip


def row(label: str, scores: Mapping[str, Score], pairs: Sequence[Pair], options: EvaluationOptions) -> None:
    kept = {name: [score.keep(pair) for pair in pairs] for name, score in scores.items()}
    cells = []
    for detail in details_of(scores, kept, [pair.clip for pair in pairs], options).values():
        span = "" if detail.interval is None else f" ({detail.interval.low:.2f} … {detail.interval.high:.2f})"
        cells.append(f"{detail.headline:.2f}{span}")
    print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def video(frames: Tensor) -> Video:
    return Video(frames, FPS, VIEWS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", default=SCORES)
    parser.add_argument("--weights", help="a folder of weights, or town")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="2 clips of three frames")
    arguments = parser.parse_args()
    count, frames = (2, 3) if arguments.quick else (arguments.clips, arguments.frames)
    names = tuple(arguments.scores.split(","))
    options = EvaluationOptions(scores=names)
    tools = Tools(options, remembered=2 + count)
    scores = {name: known_scores()[name].make(tools) for name in names}
    real = cases(HELD_OUT, count, frames)
    truth = [video(case.real) for case in real]
    print(f"{count} clips of {frames} frames and {len(VIEWS)} views, {SIZE[0]}×{SIZE[1]}")
    print("| damage | " + " | ".join(names) + " |\n| --- |" + " --- |" * len(names))

    def line(
        label: str, frames_of: Callable[[int], Tensor], change: Callable[[Clip], Clip] = lambda clip: clip
    ) -> None:
        pairs = [Pair(change(case.clip), video(frames_of(n)), truth[n]) for n, case in enumerate(real)]
        row(label, scores, pairs, options)

    for label, change in DAMAGES.items():
        line(label, lambda number, change=change: change(real[number]))
    line("boxes 4 m to the left", lambda number: real[number].real, moved)
    line("other clips", lambda number: real[(number + 1) % count].real)
    if arguments.weights:
        pipe = DrivingPipeline.from_pretrained(arguments.weights, torch_dtype="auto")
        line("through the autoencoder", lambda number: through(pipe, real[number].real))
        clips = [replace(case.clip, pictures=None) for case in real]
        made = [pipe(clip, seed=number).frames for number, clip in enumerate(track(clips, "generate", unit="clips"))]
        line("generated", lambda number: made[number])


@torch.no_grad()
def through(pipe: DrivingPipeline, frames: Tensor) -> Tensor:
    """Pictures through the autoencoder and back."""
    autoencoder = pipe.base.autoencoder
    if autoencoder is None:
        raise SystemExit("these weights have no autoencoder in memory")
    return autoencoder.decode(autoencoder.moments(frames).mean)


main()
