"""OpenDV's list of videos: which part of each is of use, and for what. Opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dwm.errors import DwmError
from dwm.strict_json import parse_json

LONGEST = 1e6
"""Seconds; no video is longer."""
FIX = "make it anew with OpenDV's meta_preprocess.py"


@dataclass(frozen=True)
class Recording:
    """One video of the list. Of `length` seconds the first `start_discard` and the last `end_discard` are of no use."""

    name: str
    split: str
    length: float
    start_discard: float
    end_discard: float

    def last_start(self, seconds: float) -> float:
        """The latest start (s) of a clip that lasts `seconds`.

        OpenDWM takes the discarded start away from the end too, as a margin against damaged ends; so do we.
        """
        return self.length - self.end_discard - self.start_discard - seconds


def parse_meta(data: bytes, name: str) -> dict[str, Recording]:
    """The recordings by their ids, in the order of the list (OpenDV-YouTube.json).

    Raises DwmError, naming entry and field, for what is no such list. Its empty cells are NaN, which is null here.
    """
    entries = parse_json(data, name, FIX, empty_cells=True)
    if not isinstance(entries, list) or not entries:
        raise DwmError(f"{name}: is no list of videos (objects with videoid, split, length, …); {FIX}")
    recordings: dict[str, Recording] = {}
    for number, entry in enumerate(entries):
        recording = _recording(entry, f"{name}: entry {number}")
        if recordings.setdefault(recording.name, recording) != recording:
            raise DwmError(f"{name}: entry {number}: {recording.name} stands there twice, and not alike; {FIX}")
    return recordings


def _recording(entry: Any, where: str) -> Recording:
    if not isinstance(entry, Mapping):
        raise DwmError(f"{where}: is {type(entry).__name__}, not an object; {FIX}")
    return Recording(
        _text(entry, "videoid", where),
        _text(entry, "split", where),
        *(_seconds(entry, key, where) for key in ("length", "start_discard", "end_discard")),
    )


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value or "/" in value:
        raise DwmError(f"{where}: {key} is {str(value)[:40]!r}, not a name; {FIX}")
    return value


def _seconds(entry: Mapping[str, Any], key: str, where: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST:
        raise DwmError(f"{where}: {key} is {str(value)[:40]}, not a number of seconds; {FIX}")
    return float(value)
