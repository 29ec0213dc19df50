"""OpenDV as a data set: its list of videos, what their headers say (kept once read), and windows of their useful parts."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from dwm.clip import Clip
from dwm.data.dataset import Checked, Finding, ReadOptions, few, scene_called
from dwm.data.film_times import FilmFacts, film_facts
from dwm.data.opendv.captions import FilmCaptions, film_captions
from dwm.data.opendv.check import findings
from dwm.data.opendv.meta import Recording, parse_meta
from dwm.data.opendv.recordings import FilmScene, FilmWindow
from dwm.data.splits import Split, scene_names
from dwm.errors import DwmError, nearest
from dwm.progress import track
from dwm.storage import Files, Tree, cache_folder, kept_tables, limits

FORMAT = "opendv 1"
"""Raised when what is kept of videos changes."""
ENDINGS = (".mp4", ".webm", ".mkv", ".mov")
META = ("OpenDV-YouTube.json", "opendv-youtube.json", "OpenDV.json")
"""Names of the list of videos, beside them or in `meta`."""
FOLDERS = ("", "meta/")


def find_meta(tree: Tree) -> str | None:
    """The list of videos in a tree; looks at names only."""
    return next((path for folder in FOLDERS for name in META if tree.exists(path := folder + name)), None)


def video_files(tree: Tree) -> list[str]:
    """The videos in the root of a tree or in folders of it, by name; looks at names only."""
    files = []
    for folder in ("", *tree.folders()):
        prefix = f"{folder}/" if folder else ""
        files += [
            name for name in tree.names(prefix) if name.lower().endswith(ENDINGS) and "/" not in name[len(prefix) :]
        ]
    return sorted(files, key=posixpath.basename)


def recognised(tree: Tree) -> bool:
    """Whether a tree holds OpenDV: its list, or nothing but videos in its root (their list then is named)."""
    return find_meta(tree) is not None or any(
        name.lower().endswith(ENDINGS) for name in tree.names("") if "/" not in name
    )


def open_opendv(tree: Tree, version: str | None, split: Split, options: ReadOptions) -> OpenDV:
    """The videos of a split (`train`, `val` as the list says, a file of names; None: all that are listed).

    Raises DwmError where the list or all videos are missing. What cannot be opened is left out with a warning.
    """
    if version is not None:
        raise DwmError(f"{tree.where}: OpenDV has no version {version}; leave it out")
    recordings = read_list(tree, options)
    files = _by_name(tree)
    listed = {name: recordings[_id(name, recordings)] for name in files if _id(name, recordings) in recordings}
    facts = header_facts(tree, [files[name] for name in listed])
    names = _names_of(listed, split, options.left_out, tree.where)
    broken = [name for name in names if isinstance(facts[files[name]], str)]
    if broken:
        warnings.warn(
            f"{tree.where}: {len(broken)} of {len(names)} videos cannot be opened and are left out "
            f"({facts[files[broken[0]]]})",
            stacklevel=2,
        )
    captions = film_captions(tree, options.captions)
    scenes = tuple(
        FilmScene(tree, files[name], listed[name], fact, captions, options.missing_captions, options.exact_pictures)
        for name in names
        if isinstance(fact := facts[files[name]], FilmFacts)
    )
    if not scenes:
        contents = f"it holds {few(list(listed))}" if listed else "no video in it is listed"
        raise DwmError(
            f"{tree.where}: holds no video of split {split} that can be opened ({contents}); splits: train, val"
        )
    return OpenDV(tree, scenes, options)


def read_list(tree: Tree, options: ReadOptions) -> dict[str, Recording]:
    """The list that the options name, as a plain file or URL; else the one in the tree."""
    if (name := options.index) is not None:
        if "://" not in name and not Path(name).is_file():
            raise DwmError(f"OpenDV's list of videos {name}: no such file (seen from {Path.cwd()})")
        return parse_meta(Files((name,)).read(name, limits.TEXT), name)
    if (name := find_meta(tree)) is None:
        raise DwmError(
            f"{tree.where}: holds videos, but not the list that says which part of each is of use ({META[0]}); put it beside "
            "them, or name it (data.train.0.index)"
        )
    return parse_meta(tree.read(name, limits.TEXT), name)


def header_facts(tree: Tree, files: Sequence[str]) -> dict[str, FilmFacts | str]:
    """What each video's header says, or why it cannot be opened; read once and kept beside the data."""
    key = " ".join((FORMAT, *(f"{file} {tree.stamp(file)}" for file in files)))
    table = kept_tables(
        cache_folder(tree.beside), "opendv.videos", key, lambda: {"videos": _table(_headers(tree, files))}
    )[0]["videos"]
    rows = ({name: row[name] for name in row} for row in table.to_pylist())
    return {row.pop("file"): (fault if (fault := row.pop("fault")) else FilmFacts(**row)) for row in rows}


def _headers(tree: Tree, files: Sequence[str]) -> Iterator[dict[str, Any]]:
    for file in track(files, f"{tree.where}: videos", len(files), "videos"):
        try:
            yield {"file": file, "fault": "", **asdict(film_facts(tree, file))}
        except DwmError as error:
            yield {"file": file, "fault": str(error), "width": 0, "height": 0, "first": 0.0, "end": 0.0, "rate": 0.0}


