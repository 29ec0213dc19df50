"""Films written anew with another rate, size or quality: what OpenDWM lets `ffmpeg` do, with its arguments read by a table.

No program is started, and no filter but those of the table is known: a config is read, never run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import PictureType
from pydantic import Field

from dwm.config.files import read_json, validated
from dwm.data.films import open_container
from dwm.data.pictures import check_pixels
from dwm.errors import DwmError, nearest
from dwm.options import Options
from dwm.progress import note, track
from dwm.storage import Tree, atomic_write, check_folder, open_tree

MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
"""Endings of films → FFmpeg's name of their container."""
ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libvpx", "mpeg4", "libsvtav1", "libaom-av1")
PIXELS = ("yuv420p", "yuv422p", "yuv444p")
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
RATES = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(?:/(\d{1,6}))?")
BITS = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([kM]?)")
SCALE = re.compile(r"scale=(?:w=)?(-1|-2|\d{1,5})[:x](?:h=)?(-1|-2|\d{1,5})")
FILTER_RATE = re.compile(r"fps=(?:fps=)?(.+)")
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class TranscodeConfig(Options):
    """The file that `-c` names."""

    ffmpeg_args: tuple[str, ...] | str = Field((), description="arguments of ffmpeg between input and output")
    reformat: str | None = Field(None, description="another ending, such as .mp4; none: the input's")

    def arguments(self) -> list[str]:
        """One by one, whichever way they are written."""
        parts = (self.ffmpeg_args,) if isinstance(self.ffmpeg_args, str) else self.ffmpeg_args
        return [word for part in parts for word in (shlex.split(part) if " " in part else [part])]


@dataclass(frozen=True)
class How:
    """How films are written. rate: pictures a second (None: when the input shows them). size: -1 and -2 follow the other side."""

    rate: Fraction | None = None
    size: tuple[int, int] | None = None
    pixels: str = "yuv420p"
    codec: str | None = None
    group: int | None = None
    bits: int | None = None
    threads: int = 0
    overwrite: bool = False
    options: dict[str, str] = field(default_factory=dict)


def read_how(path: Path) -> tuple[How, str | None]:
    """How, and the ending of what is written. Raises DwmError for an argument that the table lacks or that makes no sense."""
    config = validated(TranscodeConfig, read_json(path), str(path))
    ending = config.reformat
    if ending is not None:
        ending = f".{ending.lstrip('.').lower()}"
        if ending not in MUXERS:
            raise DwmError(f"{path}: reformat is {config.reformat!r}; known are {', '.join(MUXERS)}")
    how, words = How(), config.arguments()
    while words:
        name = words.pop(0)
        if name in SWITCHES:
            how = SWITCHES[name](how)
            continue
        if name not in ARGUMENTS:
            names = [*ARGUMENTS, *SWITCHES]
            raise DwmError(
                f"{path}: ffmpeg_args: {name} is not known{nearest(name, names)} (known: {', '.join(names)})"
            )
        if not words:
            raise DwmError(f"{path}: ffmpeg_args: {name} lacks its value")
        value = words.pop(0)
        try:
            how = ARGUMENTS[name](how, value)
        except ValueError as error:
            raise DwmError(f"{path}: ffmpeg_args: {name} {value[:60]}: {error}") from None
    return how, ending


def _rate(how: How, value: str) -> How:
    match = RATES.fullmatch(value)
    if not match or not 0 < (rate := Fraction(match[1]) / int(match[2] or 1) if match[2] != "0" else 0) <= 1000:
        raise ValueError("is no number of pictures a second (10, 29.97, 30000/1001)")
    return replace(how, rate=Fraction(rate))


def _filters(how: How, value: str) -> How:
    for part in value.split(","):
        if match := SCALE.fullmatch(part.strip()):
            how = _sized(how, int(match[1]), int(match[2]))
        elif match := FILTER_RATE.fullmatch(part.strip()):
            how = _rate(how, match[1])
        else:
            raise ValueError(f"the filter {part[:40]!r} is not known (known: scale=WIDTH:HEIGHT, fps=RATE)")
    return how


