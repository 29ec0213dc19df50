"""What a weights folder is worth on scenes that training never saw. Run: python benchmarks/weights.py [--weights town] [--clips 16]

Through the autoencoder alone and generated: Fréchet distance in EfficientNet-Lite0's ImageNet features (needs dwm[scores]) and in
`town_fid`'s, sharpness and frame-to-frame change as multiples of the real ones; retrieval, and night against day with --night.
`--without boxes,map,words` and `--views CAM_FRONT` generate with less, `--fast` by the network for few steps. Prints a table;
-o DIR adds scores.json and pictures.
Distances depend on the number of pictures: compare runs over the same clips.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from dwm import DrivingPipeline
from dwm.clip import Clip
from dwm.data import DatasetWindows, collate
from dwm.evaluation import layout_retrieval, town_features
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.frechet import FeatureSums, frechet_distance
from dwm.evaluation.imagenet_features import ImagenetFeatures
from dwm.evaluation.networks.efficientnet import EfficientNetLite0
from dwm.evaluation.networks.files import load_features
from dwm.evaluation.picture_quality import frame_change, psnr, sharpness
from dwm.evaluation.prompts import brightness, respond
from dwm.report import Video, contact_sheet, real_video
from dwm.runs.evaluate import HELD_OUT
from dwm.town.dataset import TownDataset

TOWN = 1000
SHOWN = 6
SEEN = (192, 320)
"""Height and width at which ImageNet's network looks at pictures: twice those of the town's, in their proportions."""


@dataclass(frozen=True)
class Row:
    """One kind of video against the real ones."""

    name: str
    imagenet: float
    town: float
    sharpness: float
    change: float
    psnr: float | None = None


def joined(videos: Sequence[Video]) -> Video:
    first = videos[0]
    return Video(torch.cat([video.frames for video in videos]), first.fps, first.views)


def distance(features: FeatureExtractor, a: Video, b: Video) -> float:
    return frechet_distance(*(FeatureSums.of(features(video)).gaussian() for video in (a, b)))


@dataclass(frozen=True)
class Yardstick:
    """The real videos and the networks that compare others with them."""

    real: Video
    networks: tuple[FeatureExtractor, ...]
    every: int

    def distances(self, a: Video, b: Video) -> list[float]:
        return [distance(network, thinned(a, self.every), thinned(b, self.every)) for network in self.networks]

    def compared(self, name: str, made: Video, with_psnr: bool = False) -> Row:
        still = self.real.length == 1
        change = math.nan if still else frame_change(made) / frame_change(self.real)
        imagenet, town = self.distances(made, self.real)
        sharp = sharpness(made) / sharpness(self.real)
        return Row(name, imagenet, town, sharp, change, psnr(made, self.real) if with_psnr else None)

    def halves(self) -> list[float]:
        first, second = ([self.real[index] for index in range(start, len(self.real), 2)] for start in (0, 1))
        return self.distances(joined(first), joined(second))


PARTS = {"boxes": "boxes", "map": "map", "words": "captions"}
"""What can be left untold, and what it is called in a clip."""


def less(clip: Clip, without: Sequence[str]) -> Clip:
    """The clip with less of it told."""
    return replace(clip, **{PARTS[part]: None for part in without})


def thinned(video: Video, every: int) -> Video:
    """The first of `every` frames: what the networks look at, as neighbouring frames are much alike."""
    return Video(video.frames[:, ::every], video.fps / every, video.views)


def reconstructed(pipe: DrivingPipeline, real: Video) -> Video:
    """The pictures through the autoencoder and back."""
    autoencoder = pipe.base.autoencoder
    with torch.no_grad():
        parts = [autoencoder.decode(autoencoder.moments(clip[None]).mean) for clip in real.frames]
    return Video(torch.cat(parts), real.fps, real.views)


def measured(options: argparse.Namespace) -> tuple[list[Row], dict, dict[str, Video]]:
    """The rows of the table, what is printed below it, and the videos."""
    pipe = DrivingPipeline.from_pretrained(options.weights, fast=options.fast)
    card, views = pipe.card, tuple(options.views) or pipe.card.views
    town = TownDataset(TOWN, HELD_OUT + options.first, options.clips, views)
    source = DatasetWindows(town, options.frames, ((card.fps, 1.0),))
    clips = [less(source[index], options.without) for index in range(len(source))]
    real = joined([real_video(collate([clip], size=card.sizes[0], layout=None), clip.views) for clip in clips])
    imagenet = ImagenetFeatures(load_features(EfficientNetLite0(), "efficientnet"), SEEN)
    networks = (imagenet, town_features())
    yardstick = Yardstick(real, networks, min(options.every, options.frames))
    facts: dict = {} if len(clips) < 4 else {"two halves of the real clips": yardstick.halves()}
    through = reconstructed(pipe, real)
    rows, shown = [yardstick.compared("autoencoder", through, with_psnr=True)], {"real": real, "autoencoder": through}
    if options.autoencoder:
        return rows, facts, shown
    made, more = generated(pipe, clips, options)
    rows.append(yardstick.compared("generated", made))
    found = layout_retrieval(made, real)
    facts |= {
        "generated from the autoencoder's": yardstick.distances(made, through),
        "layout_retrieval, without colour, of": [found.hits, found.hits_without_colour, found.clips],
        "ranks": [found.ranks, found.ranks_without_colour],
        **more,
    }
    return rows, facts, {**shown, "generated": made}


def generated(pipe: DrivingPipeline, clips: Sequence[Clip], options: argparse.Namespace) -> tuple[Video, dict]:
    """The videos; how long they took; and how many come out darker when they are told night, if that is asked."""

    def generate(clip: Clip, number: int) -> Video:
        steps, guidance = options.steps, options.guidance
        return pipe(clip, seed=number, num_inference_steps=steps, guidance_scale=guidance, force=True)

    started = time.monotonic()
    made = joined([generate(clip, number) for number, clip in enumerate(clips)])
    facts: dict = {"seconds a clip": (time.monotonic() - started) / len(clips)}
    if options.night:
        night, day = (
            [float(brightness(generate(clip.with_words(time=word), number))[0]) for number, clip in enumerate(clips)]
            for word in ("night", "day")
        )
        facts["night darker, of"] = [respond(night, day).darker, len(clips)]
    return made, facts


def table(rows: Sequence[Row]) -> Table:
    drawn = Table("", "ImageNet distance", "town_fid", "sharpness / real", "change / real", "PSNR, dB")
    for row in rows:
        last = "" if row.psnr is None else f"{row.psnr:.1f}"
        drawn.add_row(
            row.name, f"{row.imagenet:.1f}", f"{row.town:.1f}", f"{row.sharpness:.2f}", f"{row.change:.2f}", last
        )
    return drawn


def asked() -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="town", help="folder of weights")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--first", type=int, default=0, help="held-out scene to begin with")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--every", type=int, default=2, help="distances look at one frame of so many")
    parser.add_argument("--fast", action="store_true", help="the network for few steps")
    parser.add_argument("--steps", type=int, help="sampling steps; else the weights' own")
    parser.add_argument("--guidance", type=float, help="else the weights' own")
    parser.add_argument("--without", type=names, default=[], help="boxes,map,words: what is not told")
    parser.add_argument("--views", type=names, default=[], help="cameras; else all")
    parser.add_argument("--autoencoder", action="store_true", help="generate nothing")
    parser.add_argument("--night", action="store_true", help="also every clip told night, and day: three times as long")
    parser.add_argument("-o", "--output", type=Path, help="folder of scores.json and pictures")
    return parser.parse_args()


if __name__ == "__main__":
    options = asked()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    rows, facts, shown = measured(options)
    console = Console()
    console.print(table(rows))
    for name, value in facts.items():
        console.print(f"{name}: {value}")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        scores = {"clips": options.clips, "first": options.first, "rows": [asdict(row) for row in rows], **facts}
        (options.output / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
        for number in range(min(SHOWN, options.clips)):
            sheet = {name: video[number] for name, video in shown.items()}
            contact_sheet(sheet, frames=2).save(options.output / f"clip_{number}.png")
