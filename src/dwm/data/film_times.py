"""Pictures of films by the time at which they are shown, sought exactly: of an hour only the seconds that are asked for are read.

For films that are too long to be walked through; `films` finds pictures by their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dwm.data.films import close, kept_open, open_container, rgb
from dwm.data.resize import resize
from dwm.errors import DwmError
from dwm.storage import Tree

AHEAD = 2.0
"""Seconds that are decoded and passed by rather than sought."""
EARLIER = (0.0, 10.0, 60.0)
"""Seconds before a picture at which a key picture is sought, one after another, where the film's own list of them is wrong."""
BEHIND = 2.0
"""Seconds by which packets without a time of decoding may stand behind their place."""
ANEW = "write the film again"
LONGEST = 1e6
"""Seconds; no film is longer, whatever its header says."""


@dataclass(frozen=True)
class FilmFacts:
    """What a film's header says: pixels, seconds of its first picture and of its end, mean pictures a second."""

    width: int
    height: int
    first: float
    end: float
    rate: float


def film_facts(tree: Tree, name: str) -> FilmFacts:
    """Reads the header alone. Raises DwmError for a film that cannot be opened or does not say how long it is."""
    try:
        container = open_container(tree, name)
        stream = container.streams.video[0]
        first = float((stream.start_time or 0) * stream.time_base)
        length = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
        rate = float(stream.average_rate or stream.base_rate or 0)
        facts = FilmFacts(stream.width, stream.height, first, first + length, rate)
        container.close()
    except (av.FFmpegError, OSError, ValueError, TypeError) as error:
        raise DwmError(f"{name}: cannot be opened ({_reason(error)}); fetch or write it again") from error
    if not (
        0 < length <= LONGEST and 0 < rate <= 1000 and abs(first) <= LONGEST and facts.width > 0 and facts.height > 0
    ):
        raise DwmError(f"{name}: does not say how long it is, or how large its pictures are; {ANEW}")
    return facts


def picture_times(tree: Tree, name: str, start: float, stop: float) -> tuple[tuple[int, ...], float]:
    """The stamps of all pictures shown from `start` to `stop` (s), rising, and how many seconds one count of them is.

    Nothing is decoded. Raises DwmError for a film that is broken there, or does not say when a picture is shown.
    """
    with _one_line(tree, name):
        film = kept_open(tree, name, TimedFilm.open)
        return film.stamps_between(start, stop), film.second


def read_at(tree: Tree, name: str, stamp: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture of a stamp that `picture_times` gave, in RGB. Raises DwmError where it cannot be decoded."""
    with _one_line(tree, name):
        return kept_open(tree, name, TimedFilm.open).picture(stamp)


@dataclass(frozen=True)
class FilmPictures:
    """Pictures of one film as the only view of a clip, by their stamps. `exact` resizes as OpenDWM does."""

    tree: Tree
    name: str
    stamps: tuple[int, ...]
    exact: bool = False

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        whole = read_at(self.tree, self.name, self.stamps[frame])
        if size is None or size == whole.shape[1::-1]:
            return whole
        if self.exact:
            return np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.BILINEAR))
        return resize(whole, size)


@dataclass
class TimedFilm:
    """An open film. `last`: the stamp of the picture that was decoded last, and the picture where it was asked for."""

    tree: Tree
    name: str
    container: Any
    frames: Iterator[Any]
    last: tuple[int, UInt8[np.ndarray, "h w 3"] | None] | None = None

    @classmethod
    def open(cls, tree: Tree, name: str) -> TimedFilm:
        return cls(tree, name, open_container(tree, name), iter(()))

    @property
    def second(self) -> float:
        """Seconds of one count of the stamps."""
        return float(self.container.streams.video[0].time_base)

    def stamps_between(self, start: float, stop: float) -> tuple[int, ...]:
        low, high = int(np.ceil(start / self.second - 1e-9)), int(np.floor(stop / self.second + 1e-9))
        self.frames, self.last = iter(()), None  # the film stands elsewhere then
        between = []
        for packet in self._packets(low):
            if not packet.size:
                continue
            if packet.pts is None:
                raise DwmError(f"{self.name}: does not say when its pictures are shown; {ANEW} as MP4 or WebM")
            if low <= packet.pts <= high and not packet.is_discard:
                between.append(packet.pts)
            if (packet.dts if packet.dts is not None else packet.pts - BEHIND / self.second) > high:
                break
        return tuple(sorted(set(between)))

    def picture(self, stamp: int) -> UInt8[np.ndarray, "h w 3"]:
        if self.last is not None and self.last[0] == stamp and self.last[1] is not None:
            return self.last[1]
        ahead = self.last is not None and 0 < stamp - self.last[0] <= AHEAD / self.second
        for attempt in ([self._go_on] if ahead else []) + [self._seek, self._start_again]:
            attempt(stamp)
            for frame in self.frames:
                if frame.pts is None or frame.pts < stamp:
                    self.last = None if frame.pts is None else (frame.pts, None)
                    continue
                if frame.pts > stamp:
                    break
                picture = rgb(frame)
                picture.flags.writeable = False  # the same array may be given twice
                self.last = (stamp, picture)
                return picture
            self.last = None
        raise DwmError(f"{self.name}: its picture at {stamp * self.second:.2f} s cannot be decoded; {ANEW}")

    def _go_on(self, stamp: int) -> None:
        """Decodes on from where it stands."""

    def _seek(self, stamp: int) -> None:
        self.frames = _decoded(self._packets(stamp))

    def _start_again(self, stamp: int) -> None:
        self.container = open_container(self.tree, self.name)
        self.frames = _decoded(self.container.demux(self.container.streams.video[0]))

    def _packets(self, stamp: int) -> Iterator[Any]:
        """From a key picture that is shown no later than `stamp` on; from the start where none can be found."""
        stream = self.container.streams.video[0]
        for earlier in EARLIER:
            try:
                self.container.seek(stamp - round(earlier / self.second), stream=stream, backward=True)
            except (av.FFmpegError, OverflowError):
                break
            packets = self.container.demux(stream)
            first = next((packet for packet in packets if packet.size), None)
            if first is not None and first.is_keyframe and first.pts is not None and first.pts <= stamp:
                return chain([first], packets)
        self.container = open_container(self.tree, self.name)
        return self.container.demux(self.container.streams.video[0])


def _decoded(packets: Iterator[Any]) -> Iterator[Any]:
    for packet in packets:
        yield from packet.decode()


@contextmanager
def _one_line(tree: Tree, name: str) -> Iterator[None]:
    """FFmpeg's errors as one line about the film, which is closed then."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        close(tree, name, TimedFilm.open)
        raise DwmError(f"{name}: cannot be decoded ({_reason(error)}); fetch or write it again") from error


def _reason(error: Exception) -> str:
    """What FFmpeg says, without its number and its name of the file."""
    return str(getattr(error, "strerror", None) or error)
