"""What is wrong with OpenDV's files, and what they do not have. Opens videos; changes nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

import av
import numpy as np

from dwm.data.dataset import Finding, ReadOptions
from dwm.data.film_times import FilmFacts
from dwm.data.films import open_container
from dwm.data.opendv.captions import film_captions
from dwm.data.opendv.meta import Recording
from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import Tree

SLACK = 1.5
"""Seconds by which a video may be shorter than its list says, which counts whole ones."""
Facts = Mapping[str, FilmFacts | str]
Listed = Mapping[str, Recording | None]


def findings(
    tree: Tree,
    recordings: Mapping[str, Recording],
    listed: Listed,
    facts: Facts,
    options: ReadOptions,
    read_files: bool,
) -> Iterator[Finding]:
    """listed: what the list says of each video; facts: what its header says, or why it cannot be opened."""
    broken = [fact for file, fact in facts.items() if isinstance(fact, str) and listed[file] is not None]
    if broken:
        yield Finding("videos that cannot be opened", len(broken), broken[0])
    yield from _unlisted(recordings, listed)
    yield from _too_short(listed, facts)
    yield from _captions(tree, listed, options)
    if read_files:
        yield from _damaged(
            tree, [file for file, fact in facts.items() if listed[file] and isinstance(fact, FilmFacts)]
        )
    state = "none is known: a forward camera stands in; tell networks so with data.train.0.uncalibrated=true"
    yield Finding("calibration", 0, state, False)
    yield Finding(
        "boxes and maps", 0, "there are none; layouts are black, or grey with data.train.0.made_up_layout", False
    )


def _unlisted(recordings: Mapping[str, Recording], listed: Listed) -> Iterator[Finding]:
    alone = [file for file, recording in listed.items() if recording is None]
    if alone:
        yield Finding("videos that are not listed", len(alone), f"{alone[0]}; they are not read", False)
    there = {recording.name for recording in listed.values() if recording is not None}
    absent = [name for name in recordings if name not in there]
    if absent:
        yield Finding("listed videos that are not here", len(absent), absent[0], False)


def _too_short(listed: Listed, facts: Facts) -> Iterator[Finding]:
    short = [
        f"{file}: lasts {fact.end:.1f} s, its list says {recording.length:g} s"
        for file, fact in facts.items()
        if isinstance(fact, FilmFacts)
        and (recording := listed[file]) is not None
        and fact.end < recording.length - max(SLACK, recording.end_discard + recording.start_discard)
    ]
    if short:
        yield Finding("videos shorter than listed", len(short), f"{short[0]}; clips behind the end are left out")


def _captions(tree: Tree, listed: Listed, options: ReadOptions) -> Iterator[Finding]:
    try:
        files = film_captions(tree, options.captions)
    except DwmError as error:
        yield Finding("captions", 1, str(error))
        return
    if files is None:
        yield Finding("captions", 0, "there are no caption files", False)
        return
    faults = [fault for key in files.all_keys() if (fault := files.fault(key)) is not None]
    if faults:
        yield Finding("captions missing or not of texts", len(faults), faults[0])
    names = [posixpath.basename(file) for file, recording in listed.items() if recording is not None]
    missing = [name for name in names if not files.times.get(files.camera_key(name, ""))]
    if missing:
        yield Finding(
            "videos without captions", len(missing), f"{missing[0]}; add them, or read with missing_captions=empty"
        )


def _damaged(tree: Tree, files: list[str]) -> Iterator[Finding]:
    broken, uneven = [], []
    for file in track(files, "reading videos", len(files), "videos"):
        try:
            with open_container(tree, file) as container:
                times = [frame.time for frame in container.decode(container.streams.video[0])]
            steps = np.diff([time for time in times if time is not None])
            if len(steps) and steps.max() > 1.5 * np.median(steps):
                uneven.append(f"{file}: pictures lie {steps.min():.3f} to {steps.max():.3f} s apart")
            if None in times:
                broken.append(f"{file}: does not say when its pictures are shown; write it again as MP4")
        except (av.FFmpegError, OSError, ValueError, DwmError) as error:
            broken.append(f"{file}: {getattr(error, 'strerror', None) or error}; fetch it again")
    if broken:
        yield Finding("damaged videos", len(broken), broken[0])
    if uneven:
        yield Finding(
            "videos with uneven times", len(uneven), f"{uneven[0]}; each frame is the picture nearest to it", False
        )
