"""A nuScenes data set: finds its version, maps and captions in a tree, and gives its scenes. Draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from pydantic import Field

from dwm.clip import Boxes, Caption, Clip, LaneMap
from dwm.conventions import NUSCENES_VIEWS
from dwm.data.captions import CaptionFiles, Missing, find_caption_files, read_caption_files
from dwm.data.nuscenes.index import Index, open_index
from dwm.data.nuscenes.interpolate import REPEATS
from dwm.data.nuscenes.maps import read_map
from dwm.data.nuscenes.motion import between_rotations
from dwm.data.nuscenes.scene import Scene, Window
from dwm.data.nuscenes.splits import SPLITS, scene_names
from dwm.data.nuscenes.tables import numbers, vectors
from dwm.data.package.schema import MANIFEST, PACKAGE
from dwm.errors import DwmError, nearest
from dwm.geometry import rotation_from_quaternion
from dwm.options import Options
from dwm.storage import Files, Tree, open_tree

PREFERRED = ("interp_12Hz_trainval", "v1.0-trainval", "v1.0-mini", "v1.0-test")
"""Of several versions in one folder: boxes on every frame first, then the larger; those whose pictures repeat come last."""


class ReadOptions(Options):
    """What is read of a nuScenes data set."""

    views: tuple[str, ...] = Field(NUSCENES_VIEWS, description="cameras, in the order in which a network sees them")
    lidar: bool = Field(True, description="whether the LiDAR, where there is one, is read and drives the clock")
    maps: bool = Field(True, description="whether maps are read; without one of them, reading fails")
    key_frames_only: bool = Field(False, description="whether sweeps between key frames are left out")
    boxes_between: bool = Field(
        True, description="whether frames between two annotated moments have interpolated boxes; else they have none"
    )
    exact_pictures: bool = Field(False, description="whether JPEGs are decoded at full size before resizing")
    captions: tuple[str, str] | None = Field(
        None, description="caption file and times file: paths or URLs; none: by their names in the tree"
    )
    missing_captions: Missing = Field("error", description="what a camera without captions reads")


@dataclass(frozen=True)
class _Columns:
    """Views of the index's number columns, so that slicing them makes no objects."""

    timestamp: Float[np.ndarray, "n"]
    key: Bool[np.ndarray, "n"]
    calibration: Int[np.ndarray, "n"]
    sample: Int[np.ndarray, "n"]
    width: Int[np.ndarray, "n"]
    height: Int[np.ndarray, "n"]
    translation: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 4"]


@dataclass(frozen=True)
class Dataset:
    """Scenes of one version of nuScenes. Picklable, and safe to use in forked or spawned workers."""

    tree: Tree
    version: str
    index: Index
    numbers: tuple[int, ...]
    options: ReadOptions = field(default_factory=ReadOptions)
    captions: tuple[CaptionFiles, ...] = ()

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        return tuple(Scene(self, number) for number in self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Scene]:
        return iter(self.scenes)

    def __getitem__(self, name: str) -> Scene:
        """A scene by its name (or token)."""
        for scene in self.scenes:
            if name in (scene.name, scene.token):
                return scene
        names = [scene.name for scene in self.scenes]
        if name in self.index.scenes["name"].to_pylist():
            why = "another split's, or without all its samples in sample.json"
            raise DwmError(f"{self.tree.where}: {name} is in {self.version}/scene.json but not open: {why}")
        raise DwmError(
            f"{self.tree.where}: has no scene {name}{nearest(name, names)} ({len(names)} scenes: {_few(names)})"
        )

    def windows(self, length: int, fps: float, stride: float, check: bool = True) -> list[Window]:
        """All windows of `length` frames of all scenes; fps and stride as in `frame_windows`."""
        return [window for scene in self.scenes for window in scene.windows(length, fps, stride, check=check)]

    def clip(self, window: Window) -> Clip:
        """A window of any of the scenes as a clip."""
        return Scene(self, window.scene).window(window)

    def map(self, location: str) -> LaneMap:
        """The map of a location, read once."""
        if location not in self._maps:
            self._maps[location] = read_map(self.tree, location)
        return self._maps[location]

    def boxes_of(self, sample: int) -> Boxes:
        """The boxes that were annotated at a sample, in the table's order."""
        part = self._annotated(sample)
        return self._as_boxes(part, vectors(part, "translation"), vectors(part, "rotation"))

    def boxes_between(self, before: int, after: int, share: float) -> Boxes:
        """The boxes of what is annotated at two samples, `share` of the way between them: sizes are the first one's."""
        first, last = self._annotated(before), self._annotated(after)
        place = {instance: row for row, instance in enumerate(numbers(last, "instance").tolist())}
        follows = [place.get(instance, -1) for instance in numbers(first, "instance").tolist()]
        stays = [row for row, other in enumerate(follows) if other >= 0]
        whole = pa.int64()  # an empty list has no type of its own
        first, last = first.take(pa.array(stays, whole)), last.take(pa.array([follows[row] for row in stays], whole))
        centres = (1 - share) * vectors(first, "translation") + share * vectors(last, "translation")
        turned = between_rotations(vectors(first, "rotation"), vectors(last, "rotation"), np.array([share]))
        return self._as_boxes(first, centres, turned[:, 0])

    def _annotated(self, sample: int) -> pa.Table:
        start, stop = (self.index.samples[name][int(sample)].as_py() for name in ("start", "stop"))
        return self.index.boxes.slice(start, stop - start).combine_chunks()

    def _as_boxes(
        self, part: pa.Table, centres: Float[np.ndarray, "n 3"], quaternions: Float[np.ndarray, "n 4"]
    ) -> Boxes:
        names, instances = self.index.categories["name"], self.index.instances["token"]
        return Boxes(
            centres,
            vectors(part, "size")[:, [1, 0, 2]],
            rotation_from_quaternion(quaternions),
            tuple(names.take(part["category"]).to_pylist()),
            tuple(instances.take(part["instance"]).to_pylist()),
        )

    def caption(self, scene: Scene, view: str, stamp: float) -> Caption:
        """The caption of a picture, by the policy `missing_captions` where there is none."""
        strict = self.options.missing_captions == "error"
        for part in self.captions:
            if (found := part.at(scene.token, view, stamp, strict)) is not None:
                return found
        if strict:
            names = ", ".join(part.name for part in self.captions)
            raise DwmError(
                f"{names}: nothing about camera {view} of {scene.name} ({scene.token}|{view}); add it, or read with "
                "missing_captions=empty or =description"
            )
        return Caption(image_description=scene.description if self.options.missing_captions == "description" else "")

    @cached_property
    def columns(self) -> _Columns:
        frames = self.index.frames
        plain = {name: numbers(frames, name) for name in ("timestamp", "calibration", "sample", "width", "height")}
        key = numbers(frames, "key")
        return _Columns(
            key=key, translation=vectors(frames, "translation"), rotation=vectors(frames, "rotation"), **plain
        )

    @cached_property
    def _maps(self) -> dict[str, LaneMap]:
        return {}


