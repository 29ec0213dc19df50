"""One picture of what a weights folder is worth: eight held-out scenes of the town, real over generated.

Run: python benchmarks/weights_sheet.py [--weights town] [--fast] [-o output/sheet.jpg]. Day, dusk, night, rain, fog, and clips
of which less is told: no boxes, no words, the front camera alone. Scenes and seeds are fixed, so that sheets can be laid
beside each other.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from dwm import DrivingPipeline
from dwm.clip import Clip
from dwm.data import DatasetWindows, collate
from dwm.report import Video, comparison, real_video
from dwm.runs.evaluate import HELD_OUT
from dwm.town.dataset import TownDataset

TOWN, FRAMES = 1000, 8
WIDTH = 1280
FRONT = "CAM_FRONT"
SCENES = {"day": 22, "dusk": 2, "night": 8, "rain by night": 7, "fog by day": 9}
LESS = {"no boxes": (23, "boxes"), "no words": (19, "captions"), "front alone": (12, None)}
"""Scenes of which less is told, and the field of the clip that goes; None: all cameras but the front one."""


def clip_of(scene: int, views: tuple[str, ...], fps: float) -> Clip:
    return DatasetWindows(TownDataset(TOWN, HELD_OUT + scene, 1, views), FRAMES, ((fps, 1.0),))[0]


def last_frame(video: Video, views: tuple[str, ...]) -> Video:
    """Its last frame alone, with black pictures for the views that it lacks."""
    frame = video.frames[:, -1:]
    whole = torch.zeros(*frame.shape[:2], len(views), *frame.shape[3:])
    for index, name in enumerate(video.views):
        whole[:, :, views.index(name)] = frame[:, :, index]
    return Video(whole, video.fps, views)


def sheet(pipe: DrivingPipeline) -> Image.Image:
    card = pipe.card
    cases = {name: clip_of(scene, card.views, card.fps) for name, scene in SCENES.items()}
    for name, (scene, part) in LESS.items():
        clip = clip_of(scene, card.views if part else (FRONT,), card.fps)
        cases[name] = replace(clip, **{part: None}) if part else clip
    rows = {}
    for seed, (name, clip) in enumerate(cases.items()):
        real = real_video(collate([clip], size=card.sizes[0], layout=None), clip.views)
        generated = pipe(clip, seed=seed, force=True)
        rows[f"{name}: real"] = last_frame(real, card.views)
        rows[f"{name}: generated"] = last_frame(generated, card.views)
    return Image.fromarray(comparison(rows, WIDTH).frames[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="town")
    parser.add_argument("--fast", action="store_true", help="the network for few steps")
    parser.add_argument("-o", "--output", type=Path, default=Path("output/sheet.jpg"))
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    sheet(DrivingPipeline.from_pretrained(options.weights, fast=options.fast)).save(options.output, quality=82)
    print(options.output)
