"""A look at a run while it trains: every so often, the video that the averaged weights make of one clip training never sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dwm.clip import Clip
from dwm.generation import DrivingPipeline
from dwm.training.loop import Moment


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
