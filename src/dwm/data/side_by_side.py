"""Clips of one camera as the views of one clip, which have nothing to do with each other: single videos among rigs of cameras."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from dwm.clip import Clip, Pictures, Rig
from dwm.data.loading import Windows
from dwm.errors import DwmError

SEED = 42
"""OpenDWM's, of the order in which clips come together."""


class SideBySide:
    """Clip i is clips i·n … i·n + n − 1 of a shuffled source, as views clip_0, clip_1, …; what is left over is dropped.

    seed: of that order, the same in every epoch; None: as they come. Raises DwmError where there are fewer than n.
    """

    def __init__(self, source: Windows, views: int, seed: int | None = SEED) -> None:
        self.source, self.views = source, views
        self.order = list(range(len(source)))
        if seed is not None:
            random.Random(seed).shuffle(self.order)
        if len(self) == 0:
            raise DwmError(f"{len(source)} clips are too few to stand as {views} views beside each other")

    def __len__(self) -> int:
        return len(self.order) // self.views

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(index)
        numbers = self.order[index * self.views : (index + 1) * self.views]
        return side_by_side([self.source[number] for number in numbers])


def side_by_side(clips: Sequence[Clip]) -> Clip:
    """Clips of one length, frame rate and camera as one. Times count from each one's own start, which its scene names (µs).

    Boxes, map and LiDAR are left out, as they would belong to one view only. Raises DwmError where clips do not go together.
    """
    first = clips[0]
    for clip in clips:
        if len(clip.views) != 1 or (clip.length, clip.fps) != (first.length, first.fps):
            raise DwmError(
                f"{clip.scene}: {clip.length} frames at {clip.fps:g} a second of {len(clip.views)} views cannot stand beside "
                f"{first.length} at {first.fps:g} of one"
            )
    captions = [clip.captions for clip in clips]
    return Clip(
        scene="+".join(f"{clip.scene}@{int(clip.times[0, 0])}" for clip in clips),
        fps=first.fps,
        rig=_rig(clips),
        times=np.concatenate([clip.times - clip.times[0, 0] for clip in clips], 1),
        world_from_ego=np.concatenate([clip.world_from_ego for clip in clips], 1),
        pictures=Beside(tuple(clip.pictures for clip in clips if clip.pictures is not None)),
        crossview_mask=np.eye(len(clips), dtype=bool),
        captions=None if None in captions else tuple(sum(row, ()) for row in zip(*filter(None, captions), strict=True)),
    )


def _rig(clips: Sequence[Clip]) -> Rig:
    """All cameras of all frames, where one of them changes; else as they stand."""
    changes = any(clip.rig.changes for clip in clips)

    def joined(name: str) -> np.ndarray:
        parts = [np.asarray(getattr(clip.rig, name)) for clip in clips]
        if changes:
            parts = [
                part if clip.rig.changes else np.repeat(part[None], clip.length, 0)
                for part, clip in zip(parts, clips, strict=True)
            ]
        return np.concatenate(parts, 1 if changes else 0)

    names = tuple(f"clip_{number}" for number in range(len(clips)))
    return Rig(names, joined("intrinsics"), joined("ego_from_camera"), joined("image_size"))


@dataclass(frozen=True)
class Beside:
    """The pictures of each clip as those of one view."""

    parts: tuple[Pictures, ...]

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        return self.parts[view].load(frame, 0, size)
