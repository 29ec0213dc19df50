"""OpenDWM's caption files of Argoverse: their times are whole ns, finer than the µs that frames are known by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from dwm.data.argoverse.logs import Log
from dwm.data.captions import CaptionFiles
from dwm.data.windows import nearest_index
from dwm.storage import Tree

FINEST = 100
"""ns by which a picture's time may differ from what a float of µs says of it; pictures lie a million times further apart."""


@dataclass(frozen=True)
class ArgoverseCaptions(CaptionFiles):
    """Captions by "sensor/split/log|cameras/…|ns", times by the same without ns.

    Cameras are triggered so evenly that a few ns tell which of two captions is nearer: the names of pictures have them.
    """

    tree: Tree
    logs: Mapping[str, Log]

    def nearest(self, scene: str, channel: str, stamp: float) -> float:
        about, known = round(stamp * 1000), self._pictures_of(scene, channel)
        close = known[np.abs(known - about) < FINEST]
        return self._nearest(scene, channel, int(close[0]) if len(close) else about)

    def in_microseconds(self, scene: str, channel: str) -> list[tuple[int, str]]:
        """(whole µs, key of a caption) such that each picture's nearest is its own: the captions' times where these do, else one
        for each picture."""
        times = self.times[self.camera_key(scene, channel)]
        rounded, pictures = (
            np.array([round(time / 1000) for time in times], np.float64),
            self._pictures_of(scene, channel),
        )
        own = [self._nearest(scene, channel, picture) for picture in pictures.tolist()]
        same = [times[index] for index in nearest_index(rounded, pictures / 1000)] == own
        if same and len(set(rounded.tolist())) == len(times):
            return [(round(time / 1000), self.key(scene, channel, time)) for time in times]
        pairs = zip(pictures.tolist(), own, strict=True)
        return [(round(picture / 1000), self.key(scene, channel, time)) for picture, time in pairs]

    def _nearest(self, scene: str, channel: str, moment: int) -> int:
        times = np.asarray(self.times[self.camera_key(scene, channel)], np.int64)
        return int(times[np.abs(times - moment).argmin()])

    def _pictures_of(self, scene: str, channel: str) -> Int[np.ndarray, "_"]:
        """The times (ns) of a camera's pictures."""
        if (scene, channel) not in self._pictures:
            log = self.logs.get(scene)
            known = np.zeros(0, np.int64) if log is None else log.frames(self.tree, channel)[1]
            self._pictures[scene, channel] = known
        return self._pictures[scene, channel]

    @cached_property
    def _pictures(self) -> dict[tuple[str, str], Int[np.ndarray, "_"]]:
        return {}
