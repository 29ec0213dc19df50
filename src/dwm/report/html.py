"""`write_report`: one page that holds everything it shows, opens from disk and asks no network. It never loads a network either."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, StrictUndefined, Template
from PIL import Image

from dwm.errors import DwmError
from dwm.report import draw
from dwm.report.video import Video, mosaic_order, spread_frames
from dwm.screen import plain
from dwm.storage import atomic_write

STRIP_WIDTHS = (320, 448)
"""Pictures in the page lie between these widths (pixels): small ones are enlarged once, smoothly; large ones cost only bytes."""
MOST_FRAMES = 24
"""A longer clip is shown by this many frames: a picture strip beyond 16,384 pixels is not shown by every browser."""


@dataclass(frozen=True)
class Shown:
    """One video on the page (its first clip), with its name and what there is to say about it: a prompt, a seed."""

    name: str
    video: Video
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Videos that are looked at together."""

    title: str
    shown: Sequence[Shown]
    text: str = ""


@dataclass(frozen=True)
class ScoreLine:
    """A score for people: its name, its value as written, one sentence on what it means."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """Rows of words under the names of their columns; text says how to read them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""


@dataclass(frozen=True)
class Report:
    """Everything on the page, from top to bottom. films are video files that the page plays; facts is any table of two columns.

    numbers_first: scores and tables stand above the videos.
    """

    title: str
    lead: str
    groups: Sequence[Group]
    scores: Sequence[ScoreLine] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    films: Mapping[str, Path] = field(default_factory=dict)
    config: str = ""
    tables: Sequence[Table] = ()
    numbers_first: bool = False


@dataclass(frozen=True)
class Strip:
    """One view's frames side by side in one picture, as the page's style moves it behind a window."""

    view: str
    source: str
    frames: int
    aspect: str


def write_report(path: str | Path, report: Report) -> Path:
    """Writes the page. All videos must have one frame rate. Raises DwmError where there is nothing to show."""
    items = [item for group in report.groups for item in group.shown]
    if not items:
        raise DwmError(f"{path}: a report needs at least one video")
    page = _template().render(
        report=report,
        groups=[(group, [(item, _strips(item.video)) for item in group.shown]) for group in report.groups],
        films={name: _data_uri(Path(film).read_bytes(), "video/mp4") for name, film in report.films.items()},
        views=[items[0].video.views[index] for index in mosaic_order(items[0].video.views)],
        times=_times(items[0].video),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


@cache
def _template() -> Template:
    # Autoescape is what keeps a prompt or a path from becoming markup.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_plain
    )
    return environment.from_string(files("dwm.report").joinpath("page.html").read_text(encoding="utf-8"))


def _plain(value: object) -> object:
    """Foreign text as it may stand on a page: invisible characters shown, keys in URLs hidden, line by line."""
    return "\n".join(map(plain, value.split("\n"))) if isinstance(value, str) else value


def _times(video: Video) -> list[float]:
    """Seconds of each frame on the page."""
    return [round(video.seconds(frame), 3) for frame in spread_frames(video.length, MOST_FRAMES)]


def _strips(video: Video) -> list[Strip]:
    pictures = video.pictures()[spread_frames(video.length, MOST_FRAMES)]
    smallest, largest = STRIP_WIDTHS
    width = min(max(video.size[0], smallest), largest)
    size = (width, round(width * video.size[1] / video.size[0]))
    return [
        Strip(video.views[view], _strip_uri(pictures[:, view], size), len(pictures), f"{size[0]} / {size[1]}")
        for view in mosaic_order(video.views)
    ]


def _strip_uri(frames: UInt8[np.ndarray, "t h w 3"], size: tuple[int, int]) -> str:
    file = io.BytesIO()
    strip = np.concatenate([draw.resized(frame, size) for frame in frames], axis=1)
    Image.fromarray(strip).save(file, format="JPEG", quality=84, optimize=True)
    return _data_uri(file.getvalue(), "image/jpeg")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
