"""OpenDV's public language annotations as OpenDWM's caption file: `{file name}.{ms}` → what is to be seen, what the car does."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dwm.data.opendv.dataset import video_files
from dwm.data.opendv.meta import Recording, parse_meta
from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import atomic_write, check_file, limits, open_tree, read_file
from dwm.strict_json import parse_json

ACTIONS = (
    "go straight",
    "pass the intersection",
    "turn left",
    "turn right",
    "change to the left lane",
    "change to the right lane",
    "take the left branch",
    "take the right branch",
    "pass the crosswalk",
    "pass the railroad",
    "merge",
    "make a U-turn",
    "stop",
    "deviate",
)
"""What the car does, by `cmd`."""
RATE = 10
"""Frames a second that annotations count, from the end of the discarded start."""
ENDING = ".mp4"
"""Of videos that are not at hand."""
FRAME = re.compile(r"(\d{1,9})(?:\.(?:jpe?g|png))?")


def write_opendv_captions(meta: Path, annotations: Sequence[Path], output: Path, videos: str | None = None) -> int:
    """Writes the caption file; returns how many captions it holds.

    meta: OpenDV-YouTube.json. annotations: lists of {cmd, blip, folder, first_frame, last_frame}. videos: the folder (or
    archive, or URL) of the videos, whose names keys need; without it each is taken for an .mp4. Raises DwmError naming the
    entry and field that is wrong.
    """
    check_file(output)
    recordings = parse_meta(read_file(meta, limits.TEXT), str(meta))
    names = {} if videos is None else _file_names(videos)
    captions: dict[str, dict[str, str]] = {}
    for path in track(annotations, "annotations", len(annotations), "files"):
        captions.update(_captions(path, recordings, names))
    if not captions:
        raise DwmError(f"{annotations[0]}: holds no annotation of a video that {meta} lists; do they belong together?")
    with atomic_write(output) as temporary:
        temporary.write_text(json.dumps(captions, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    return len(captions)


def _file_names(videos: str) -> dict[str, str]:
    files = [posixpath.basename(file) for file in video_files(open_tree(videos))]
    if not files:
        raise DwmError(f"{videos}: holds no videos (.mp4, .webm, …); leave the flag out, and each is taken for an .mp4")
    return {posixpath.splitext(name)[0]: name for name in files}


def _captions(
    path: Path, recordings: Mapping[str, Recording], names: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    entries = parse_json(read_file(path, limits.TEXT), str(path), empty_cells=True)
    if not isinstance(entries, list):
        raise DwmError(
            f"{path}: is no list of annotations ({{cmd, blip, folder, first_frame, last_frame}}); fetch it again"
        )
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number}"
        if not isinstance(entry, Mapping):
            raise DwmError(f"{where}: is {type(entry).__name__}, not an object; fetch it again")
        folder = entry.get("folder")
        if not isinstance(folder, str) or not (name := posixpath.basename(folder.rstrip("/"))):
            raise DwmError(
                f"{where}: folder is {str(folder)[:60]!r}, not the folder of a video's frames; fetch it again"
            )
        if name not in recordings:
            raise DwmError(f"{where}: {name} is no video of the meta file; do they belong together?")
        ms = round((_frame(entry, where) / RATE + recordings[name].start_discard) * 1000)
        yield (
            f"{names.get(name, name + ENDING)}.{ms}",
            {"image_description": _words(entry, where), "action": _action(entry, where)},
        )


def _frame(entry: Mapping[str, Any], where: str) -> int:
    """`first_frame`: a number, or a picture's name that is one (`000123.jpg`)."""
    value = entry.get("first_frame")
    if type(value) is int and 0 <= value < 10**9:
        return value
    if isinstance(value, str) and (match := FRAME.fullmatch(posixpath.basename(value))):
        return int(match[1])
    raise DwmError(f"{where}: first_frame is {str(value)[:40]!r}, not a frame's number; fetch it again")


def _words(entry: Mapping[str, Any], where: str) -> str:
    words = entry.get("blip")
    if words is None:
        return ""
    if not isinstance(words, str):
        raise DwmError(f"{where}: blip is {type(words).__name__}, not a text; fetch it again")
    return words


def _action(entry: Mapping[str, Any], where: str) -> str:
    number = entry.get("cmd")
    if type(number) is not int or not 0 <= number < len(ACTIONS):
        raise DwmError(f"{where}: cmd is {str(number)[:40]}, not a number from 0 to {len(ACTIONS) - 1}; fetch it again")
    return ACTIONS[number]