def _table(rows: Iterator[dict[str, Any]]) -> pa.Table:
    whole, number = pa.int32(), pa.float64()
    kinds = {"file": pa.string(), "fault": pa.string(), "width": whole, "height": whole}
    return pa.Table.from_pylist(list(rows), pa.schema(kinds | dict.fromkeys(("first", "end", "rate"), number)))


def _by_name(tree: Tree) -> dict[str, str]:
    """Files by their names without folders, which captions and lists know them by."""
    files: dict[str, str] = {}
    for file in video_files(tree):
        name = posixpath.basename(file)
        if files.setdefault(name, file) != file:
            raise DwmError(f"{tree.where}: {files[name]} and {file} have one name; remove or rename one")
    return files


def _id(name: str, recordings: dict[str, Recording]) -> str:
    """A video's id: its file's name, without its ending."""
    return name if name in recordings else posixpath.splitext(name)[0]


def _names_of(listed: dict[str, Recording], split: Split, left_out: Sequence[str], where: str) -> list[str]:
    ids = {recording.name for recording in listed.values()}
    for name in left_out:
        if name not in (*ids, *listed):
            warnings.warn(f"{where}: {name}, which is to be left out, is not there{nearest(name, ids)}", stacklevel=3)
    rest = [name for name in listed if not {name, listed[name].name} & set(left_out)]
    if split is None:
        return rest
    splits = {recording.split.lower() for recording in listed.values()} | {"train", "val"}
    if isinstance(split, str) and split.lower() in splits:
        return [name for name in rest if listed[name].split.lower() == split.lower()]
    names = scene_names(split, {*ids, *listed})
    return [name for name in rest if {name, listed[name].name} & names]


@dataclass(frozen=True)
class OpenDV:
    """A `Dataset` of videos, each a scene of one camera without calibration."""

    tree: Tree
    scenes: tuple[FilmScene, ...]
    options: ReadOptions

    label = "opendv"
    caption_keys = FilmCaptions("", {}, {})

    def __len__(self) -> int:
        return len(self.scenes)

    def __iter__(self) -> Iterator[FilmScene]:
        return iter(self.scenes)

    def __getitem__(self, name: str | int) -> FilmScene:
        return scene_called(self.scenes, name, self.tree.where)

    def windows(self, length: int, fps: float, stride: float, check: bool = True) -> list[FilmWindow]:
        """Windows by time alone, as the list of videos allows them; what the films really hold is seen in `with_pictures`."""
        if fps <= 0 or stride <= 0:
            raise DwmError(
                f"{self.tree.where}: videos are cut by time: fps and seconds between starts must be positive; found {fps:g} "
                f"and {stride:g}"
            )
        return [
            FilmWindow(number, float(fps), float(start), length)
            for number, scene in enumerate(self.scenes)
            for start in scene.starts(length, fps, stride)
        ]

    def with_pictures(self, windows: Sequence[FilmWindow]) -> list[FilmWindow]:
        whole = [
            window for window in windows if self.scenes[window.scene].holds(window.start, window.frames, window.fps)
        ]
        if len(whole) < len(windows):
            missing = next(window for window in windows if window not in set(whole))
            scene = self.scenes[missing.scene]
            summary = (
                f"{self.tree.where}: {len(windows) - len(whole)} of {len(windows)} windows lie behind the end of their video "
                f"(as {scene.name} at {missing.start:g} s, which lasts {scene.seconds:.1f} s)"
            )
            if not whole:
                raise DwmError(f"{summary}; is the list of videos that of these files?")
            warnings.warn(f"{summary} and are left out", stacklevel=3)
        return whole

    def clip(self, window: FilmWindow) -> Clip:
        return self.scenes[window.scene].cut(window.start, window.frames, window.fps)

    def check(self, files: bool = False) -> Checked:
        return check_opendv(self.tree, self.options, files)

    def describe(self) -> str:
        return f"{self.tree.where}: OpenDV, {len(self)} videos, no calibration (a forward camera stands in)"

    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        lines = [f"{scene.name} {scene.facts} {scene.recording} {self.tree.size(scene.file)}" for scene in self.scenes]
        return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def check_opendv(tree: Tree, options: ReadOptions, read_files: bool = False) -> Checked:
    """Walks the list, the videos' headers and the captions; with `read_files` every picture is decoded."""
    recordings, files = read_list(tree, options), _by_name(tree)
    listed = {file: recordings.get(_id(name, recordings)) for name, file in files.items()}
    facts = header_facts(tree, list(listed))
    whole = {file: fact for file, fact in facts.items() if isinstance(fact, FilmFacts)}
    results: list[Finding] = list(findings(tree, recordings, listed, facts, options, read_files))
    frames = sum(round((fact.end - fact.first) * fact.rate) for file, fact in whole.items() if listed[file])
    return Checked("OpenDV", sum(listed[file] is not None for file in whole), frames, 0, tuple(results), "OpenDV")
