"""`open_dataset`, and the one table of formats behind it: a line for each kind of data set, told by its files or by its name.

Installed packages add theirs through the entry points `dwm.datasets`; a file of a user never can.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from dwm.data.argoverse.logs import has_logs
from dwm.data.argoverse.tables import open_argoverse
from dwm.data.dataset import Checked, Dataset, Finding, ReadOptions
from dwm.data.kitti360.drives import has_drives
from dwm.data.kitti360.tables import open_kitti360
from dwm.data.nuscenes import dataset as nuscenes
from dwm.data.nuscenes.dataset import NuScenesTables
from dwm.data.opendv import dataset as opendv
from dwm.data.package.schema import MANIFEST, PackageTables
from dwm.data.splits import Split
from dwm.data.tables.check import check_tables
from dwm.data.tables.dataset import open_tables
from dwm.data.tables.index import open_index
from dwm.data.tables.scene_tables import SceneTables
from dwm.data.waymo.open import has_segments, open_waymo
from dwm.data.waymo.splits import FOLDERS
from dwm.errors import DwmError, nearest
from dwm.storage import Tree, open_tree

GROUP = "dwm.datasets"
"""Entry points of installed packages: the format's name = a `Format`."""
NAME = re.compile(r"([a-z][a-z0-9-]*):(?!//)(.*)", re.DOTALL)
"""`town:seed=7`: a data set that is drawn, by its kind and settings."""

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Format:
    """One kind of data set. It needs `tables`, or `open`, or (a world that is drawn) `draw`; without any it cannot be read yet.

    kind: as runs name it. title: as people do. sign: what tells it, in words. patterns: names below a folder that has it, for
    advice to who named the folder beside. recognise: whether a tree holds it; looks at names only.
    """

    kind: str
    title: str
    sign: str = ""
    patterns: tuple[str, ...] = ()
    recognise: Callable[[Tree], bool] = lambda tree: False
    tables: Callable[[Tree, str | None], SceneTables] | None = None
    """The tables of a version (None: the one to prefer). What is read, indexed, checked and converted follows from them."""
    open: Callable[[Tree, str | None, Split, ReadOptions], Dataset] | None = None
    """For what is no tables: a version, the scenes of a split."""
    draw: Callable[[Mapping[str, str], ReadOptions], Dataset] | None = None
    """For what has no files: by its settings. Raises DwmError for one that it does not know."""
    is_drawn: bool = False
    repeats_views: bool = False
    """Whether one camera may stand in several places of a clip."""
    folders_of_splits: Mapping[str, str] = field(default_factory=dict)
    """Which version holds an official split, where splits are folders."""
    noun: str = "data set"
    """What a run lacks where its path leads nowhere."""


FORMATS = {
    line.kind: line
    for line in (
        Format(
            "nuscenes",
            "nuScenes",
            "nuScenes tables (a folder such as v1.0-mini with scene.json)",
            ("*/scene.json", "v1.0-*.zip", "v1.0-*.tar"),
            lambda tree: bool(nuscenes.versions(tree)),
            lambda tree, version: NuScenesTables(tree, nuscenes.choose_version(tree, version)),
        ),
        Format(
            "package",
            "scene package",
            MANIFEST,
            (MANIFEST,),
            lambda tree: tree.exists(MANIFEST),
            lambda tree, version: PackageTables(tree),
        ),
        Format("town", "the embedded town", is_drawn=True),  # what draws it lies above, in dwm.town
        Format(
            "waymo",
            "Waymo Open",
            "Waymo segments (segment-….tfrecord, or component folders such as vehicle_pose; or a folder of them)",
            ("segment-*.tfrecord", "*/segment-*.tfrecord", "vehicle_pose/*.parquet", "*/vehicle_pose/*.parquet"),
            has_segments,
            open_waymo,
            repeats_views=True,
            folders_of_splits=FOLDERS,
        ),
        Format(
            "argoverse",
            "Argoverse 2",
            "Argoverse 2 logs (a folder such as sensor/val, or its tars)",
            ("*/*/calibration/egovehicle_SE3_sensor.feather", "*/calibration/egovehicle_SE3_sensor.feather"),
            has_logs,
            open_argoverse,
            repeats_views=True,
        ),
        Format(
            "kitti360",
            "KITTI-360",
            "KITTI-360 drives (…_drive_0000_sync, or their zips)",
            ("*_sync/velodyne_points", "*_sync/image_00", "data_3d_raw/*_sync", "*_sync_velodyne.zip"),
            has_drives,
            open_kitti360,
            repeats_views=True,
        ),
        Format(
            "opendv",
            "OpenDV",
            "videos with OpenDV's list of them (OpenDV-YouTube.json)",
            ("OpenDV-YouTube.json", "meta/OpenDV-YouTube.json"),
            opendv.recognised,
            open=opendv.open_opendv,
            repeats_views=True,
        ),
        Format("layouts", "OpenDWM's layout packages", repeats_views=True, noun="layout package"),
        Format("carla", "CARLA", repeats_views=True),
    )
}