def _picture_size(how: How, value: str) -> How:
    if not (match := SIZE.fullmatch(value)):
        raise ValueError("is no size (1280x720)")
    return _sized(how, int(match[1]), int(match[2]))


def _sized(how: How, width: int, height: int) -> How:
    if max(width, height) <= 0 or 0 in (width, height):
        raise ValueError("width and height cannot both follow the other, nor be 0")
    return replace(how, size=(width, height))


def _bits(how: How, value: str) -> How:
    if not (match := BITS.fullmatch(value)):
        raise ValueError("is no number of bits a second (2M, 800k)")
    return replace(how, bits=round(float(match[1]) * {"": 1, "k": 1000, "M": 1_000_000}[match[2]]))


def _whole(value: str, least: int, most: int) -> int:
    if not value.isdecimal() or not least <= int(value[:9]) <= most:
        raise ValueError(f"expected a whole number from {least} to {most}")
    return int(value)


def _one_of(value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"is not known{nearest(value, choices)} (known: {', '.join(choices)})")
    return value


def _option(name: str, check: Callable[[str], Any]) -> Callable[[How, str], How]:
    return lambda how, value: replace(how, options={**how.options, name: str(check(value))})


ARGUMENTS: dict[str, Callable[[How, str], How]] = {
    "-r": _rate,
    "-g": lambda how, value: replace(how, group=_whole(value, 1, 10_000)),
    "-vf": _filters,
    "-filter:v": _filters,
    "-s": _picture_size,
    "-b:v": _bits,
    "-crf": _option("crf", lambda value: _whole(value, 0, 63)),
    "-pix_fmt": lambda how, value: replace(how, pixels=_one_of(value, PIXELS)),
    "-c:v": lambda how, value: replace(how, codec=_one_of(value, ENCODERS)),
    "-vcodec": lambda how, value: replace(how, codec=_one_of(value, ENCODERS)),
    "-preset": _option("preset", lambda value: _one_of(value, PRESETS)),
    "-bf": _option("bf", lambda value: _whole(value, 0, 16)),
    "-row-mt": _option("row-mt", lambda value: _whole(value, 0, 1)),
    "-threads": lambda how, value: replace(how, threads=_whole(value, 0, 256)),
}
"""Arguments with a value."""
SWITCHES: dict[str, Callable[[How], How]] = {
    "-y": lambda how: replace(how, overwrite=True),
    "-an": lambda how: how,
    "-hide_banner": lambda how: how,
}
"""Arguments without one. Sound is left out with or without -an."""
OF_VPX = ("row-mt",)
"""Options of libvpx alone, which ffmpeg passes over for other encoders."""


def transcode_folder(
    config: Path, source: str, target: Path, first: int = 0, end: int = -1
) -> tuple[list[Path], list[str]]:
    """Films `first` to `end` (not included; -1: to the last) of a folder, by name, into the folder `target`.

    Returns what was written and a line for each film that could not be; the others are written all the same. What is there
    already is left as it is, unless the config says -y. Raises DwmError for what is wrong before the first film.
    """
    how, ending = read_how(config)
    check_folder(target)
    tree = open_tree(source)
    names = sorted(name for name in tree.names("") if Path(name).suffix.lower() in MUXERS and "/" not in name)
    if not names:
        raise DwmError(f"{source}: holds no films ({', '.join(MUXERS)})")
    if first < 0 or end < -1 or not (films := names[first : None if end == -1 else end]):
        raise DwmError(f"-f {first} -t {end}: leaves none of the {len(names)} films in {source}; they count from 0")
    if Path(source).is_dir() and Path(source).resolve() == target.resolve():
        raise DwmError(f"{target}: films would take the place of their own sources; choose another folder")
    paths, failed = [], []
    for name in track(films, "transcode", len(films), "films"):
        path = target / (Path(name).stem + (ending or Path(name).suffix.lower()))
        if path.exists() and not how.overwrite:
            note(f"{path}: is there already and stays as it is; -y in ffmpeg_args writes it anew")
            continue
        try:
            transcode(tree, name, path, how)
            paths.append(path)
        except DwmError as error:
            failed.append(str(error))
    return paths, failed


