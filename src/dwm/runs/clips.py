"""Where a run's clips come from: windows of data sets, of whatever format, recorded or drawn while they are asked for."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from functools import cache
from typing import Any

import dwm.town.dataset  # noqa: F401  the town draws itself into the table of formats
from dwm import progress
from dwm.clip import Clip
from dwm.config.data import DataOptions, SourceOptions
from dwm.data import Dataset, DatasetWindows, ReadOptions, open_dataset
from dwm.data.loading import Windows
from dwm.data.open import Paths, drawn_name, is_drawn, kinds
from dwm.data.readers import WindowReader
from dwm.data.side_by_side import SideBySide
from dwm.errors import DwmError
from dwm.screen import say
from dwm.training.feed.concatenation import Joined
from dwm.training.parallel.ranks import current_ranks

DRAWN_CLIPS = 1000
"""Training clips of a drawn world where a run does not say how many; scenes from this number on are held out."""
HELD_OUT_CLIPS = 64
FILLED = "one of them twice where weights want more"


class Together:
    """Several sources as one, weighted where ratios are given."""

    def __init__(self, parts: Sequence[Windows], ratios: Sequence[float | None] = ()):
        self.parts, self.joined = list(parts), Joined.of([len(part) for part in parts], ratios)

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, index: int) -> Clip:
        part, index_there = self.joined.locate(index)
        return self.parts[part][index_there]


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
    parts = [_beside(_part(source, data, held_out=False), source) for source in data.train]
    ratios = [source.ratio for source in data.train]
    clips: Windows = parts[0] if len(parts) == 1 else Together(parts, ratios)
    return clips if data.clips is None else First(clips, data.clips)


def training_readers(data: DataOptions) -> list[WindowReader]:
    """The same, source by source, prepared as the feed wants them. Raises DwmError as `training_clips` does."""
    check_kinds(data.train)
    readers = []
    for source in data.train:
        windows = _beside(part := _part(source, data, held_out=False), source)
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
                part.dataset.label,
                source.crossview_mask,
                source.uncalibrated,
                source.made_up_layout,
                draws=is_drawn(source.kind),
            )
        )
    return readers


def validation_clips(data: DataOptions) -> Windows:
    """What a run is looked at with; training never sees these scenes."""
    check_kinds(data.validation)
    parts = [_beside(_part(source, data, held_out=True), source) for source in data.validation]
    return parts[0] if len(parts) == 1 else Together(parts)


def check_kinds(sources: Sequence[SourceOptions], also: Sequence[str] = ()) -> None:
    """Raises DwmError for a kind of data set that nothing here reads yet, before any is opened. `also`: kinds that are read."""
    readable = kinds(readable=True)
    unread = sorted({source.kind for source in sources} - {*readable, *also})
    if unread:
        raise DwmError(f"data: sets of kind {', '.join(unread)} cannot be read yet (read today: {', '.join(readable)})")


def _part(source: SourceOptions, data: DataOptions, held_out: bool) -> DatasetWindows:
    count = data.clips or DRAWN_CLIPS
    scenes = range(count, count + HELD_OUT_CLIPS) if held_out else range(count)
    # What is drawn has no end of scenes, and a clip of each.
    rates = source.rates[:1] if is_drawn(source.kind) else source.rates
    windows = DatasetWindows(opened(source, scenes), source.frames, rates, check=source.check_times)
    _check_views(windows, source)
    return windows


def _check_views(windows: DatasetWindows, source: SourceOptions) -> None:
    """Raises DwmError where the set's cars have more or fewer cameras than the run counts on."""
    if is_drawn(source.kind) or source.clips_as_views is not None:
        return
    scene = next((scene for scene in windows.dataset.scenes if scene.views), None)
    if scene is not None and len(scene.views) != len(source.views):
        raise DwmError(
            f"{windows.dataset.describe()}: {scene.name} has the cameras {', '.join(scene.views)}, and the run counts on "
            f"{len(source.views)}; name those that it shall read: data.train.0.views={json.dumps(scene.views)}, or {FILLED}"
        )


def _beside(windows: DatasetWindows, source: SourceOptions) -> Windows:
    """The same; as views of one clip where the source says how many stand side by side."""
    return windows if source.clips_as_views is None else SideBySide(windows, source.clips_as_views, source.order_seed)


def opened(source: SourceOptions, scenes: range = range(1), **changes: Any) -> Dataset:
    """The data set of a source, of whatever format lies at its path; `scenes`: those of a world that is drawn; `changes` of how
    it is read.

    One with an endpoint lies in the S3 bucket that its path begins with. Raises DwmError where it is not.
    """
    if is_drawn(source.kind):
        name = drawn_name(source.kind, seed=source.seed, first=scenes.start, scenes=len(scenes))
        return opened_path(name, options=ReadOptions(views=source.views))
    if source.path is None:
        raise DwmError("data: where is the data set? give --data, or data.train.0.path=…")
    options = ReadOptions(
        views=source.views,
        lidar=source.lidar_clock,
        maps=source.maps,
        key_frames_only=source.key_frames_only,
        boxes_between=source.boxes_between,
        captions=source.captions,
        index=source.index,
        left_out=source.left_out,
    ).with_(**changes)
    root = source.path
    if source.endpoint is not None and "://" not in root:
        root = f"s3://{root}"
    where = [_within(root, name) for name in source.archives] or root
    return opened_path(where, source.version, source.split, options, source.endpoint)


def opened_path(path: Paths, *choice: Any, **options: Any) -> Dataset:
    """`open_dataset`, which a run says in one line: what it was that it opened."""
    dataset = open_dataset(path, *choice, **options)
    _say_once(dataset.describe())
    return dataset


@cache
def _say_once(text: str) -> None:
    if not progress.QUIET and current_ranks().first:
        say(text)


def _within(root: str, name: str) -> str:
    """A path below a folder or a URL."""
    protocol, slashes, path = root.rpartition("://")
    return protocol + slashes + posixpath.normpath(posixpath.join(path, name))
