"""Looks at a run while it trains: the video that its averaged weights make of a held-out clip, and scores of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dwm.clip import Clip
from dwm.evaluation import Scores, Tools
from dwm.evaluation.measure import evaluate
from dwm.evaluation.options import EvaluationOptions
from dwm.generation import DrivingPipeline
from dwm.screen import say
from dwm.training.loop.step import Moment


@dataclass(frozen=True)
class Previews:
    """A callback of the training loop; writes `previews/STEP.mp4` (.png for one frame) into the stage's folder.

    It draws from a generator of its own, so that a run with previews and one without have the same losses.
    """

    pipe: DrivingPipeline
    clip: Clip
    every: int

    def __call__(self, moment: Moment) -> None:
        if moment.step % self.every:
            return
        with moment.sampled() as mine:
            if mine:
                video = self.pipe(self.clip, seed=0, force=True)
                suffix = "mp4" if self.clip.length > 1 else "png"
                video.save(moment.folder / "previews" / f"{moment.step:06d}.{suffix}")


@dataclass(frozen=True)
class Scoring:
    """A callback of the training loop; writes `scores/STEP.json` into the stage's folder and says them.

    `imagenet_fid`'s KID, where it is asked for, decides which saves are the best and kept, else `box_pixels`: both fall under blur,
    noise and wrong content, and neither depends on the number of clips. The losses stay the same.
    """

    pipe: DrivingPipeline
    clips: Sequence[Clip]
    options: EvaluationOptions
    every: int

    def __call__(self, moment: Moment) -> None:
        if moment.step % self.every:
            return
        with moment.sampled() as mine:
            if mine:
                tools = Tools(self.options, self.pipe.device)
                scores = evaluate(
                    lambda clip, seed: self.pipe(clip, seed=seed, force=True), self.clips, self.options, tools=tools
                )
                scores.save(moment.folder / "scores" / f"{moment.step:06d}.json")
                text = ", ".join(f"{line.name} {line.value}" for line in scores.lines())
                say(f"step {moment.step}, {scores.clips} held-out clips: {text}")
                if (value := signal(scores)) is not None:
                    moment.score(value)


def signal(scores: Scores) -> float | None:
    """What saves are chosen by, lower being better; None where no score serves, or the clips have no boxes."""
    if scores.imagenet_fid is not None:
        return scores.imagenet_fid.kid
    if scores.box_pixels is not None and math.isfinite(scores.box_pixels.share):
        return -scores.box_pixels.share
    return None


def first_frames(clip: Clip, frames: int) -> Clip:
    """The clip's first `frames` frames, without its LiDAR."""
    return replace(
        clip,
        times=clip.times[:frames],
        world_from_ego=clip.world_from_ego[:frames],
        boxes=None if clip.boxes is None else clip.boxes[:frames],
        captions=None if clip.captions is None else clip.captions[:frames],
        lidar=None,
    )
