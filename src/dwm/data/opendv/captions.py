"""What is said of OpenDV's videos: OpenDWM's files of captions by "file name.ms", and of the ms that exist by file name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dwm.data.caption_store import KEPT_FROM, kept_captions
from dwm.data.captions import CaptionFiles
from dwm.errors import DwmError
from dwm.storage import Files, Tree, limits
from dwm.strict_json import parse_json

NAMES = (
    ("captions.json", ("candidates_times.json", "caption_times.json")),
    ("opendv_caption.json", ("opendv_candidates_times.json",)),
)
"""The two files as OpenDWM and as our own commands call them, beside the videos or in `meta`."""
FOLDERS = ("", "meta/")


class FilmCaptions(CaptionFiles):
    """Keys are the file's name with or without its ending: OpenDWM's own tool writes them without."""

    micros = 1000

    def camera_key(self, scene: str, channel: str) -> str:
        return next((name for name in _names(scene) if name in self.times), scene)

    def key(self, scene: str, channel: str, stamp: float) -> str:
        keys = [f"{name}.{stamp:.0f}" for name in _names(scene)]
        return next((key for key in keys if key in self.captions), keys[0])

    def all_keys(self) -> Iterator[str]:
        return (self.key(film, "", stamp) for film, stamps in self.times.items() for stamp in stamps)


def film_captions(tree: Tree, files: tuple[str, str] | None = None) -> FilmCaptions | None:
    """Files that were named, as plain files or URLs; else those of the usual names in the tree, where there are any.

    The second name may be empty: the times then come from the keys. Raises DwmError for a file that is missing or no such file.
    """
    if files:
        for name in filter(None, files):
            if "://" not in name and not Path(name).is_file():
                raise DwmError(f"captions {name}: no such file (seen from {Path.cwd()})")
        return _read(Files(tuple(filter(None, files))), files[0], files[1] or None)
    for folder in FOLDERS:
        for captions, times in NAMES:
            if tree.exists(folder + captions):
                path = next((folder + name for name in times if tree.exists(folder + name)), None)
                return _read(tree, folder + captions, path)
    return None


def _read(tree: Tree, name: str, times: str | None) -> FilmCaptions:
    captions = partial(_object, tree, name)
    stamps = partial(_of_keys, tree, name) if times is None else partial(_listed, tree, times)
    if tree.size(name) >= KEPT_FROM:
        return FilmCaptions(name, *kept_captions(tree, name, times or name, captions, stamps))
    return FilmCaptions(name, captions(), stamps())


def _names(scene: str) -> tuple[str, ...]:
    """A file's name, and the same without its ending."""
    return tuple(dict.fromkeys((scene, scene.rpartition(".")[0] or scene)))


def _object(tree: Tree, name: str) -> dict[str, Any]:
    content = parse_json(tree.read(name, limits.TEXT), name, empty_cells=True)
    if not isinstance(content, dict):
        raise DwmError(f"{name}: is {type(content).__name__}, not an object by file name and milliseconds")
    return content


def _listed(tree: Tree, name: str) -> dict[str, list[int]]:
    times_of = _object(tree, name)
    for film, stamps in times_of.items():
        if not isinstance(stamps, list) or not all(
            type(stamp) in (int, float) and stamp == stamp // 1 and abs(stamp) < 2**62 for stamp in stamps
        ):
            raise DwmError(f"{name}: {film[:80]} is not a list of times in whole ms; correct it, or leave the file out")
    return {film: sorted(map(int, stamps)) for film, stamps in times_of.items()}


def _of_keys(tree: Tree, name: str) -> dict[str, list[int]]:
    """The times that the keys of the captions tell."""
    times_of: dict[str, list[int]] = {}
    for key in _object(tree, name):
        film, _, stamp = key.rpartition(".")
        if not film or not stamp.isdecimal() or len(stamp) > 12:
            raise DwmError(
                f"{name}: the key {key[:80]!r} is no file name and milliseconds (front.mp4.4000); correct it"
            )
        times_of.setdefault(film, []).append(int(stamp))
    return {film: sorted(stamps) for film, stamps in times_of.items()}
