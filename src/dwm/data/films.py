"""Single pictures of films: `drive/front.mp4#17` is the eighteenth picture of that film, in the order in which it is shown.

Read by position from a tree, nothing unpacked. A film that is read picture after picture is decoded once.
"""

from __future__ import annotations

import io
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from dwm.data.film_index import FilmIndex
from dwm.data.pictures import DECODED, check_pixels
from dwm.errors import DwmError
from dwm.storage import Tree, limits
from dwm.strict_json import LFS, lfs_pointer

T = TypeVar("T")
FILM = re.compile(r"(.+\.(?:mp4|mkv|mov|webm|avi))#(\d+)", re.IGNORECASE)
KEPT_OPEN = 16
"""Films that a process keeps open, the last used: two rigs of eight cameras."""
AHEAD = 24
"""Pictures that are decoded and passed by rather than sought."""


def film_of(name: str) -> tuple[str, int] | None:
    """The film's file and the picture's number that a name stands for; None for a file of one picture."""
    match = FILM.fullmatch(name)
    if match and len(match[2]) > 9:
        raise DwmError(f"{name[:60]}…: no film has a picture of so high a number (from 0)")
    return (match[1], int(match[2])) if match else None


def file_of(name: str) -> str:
    """The file that a picture's name leads to."""
    parts = film_of(name)
    return parts[0] if parts else name


def container_format(file: io.BufferedIOBase, name: str) -> str:
    """FFmpeg's name of the film's container, by its first bytes. Raises DwmError for any other than those of `FILM`.

    Left to guess, FFmpeg also takes texts for films that make it open other files and the network: playlists, SDP, concat.
    """
    head = file.read(16)
    file.seek(0)
    if head == LFS[:16]:
        raise DwmError(f"{name}: {lfs_pointer()}")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"):
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:11] == b"AVI":
        return "avi"
    raise DwmError(f"{name}: cannot be decoded: it is no MP4, MOV, MKV, WebM or AVI film; fetch or write it again")


def read_film(tree: Tree, name: str, number: int) -> UInt8[np.ndarray, "h w 3"]:
    """One picture of a film in RGB. Raises DwmError for a film that is broken or shorter."""
    try:
        return kept_open(tree, name, _Film.open).picture(number)
    except (av.FFmpegError, OSError, ValueError) as error:
        close(tree, name, _Film.open)
        raise DwmError(f"{name}: picture {number} cannot be decoded ({error}); write the film again") from error


def kept_open(tree: Tree, name: str, opened: Callable[[Tree, str], T]) -> T:
    """What `opened` makes of a film, the same as long as it is among the last used."""
    key = _key(tree, name, opened)
    if key not in _open:
        _open[key] = opened(tree, name)
        while len(_open) > KEPT_OPEN:
            _open.popitem(last=False)
    _open.move_to_end(key)
    return _open[key]


def close(tree: Tree, name: str, opened: Callable[[Tree, str], Any]) -> None:
    """Forgets a film that failed."""
    _open.pop(_key(tree, name, opened), None)


def _key(tree: Tree, name: str, opened: Callable[[Tree, str], Any]) -> tuple[str, str, str]:
    return tree.where, name, opened.__qualname__


def _leave_to_parent() -> None:
    """A forked process opens its own films. Those of its parent stay as they are: their decoders' threads were not forked, and
    closing one would wait for them for ever."""
    _of_parent.extend(_open.values())
    _open.clear()


_of_parent: list[Any] = []
os.register_at_fork(after_in_child=_leave_to_parent)


@dataclass
class _Film:
    """An open film. `place`: the number of the picture that comes next; `index`: which picture each packet holds."""

    tree: Tree
    name: str
    container: Any
    index: FilmIndex
    frames: Iterator[tuple[int, Any]]
    next_picture: int

    @classmethod
    def open(cls, tree: Tree, name: str) -> _Film:
        container = open_container(tree, name)
        return cls(
            tree, name, container, FilmIndex.of(container, partial(open_container, tree, name)), iter(()), -AHEAD - 1
        )

    def picture(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        if number >= self.index.count:
            raise DwmError(f"{self.name}: has {self.index.count} pictures, so none of number {number} (from 0)")
        ahead = 0 <= number - self.next_picture <= AHEAD
        for attempt in ([self._go_on] if ahead else []) + [self._seek, self._start_again]:
            attempt(number)
            for position, frame in self.frames:
                self.next_picture = position + 1
                if position == number:
                    return rgb(frame)
                if position > number:
                    break
        raise DwmError(f"{self.name}: ends before its picture {number}; write the film again")

    def _go_on(self, number: int) -> None:
        """Decodes on from where it stands."""

    def _seek(self, number: int) -> None:
        """To the last picture before `number` that needs no other; what follows it in the film is decoded from there."""
        self.frames = self.index.pictures_for(self.container, number)

    def _start_again(self, number: int) -> None:
        """From the start: the way by which pictures are numbered, so that it always gives the right one."""
        self.container = open_container(self.tree, self.name)
        self.frames = self.index.pictures(self.container)


def open_container(tree: Tree, name: str) -> Any:
    """The film at its first packet. Raises DwmError for what is no film, or holds no video; FFmpeg's errors for a broken one."""
    file = tree.open(name)
    container = av.open(file, format=container_format(file, name))
    if not container.streams.video:
        raise DwmError(f"{name}: holds no video")
    for stream in container.streams.video:
        if stream.codec_context is None:  # of a codec that FFmpeg does not know, as damaged bytes may name it
            raise DwmError(f"{name}: is packed in a way that FFmpeg does not know; fetch or write it again")
        check_pixels(name, stream.width, stream.height)
        stream.codec_context.options = {"max_pixels": str(limits.bound(DECODED) // 4)}  # of later pictures too
    # No threads: a forked process could not close a film of its parent's, whose threads stayed behind; and loaders have workers.
    container.streams.video[0].codec_context.thread_count = 1
    return container


def rgb(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """The frame's pixels, by a converter without threads: PyAV 19 keeps one with threads for each thread of Python, and a forked
    process waits without an end for those of its parent's."""
    return VideoReformatter().reformat(frame, format="rgb24", **ONE_THREAD).to_ndarray()


ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
"""Before PyAV 17 converters started no threads, and knew no such word."""

_open: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
