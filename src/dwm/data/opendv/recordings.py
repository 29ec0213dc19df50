"""One video of OpenDV as a scene: clips of its only camera, cut at times, read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dwm.clip import Caption, Clip, Rig
from dwm.data.film_times import FilmFacts, FilmPictures, picture_times
from dwm.data.opendv.captions import FilmCaptions
from dwm.data.opendv.meta import Recording
from dwm.data.windows import nearest_index
from dwm.errors import DwmError, nearest
from dwm.storage import Tree

CAMERA = "CAM_FRONT"
FORWARD = np.array([[0, 0, 1, 1.7], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], np.float64)
"""Ego from camera of the camera that stands in for the unknown one, as in OpenDWM: 1.7 m ahead, 1.5 m up."""


@dataclass(frozen=True)
class FilmWindow:
    """`frames` frames of a scene from `start` (s of the film) on."""

    scene: int
    fps: float
    start: float
    frames: int


@dataclass(frozen=True)
class FilmScene:
    """One video. Its times are the film's own, seconds; `name` is its file's, `token` its id."""

    tree: Tree
    file: str
    recording: Recording
    facts: FilmFacts
    captions: FilmCaptions | None
    missing_captions: str
    exact: bool

    @property
    def name(self) -> str:
        return self.file.rpartition("/")[2]

    @property
    def token(self) -> str:
        return self.recording.name

    @property
    def seconds(self) -> float:
        """From its first picture to its last, unused parts at both ends included."""
        return max(0.0, self.facts.end - self.facts.first - 1 / self.facts.rate)

    @property
    def rate(self) -> float:
        """Mean pictures a second."""
        return round(self.facts.rate, 3)

    @property
    def views(self) -> tuple[str, ...]:
        return (CAMERA,)

    @property
    def caption_name(self) -> str:
        return self.name

    def caption_span(self, view: str) -> tuple[float, float] | None:
        """When (µs) the camera has its first and last picture; None for any other camera."""
        return (1e6 * self.facts.first, 1e6 * (self.facts.first + self.seconds)) if view == CAMERA else None

    def caption_time(self, view: str, micros: float) -> float:
        """The same in whole ms, as its caption files count."""
        return 1000.0 * max(0, round(micros / 1000))

    def starts(self, frames: int, fps: float, stride: float) -> Float[np.ndarray, "n"]:
        """Where clips start (s), `stride` seconds apart, in the part that the list of videos says is of use."""
        first = self.recording.start_discard
        # A list that says far more than the film holds makes no more than one window behind its end.
        last = min(self.recording.last_start(frames / fps), self.facts.end + stride)
        return first + stride * np.arange(max(0, int(np.floor((last - first) / stride + 1e-9)) + 1))

    def holds(self, start: float, frames: int, fps: float) -> bool:
        """Whether the film is long enough for such a clip."""
        return self.facts.first - 0.5 / fps <= start and start + (frames - 1.5) / fps < self.facts.end

    def clip(
        self, start: float = 0.0, frames: int = 8, fps: float | None = None, views: Sequence[str] | None = None
    ) -> Clip:
        """`frames` frames from `start` (s since its first picture) on, at `fps` (None: as recorded)."""
        for name in views or ():
            if name != CAMERA:
                raise DwmError(
                    f"{self.name}: has no camera {name}{nearest(name, self.views)}; its only one is {CAMERA}"
                )
        fps = fps or self.rate
        if frames < 1 or start < 0:
            raise DwmError(
                f"{self.name}: a clip needs start ≥ 0 and frames ≥ 1; found start {start:g} s and {frames} frames"
            )
        if not self.holds(self.facts.first + start, frames, fps):
            raise DwmError(
                f"{self.name}: {frames} frames at {fps:g} fps from {start:g} s end at {start + (frames - 1) / fps:.2f} s, but "
                f"the video lasts {self.seconds:.2f} s; take an earlier start or fewer frames"
            )
        return self.cut(self.facts.first + start, frames, fps)

    def cut(self, start: float, frames: int, fps: float) -> Clip:
        """Each frame is the picture shown nearest to its time, the earlier of two; of those from half a frame before the start on.

        The calibration is not known: a forward camera stands in, and the car stands where the world begins.
        """
        stamps, second = picture_times(self.tree, self.file, start - 0.5 / fps, start + (frames + 0.5) / fps)
        if not stamps:
            raise DwmError(
                f"{self.name}: has no picture from {start:.2f} to {start + frames / fps:.2f} s, though it should last "
                f"{self.facts.end:.2f} s; fetch it again"
            )
        times = np.array(stamps) * second
        indices = nearest_index(times, start + np.arange(frames) / fps)
        micros = np.round(times[indices] * 1e6).astype(np.int64)[:, None]
        width, height = self.facts.width, self.facts.height
        focal = (width + height) / 2
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float64)
        return Clip(
            scene=self.name,
            fps=float(fps),
            rig=Rig(self.views, intrinsics[None], FORWARD[None], np.array([[width, height]])),
            times=micros,
            world_from_ego=np.tile(np.eye(4), (frames, 1, 1, 1)),
            pictures=FilmPictures(self.tree, self.file, tuple(stamps[index] for index in indices), self.exact),
            captions=None if self.captions is None else tuple((self._caption(t),) for t in micros[:, 0].tolist()),
        )

    def _caption(self, micros: int) -> Caption:
        assert self.captions is not None
        strict = self.missing_captions == "error"
        if (entry := self.captions.at(self.name, CAMERA, micros, strict)) is not None:
            return entry
        if strict:
            raise DwmError(
                f"{self.captions.name}: nothing about {self.name}; add it, or read with missing_captions=empty"
            )
        return Caption()