USUAL = next(iter(FORMATS))
"""The kind that a run names where nobody says another; what lies at a path is opened as what it is."""


def register(line: Format) -> Format:
    """Adds a format, or what opens one that the table only names. Raises DwmError for a kind that is there already."""
    entry = FORMATS.get(line.kind)
    if entry is not None and can_be_read(entry) and entry != line:
        raise DwmError(f"{GROUP}: the kind {line.kind} is there already; give the format another name")
    FORMATS[line.kind] = line
    return line


def can_be_read(line: Format) -> bool:
    return any((line.tables, line.open, line.draw))


def is_drawn(kind: str) -> bool:
    """Whether sets of this kind are drawn, and have no path."""
    return FORMATS[kind].is_drawn if kind in FORMATS else format_of(kind).is_drawn


def repeats_views(kind: str) -> bool:
    """Whether one camera may stand in several places of a clip of this kind."""
    return (FORMATS[kind] if kind in FORMATS else format_of(kind)).repeats_views


def check_kind(kind: str) -> None:
    """Raises ValueError, with the nearest name, for a kind that nobody knows; imports nothing."""
    if kind not in FORMATS and kind not in (names := kinds()):
        raise ValueError(f"{kind!r} is no kind of data set{nearest(kind, names)} ({', '.join(names)})")


def format_of(kind: str) -> Format:
    """The format that runs call `kind`. Raises DwmError, with the nearest name, for one that nobody knows."""
    try:
        check_kind(kind)
    except ValueError as error:
        raise DwmError(str(error)) from None
    line = FORMATS.get(kind)
    if line is None or not can_be_read(line):
        line = _installed(kind) or line
    if line is None:
        raise DwmError(
            f"data sets of kind {kind} cannot be read: what an installed package offers for them does not import"
        )
    return line


def kinds(readable: bool = False) -> tuple[str, ...]:
    """What runs may call data sets; `readable`: those that can be read today."""
    installed = _entry_points()
    lines = {kind: can_be_read(line) or kind in installed for kind, line in FORMATS.items()}
    return tuple(kind for kind, can in (lines | dict.fromkeys(installed, True)).items() if can or not readable)


def open_dataset(
    path: Paths,
    version: str | None = None,
    split: Split = None,
    options: ReadOptions = ReadOptions(),
    endpoint: str | None = None,
) -> Dataset:
    """A folder, a folder of archives, or a list of archives, as paths or URLs; or the name of what is drawn (`town:seed=7`).

    `version` is the folder of the tables, where there are several (None: the one to prefer). `split` is an official name, a
    file of scene names or a list of them (None: all scenes that are whole). `endpoint` is the address of an S3 service other
    than Amazon's. Raises DwmError for what nobody recognises, naming what was looked for.
    """
    format_and_values = _drawn_format(path)
    if format_and_values is not None:
        line, settings = format_and_values
        if version is not None or split is not None:
            raise DwmError(f"{path}: is drawn, and has no version and no split; leave them out")
        assert line.draw is not None
        return line.draw(settings, options)
    tree = open_tree(path, endpoint)
    line = recognised(tree)
    if version is None and isinstance(split, str) and (folder := line.folders_of_splits.get(split)) in tree.folders():
        version = folder
    if line.open is not None:
        return line.open(tree, version, split, options)
    assert line.tables is not None
    return open_tables(line.tables(tree, version), split, options)


def open_scene_tables(path: Paths, version: str | None = None) -> SceneTables:
    """The tables of a data set that is made of some. Raises DwmError for what has none."""
    if (format_and_values := _drawn_format(path)) is not None:
        raise DwmError(
            f"{path}: is drawn, and has no tables; write it first: dwm {format_and_values[0].kind} -o FOLDER"
        )
    tree = open_tree(path)
    if (source := _source(tree, version)) is None:
        raise DwmError(f"{tree.where}: is {recognised(tree).title}, which has no tables that this could be made of")
    return source


@dataclass(frozen=True)
class Indexed:
    """What a data set holds, as its index says; `folder` is where that is kept, where it is."""

    format: str
    version: str
    scenes: int
    frames: int
    boxes: int
    folder: Path | None = None


def index_dataset(path: Paths, version: str | None = None) -> Indexed:
    """Reads what a data set's files say of its frames, once, and keeps it. Raises DwmError for what does not open."""
    source = None if _drawn_format(path) else _source(open_tree(path), version)
    if source is None:
        report = open_dataset(path, version, None, ReadOptions(maps=False, missing_captions="empty")).check()
        return Indexed(report.format or report.version, report.version, report.scenes, report.frames, report.boxes)
    index = open_index(source)
    scenes = sum(index.scenes["complete"].to_pylist())
    return Indexed(source.title, source.version, scenes, len(index.frames), len(index.boxes), index.folder)