def open_dataset(
    path: str | Path | Sequence[str | Path],
    version: str | None = None,
    split: str | Path | Iterable[str] | None = None,
    options: ReadOptions = ReadOptions(),
    endpoint: str | None = None,
) -> Dataset:
    """A nuScenes folder, a folder of its archives, or a list of archives; paths or URLs.

    `version` is the folder of the tables (None: the only one, or the first of `PREFERRED`). `split` is an official name, a
    file of scene names or a list of them (None: all scenes that are whole). `endpoint` is the address of an S3 service other
    than Amazon's.
    """
    tree = open_tree(path, endpoint)
    version = choose_version(tree, version)
    index = open_index(tree, version)
    captions = _named_captions(tree, options.captions) if options.captions else find_caption_files(tree, version)
    return Dataset(tree, version, index, _numbers(tree.where, version, index, split), options, tuple(captions))


def _named_captions(tree: Tree, names: tuple[str, str]) -> list[CaptionFiles]:
    """Files that were named are plain files: relative to the working folder, whatever the data set's tree holds."""
    for name in names:
        if "://" not in name and not Path(name).is_file():
            beside = Path(name).name
            hint = f"; {tree.where} holds a {beside}, which is read where no captions are named" * tree.exists(beside)
            raise DwmError(f"captions {name}: no such file (seen from {Path.cwd()}){hint}")
    return [read_caption_files(Files(names), *names)]


def choose_version(tree: Tree, version: str | None, recorded: bool = False) -> str:
    """The folder of the tables; with `recorded`, of those that were not interpolated. Raises DwmError naming what is there."""
    found = sorted(name for name in tree.folders() if tree.exists(f"{name}/scene.json"))
    if not found and tree.exists(MANIFEST):
        return PACKAGE
    if not found:
        raise DwmError(
            f"{tree.where}: holds no nuScenes tables (a folder such as v1.0-mini with scene.json) and no {MANIFEST}; "
            f"{_elsewhere(tree) or 'is v1.0-…_meta.zip missing?'}"
        )
    if version is None:
        choice = [name for name in found if not (recorded and name.startswith("interp_"))] or found
        choice = [name for name in choice if not tree.exists(f"{name}/{REPEATS}")] or choice
        return next((name for name in PREFERRED if name in choice), choice[0])
    if version not in found:
        raise DwmError(f"{tree.where}: holds no version {version}; found {', '.join(found)}{nearest(version, found)}")
    return version


def _elsewhere(tree: Tree) -> str:
    """Where a data set lies around or below a folder without one, as advice; empty where nowhere."""
    if not isinstance(tree.beside, Path) or not tree.beside.is_dir():
        return ""
    here = tree.beside.resolve()
    below = sorted(child for child in here.iterdir() if child.is_dir() and child.name[0] != ".")
    close = [*below, *list(here.parents)[:2]]
    place = next((folder for folder in close if _holds_a_set(folder)), None)
    return "" if place is None else f"a data set lies in {place}: give that folder"


def _holds_a_set(folder: Path) -> bool:
    """Tables, a package, or archives with nuScenes' names. Looks at names only."""
    return any(next(folder.glob(pattern), None) for pattern in ("*/scene.json", MANIFEST, "v1.0-*.zip", "v1.0-*.tar"))


def _numbers(where: str, version: str, index: Index, split: str | Path | Iterable[str] | None) -> tuple[int, ...]:
    names, complete = index.scenes["name"].to_pylist(), index.scenes["complete"].to_pylist()
    wanted = set(names) if split is None else scene_names(split, set(names))
    numbers = tuple(i for i, name in enumerate(names) if name in wanted and complete[i])
    broken = [name for i, name in enumerate(names) if name in wanted and not complete[i]]
    if split is not None and broken:
        raise DwmError(
            f"{where}: {version}/sample.json lacks samples of {len(broken)} scenes of split {split} ({_few(broken)}); "
            "the tables were made for another split"
        )
    if not numbers and broken:
        raise DwmError(
            f"{where}: {version}/sample.json lacks samples of all its scenes ({_few(broken)}); fetch it again"
        )
    if not numbers:
        raise DwmError(
            f"{where}: {version} holds no scene of split {split} (it holds {_few(names)}); "
            f"splits: {', '.join(SPLITS)}, or a file of scene names"
        )
    return numbers


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