def transcode(tree: Tree, name: str, path: Path, how: How) -> None:
    """One film; it appears when it is whole. Raises DwmError where it cannot be read, or be written so."""
    with atomic_write(path) as temporary:
        try:
            source = open_container(tree, name)
            with source, av.open(str(temporary), "w", format=MUXERS[path.suffix]) as sink:
                _copy(source, sink, how, path.suffix)
        except (av.FFmpegError, ValueError, ArithmeticError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DwmError(f"{name}: cannot be written as {path.name} ({reason}); is it whole?") from error


def _copy(source: Any, sink: Any, how: How, suffix: str) -> None:
    source_stream = source.streams.video[0]
    source_stream.codec_context.thread_count = how.threads
    codec = how.codec or ("libvpx-vp9" if suffix == ".webm" else "libx264")
    width, height = _pixels(how.size, source_stream.width, source_stream.height)
    check_pixels(source.name or "film", width, height)
    rate = how.rate or Fraction(source_stream.average_rate or 25)
    options = {key: value for key, value in how.options.items() if codec.startswith("libvpx") or key not in OF_VPX}
    stream = sink.add_stream(codec, rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, how.pixels
    stream.codec_context.thread_count = how.threads
    stream.codec_context.time_base = 1 / rate if how.rate else source_stream.time_base
    if how.group is not None:
        stream.codec_context.gop_size = how.group
    if how.bits is not None:
        stream.codec_context.bit_rate = how.bits
    for frame, stamp in _steady(source, source_stream, how.rate) if how.rate else _as_shown(source, source_stream):
        picture = frame.reformat(width, height, how.pixels, interpolation="BICUBIC")
        picture.pts, picture.time_base = stamp, stream.codec_context.time_base
        picture.pict_type = PictureType.NONE  # where key pictures stand is the encoder's to say
        sink.mux(stream.encode(picture))
    sink.mux(stream.encode(None))


def _as_shown(source: Any, stream: Any) -> Iterator[tuple[Any, int]]:
    """Pictures at their own times, the first at 0."""
    first = None
    for frame in source.decode(stream):
        if frame.pts is not None:
            first = frame.pts if first is None else first
            yield frame, frame.pts - first


def _steady(source: Any, stream: Any, rate: Fraction) -> Iterator[tuple[Any, int]]:
    """At every step of a steady rate the picture nearest to it of those that round to it; in a gap the one before, again."""
    first, best = None, None
    for frame in source.decode(stream):
        if frame.pts is None:
            continue
        first = frame.pts if first is None else first
        exact = (frame.pts - first) * stream.time_base * rate
        step, distance = round(exact), abs(exact - round(exact))
        if best is not None and step > best[1]:
            yield from ((best[0], offset) for offset in range(best[1], step))
        if best is None or step > best[1] or distance < best[2]:
            best = (frame, step, distance)
    if best is not None:
        last = (best[0].pts - first) * stream.time_base + 1 / Fraction(stream.average_rate or rate)
        if best[1] < last * rate:  # not where the film has ended already
            yield best[0], best[1]


def _pixels(size: tuple[int, int] | None, width: int, height: int) -> tuple[int, int]:
    """Width and height of what is written, both even: pictures of four colour points each have no odd ones."""
    wide, high = size or (width, height)
    wide = round(width * high / height) if wide < 0 else wide
    high = round(height * wide / width) if high < 0 else high
    return max(2, wide - wide % 2), max(2, high - high % 2)