def check_dataset(
    path: Paths, version: str | None = None, read_files: bool = False, key_frames_only: bool = False
) -> Checked:
    """Walks a data set, be it one that does not open. With `read_files` every picture and sweep is decoded, else they need only
    be there (`key_frames_only`: those of key frames)."""
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            source = None if _drawn_format(path) else _source(open_tree(path), version)
        if source is None:
            options = ReadOptions(maps=False, key_frames_only=key_frames_only)
            return open_dataset(path, version, None, options).check(read_files)
    except DwmError as error:
        return Checked(version or "?", 0, 0, 0, (Finding("cannot be opened", 1, str(error)),))
    checked = check_tables(source, read_files, key_frames_only)
    archives = tuple(Finding("archives", 1, str(note.message), False) for note in notes)
    return replace(checked, findings=(*archives, *checked.findings))


def _source(tree: Tree, version: str | None) -> SceneTables | None:
    """The tables of a data set, be they such that they do not open; None where it has none."""
    line = recognised(tree)
    return None if line.tables is None else line.tables(tree, version)


def recognised(tree: Tree) -> Format:
    """The format of what lies in a tree: the first line that knows it. Raises DwmError naming what was looked for."""
    for line in FORMATS.values():
        if can_be_read(line) and line.recognise(tree):
            return line
    others = [line for kind in _entry_points() if (line := _installed(kind)) is not None]
    for line in others:
        if line.recognise(tree):
            return line
    signs = [line.sign for line in (*FORMATS.values(), *others) if line.sign]
    raise DwmError(
        f"{tree.where}: holds no {' and no '.join(dict.fromkeys(signs))}; "
        f"{_elsewhere(tree) or 'is v1.0-…_meta.zip missing?'}"
    )


def drawn_name(kind: str, **settings: int) -> str:
    """How `open_dataset` is asked for what is drawn."""
    return f"{kind}:{','.join(f'{key}={value}' for key, value in settings.items())}"


def _drawn_format(path: Paths) -> tuple[Format, dict[str, str]] | None:
    """The drawn world that a name stands for, with its settings; None for a path."""
    match = NAME.fullmatch(path) if isinstance(path, str) else None
    is_known = match is not None and (match[1] in FORMATS or match[1] in _entry_points())
    if match is None or not is_known or Path(match[0]).exists():
        return None
    line = format_of(match[1])
    if not line.is_drawn:
        return None
    if line.draw is None:
        raise DwmError(f"{path}: {line.title} is not installed whole; install the package again")
    pairs = [part.partition("=") for part in match[2].split(",") if part]
    if bad := next((key for key, equals, _ in pairs if not equals), None):
        raise DwmError(f"{path}: {bad} is no setting; write {line.kind}:key=value,…")
    return line, {key: value for key, _, value in pairs}


@cache
def _entry_points() -> dict[str, metadata.EntryPoint]:
    """What installed packages offer, by kind; nothing is imported. The working folder is the user's: what lies there is data."""
    working_folder = os.getcwd()
    folders = [folder for folder in sys.path if folder and os.path.abspath(folder) != working_folder]
    return {
        point.name: point
        for distribution in metadata.distributions(path=folders)
        for point in distribution.entry_points
        if point.group == GROUP
    }


def _installed(kind: str) -> Format | None:
    """The format of that kind of an installed package; None where none has it, or where it cannot be imported (with a warning)."""
    point = _entry_points().get(kind)
    if point is None:
        return None
    try:
        line = point.load()
    except ImportError as error:
        warnings.warn(f"data sets of kind {kind} cannot be read: {point.value} does not import ({error})", stacklevel=2)
        return None
    if not isinstance(line, Format) or line.kind != kind:
        raise DwmError(f"{GROUP}: {point.value} is no Format of the kind {kind}; repair or remove the package")
    return register(line)


def _elsewhere(tree: Tree) -> str:
    """Where a data set lies around or below a folder without one, as advice; empty where nowhere."""
    if not isinstance(tree.beside, Path) or not tree.beside.is_dir():
        return ""
    beside = Path(os.path.realpath(tree.beside))
    below = sorted(child for child in beside.iterdir() if child.is_dir() and child.name[0] != ".")
    close = [*below, *list(beside.parents)[:2]]
    patterns = [pattern for line in FORMATS.values() for pattern in line.patterns]
    other = next((folder for folder in close if any(next(folder.glob(part), None) for part in patterns)), None)
    return "" if other is None else f"a data set lies in {other}: give that folder"
