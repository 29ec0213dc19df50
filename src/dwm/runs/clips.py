"""Where a run's clips come from: the town, drawn while they are asked for, or windows of data sets on disk."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dwm.clip import Clip
from dwm.config.data import READERS, DataOptions, SourceOptions
from dwm.data import Dataset, DatasetWindows, ReadOptions, open_dataset
from dwm.data.loading import Windows
from dwm.data.readers import WindowReader
from dwm.errors import DwmError
from dwm.town import TownOptions, town_scene
from dwm.training.feed.concatenation import Joined

TOWN_CLIPS = 1000
"""Training clips of a town where a run does not say how many; scenes from this number on are held out."""
HELD_OUT_CLIPS = 64


@dataclass(frozen=True)
class TownClips:
    """Clips of the town by number, one of each scene, at a time of its own. Scenes first … first+count−1."""

    seed: int
    first: int
    count: int
    frames: int
    fps: float
    views: tuple[str, ...]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        scene = town_scene(self.seed, self.first + index, TownOptions())
        latest = scene.duration - (self.frames - 1) / self.fps - 1
        start = np.random.default_rng((self.seed, self.first + index, 99)).uniform(1, max(1, latest))
        return scene.clip(round(start * self.fps) / self.fps, self.frames, self.fps, self.views)


class Together:
    """Several sources as one, weighted where ratios are given."""

    def __init__(self, parts: Sequence[Windows], ratios: Sequence[float | None] = ()):
        self.parts, self.joined = list(parts), Joined.of([len(part) for part in parts], ratios)

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, index: int) -> Clip:
        part, place = self.joined.place(index)
        return self.parts[part][place]


class First:
    """The first `count` clips of a source."""

    def __init__(self, source: Windows, count: int):
        self.source, self.count = source, min(count, len(source))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        return self.source[index]


def training_clips(data: DataOptions) -> Windows:
    """What a run trains on. Raises DwmError for a data set that is not there or of a kind that cannot be read yet."""
    check_kinds(data.train)
    parts = [_part(source, data, held_out=False) for source in data.train]
    ratios = [source.ratio for source in data.train]
    clips = parts[0] if len(parts) == 1 else Together(parts, ratios)
    return clips if data.clips is None else First(clips, data.clips)


def training_readers(data: DataOptions) -> list[WindowReader]:
    """The same, source by source, prepared as the feed wants them. Raises DwmError as `training_clips` does."""
    check_kinds(data.train)
    readers = []
    for source in data.train:
        windows = _part(source, data, held_out=False)
        if data.clips is not None and len(data.train) == 1:
            windows = First(windows, data.clips)
        readers.append(
            WindowReader(
                windows,
                source.frames,
                source.clips_as_views or len(source.views),
                source.layout or data.layout,
                source.words,
                data.color_jitter,
                LABELS.get(source.kind, source.kind).format(source),
                source.crossview_mask,
                source.uncalibrated,
                source.made_up_layout,
                draws=source.kind == "town",
            )
        )
    return readers


def validation_clips(data: DataOptions) -> Windows:
    """What a run is looked at with; training never sees these scenes."""
    check_kinds(data.validation)
    parts = [_part(source, data, held_out=True) for source in data.validation]
    return parts[0] if len(parts) == 1 else Together(parts)


LABELS = {"nuscenes": "", "town": "town {0.seed}"}
"""What tells the scenes of one set from another's in the store; a kind that is not here is its own label."""


def check_kinds(sources: Sequence[SourceOptions], also: Sequence[str] = ()) -> None:
    """Raises DwmError for a kind of data set that nothing here reads yet, before any is opened. `also`: kinds that are read."""
    unread = sorted({source.kind for source in sources} - {*READERS, *also})
    if unread:
        raise DwmError(f"data: sets of kind {', '.join(unread)} cannot be read yet (read today: {', '.join(READERS)})")


def _part(source: SourceOptions, data: DataOptions, held_out: bool) -> Windows:
    if source.kind == "town":
        seen = data.clips or TOWN_CLIPS
        first, count = (seen, HELD_OUT_CLIPS) if held_out else (0, seen)
        return TownClips(source.seed, first, count, source.frames, source.rates[0][0], source.views)
    return DatasetWindows(opened(source), source.frames, source.rates, check=source.check_times)


def opened(source: SourceOptions) -> Dataset:
    """A nuScenes set; one with an endpoint lies in the S3 bucket that its path begins with. Raises DwmError where it is not."""
    if source.path is None:
        raise DwmError("data: where is the data set? give --data, or data.train.0.path=…")
    options = ReadOptions(
        views=source.views,
        lidar=source.lidar_clock,
        key_frames_only=source.key_frames_only,
        boxes_between=source.boxes_between,
        captions=source.captions,
    )
    root = source.path
    if source.endpoint is not None and "://" not in root:
        root = f"s3://{root}"
    where = [_within(root, name) for name in source.archives] or root
    return open_dataset(where, source.version, source.split, options, source.endpoint)


def _within(root: str, name: str) -> str:
    """A path below a folder or a URL."""
    protocol, slashes, path = root.rpartition("://")
    return protocol + slashes + posixpath.normpath(posixpath.join(path, name))
