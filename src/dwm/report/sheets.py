"""Several videos on one sheet: the comparison over time, and the contact sheet of frames and views. It only arranges pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from dwm.errors import DwmError
from dwm.report import draw
from dwm.report.film import Film
from dwm.report.video import Video, spread_frames

SHEET_WIDTH = 1920
MARGIN = 10


def comparison(videos: Mapping[str, Video], width: int = SHEET_WIDTH) -> Film:
    """Rows named by `videos` (real, layout, generated, …), a column for each view in the ring's order, at most `width` pixels wide.

    Of each video the first clip is shown. Raises DwmError where lengths or views differ.
    """
    first = _same_shape(videos)
    height = max(14, width // 100)
    left = max(draw.text_width(name, height) for name in videos) + 2 * MARGIN
    size = _cell(first.size, len(first.views), width - left)
    pictures = {name: video.pictures() for name, video in videos.items()}
    sheets = []
    for frame in range(first.length):
        cells = [draw.resized(picture, size) for rows in pictures.values() for picture in rows[frame]]
        sheets.append(
            _with_headings(draw.grid(cells, len(first.views)), first.views, tuple(videos), size, left, height)
        )
    return Film(np.stack(sheets), first.fps)


def contact_sheet(videos: Mapping[str, Video], frames: int = 4, width: int = SHEET_WIDTH) -> Film:
    """One picture: `frames` instants spread over the clip, at each of them a row of every video, a column for each view."""
    first = _same_shape(videos)
    height = max(14, width // 100)
    rows = [
        (f"{name} {first.seconds(frame):.2f} s", video.pictures()[frame])
        for frame in spread_frames(first.length, frames)
        for name, video in videos.items()
    ]
    left = max(draw.text_width(name, height) for name, _ in rows) + 2 * MARGIN
    size = _cell(first.size, len(first.views), width - left)
    sheet = draw.grid([draw.resized(picture, size) for _, row in rows for picture in row], len(first.views))
    return Film(_with_headings(sheet, first.views, [name for name, _ in rows], size, left, height)[None], first.fps)


def _same_shape(videos: Mapping[str, Video]) -> Video:
    if not videos:
        raise DwmError("nothing to compare: no video was given")
    name, first = next(iter(videos.items()))
    for other, video in videos.items():
        if (video.length, video.views) != (first.length, first.views):
            raise DwmError(
                f"{other} has {video.length} frames of {', '.join(video.views)}, {name} has {first.length} of "
                f"{', '.join(first.views)}; compare videos of one length and the same views"
            )
    return first


def _cell(size: tuple[int, int], columns: int, width: int) -> tuple[int, int]:
    wide = max(16, (width + draw.GAP) // columns - draw.GAP)
    return wide, max(2, round(wide * size[1] / size[0]))


def _with_headings(
    sheet: draw.Picture,
    columns: tuple[str, ...],
    rows: tuple[str, ...] | list[str],
    cell: tuple[int, int],
    left: int,
    pixels: int,
) -> UInt8[np.ndarray, "H W 3"]:
    top = 2 * pixels
    page = draw.canvas(left + sheet.shape[1], top + sheet.shape[0])
    page[top:, left:] = sheet
    words = [
        (name, (left + index * (cell[0] + draw.GAP), top - pixels * 2 + pixels // 4))
        for index, name in enumerate(columns)
    ] + [(name, (0, top + index * (cell[1] + draw.GAP) + cell[1] // 2 - pixels)) for index, name in enumerate(rows)]
    return draw.with_plates(page, words, pixels)
