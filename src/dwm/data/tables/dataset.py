"""A data set that is made of tables: its scenes, the windows and clips that are cut from them, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from dwm.clip import Clip
from dwm.data.captions import CaptionFiles
from dwm.data.dataset import Checked, ReadOptions, few, scene_called
from dwm.data.splits import SPLITS, Split, scene_names
from dwm.data.tables.check import check_tables
from dwm.data.tables.index import Index, open_index
from dwm.data.tables.indexed import IndexedTables
from dwm.data.tables.presence import with_pictures
from dwm.data.tables.scene import TableScene, Window
from dwm.data.tables.scene_tables import SceneTables
from dwm.errors import DwmError


@dataclass(frozen=True)
class TableDataset:
    """A `Dataset` over `SceneTables`. numbers: the scenes that are open, by their row in the index."""

    tables: IndexedTables
    numbers: tuple[int, ...]

    @property
    def index(self) -> Index:
        return self.tables.index

    @property
    def version(self) -> str:
        return self.tables.source.version

    @property
    def label(self) -> str:
        return self.tables.source.label

    @property
    def caption_keys(self) -> CaptionFiles:
        return self.tables.source.caption_files("", {}, {})

    @property
    def where(self) -> str:
        return self.tables.tree.where

    @cached_property
    def scenes(self) -> tuple[TableScene, ...]:
        return tuple(TableScene(self.tables, number) for number in self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[TableScene]:
        return iter(self.scenes)

    def __getitem__(self, name: str | int) -> TableScene:
        """A scene by its name, token or number."""
        open_names = {scene.name for scene in self.scenes}
        if isinstance(name, str) and name not in open_names and name in self.index.scenes["name"].to_pylist():
            why = f"another split's, or without all its samples in {self.version}"
            raise DwmError(f"{self.where}: {name} is in {self.tables.source.called('scene')} but not open: {why}")
        return scene_called(self.scenes, name, self.where)

    def windows(self, length: int, fps: float, stride: float, check: bool = True) -> list[Window]:
        """All windows of `length` frames of all scenes; fps and stride as in `frame_windows`."""
        return [window for scene in self.scenes for window in scene.windows(length, fps, stride, check=check)]

    def with_pictures(self, windows: Sequence[Window]) -> list[Window]:
        return with_pictures(self.tables, windows)

    def clip(self, window: Window) -> Clip:
        """A window of any of the scenes as a clip."""
        return TableScene(self.tables, window.scene).window(window)

    def check(self, files: bool = False) -> Checked:
        return check_tables(self.tables.source, files, self.tables.options.key_frames_only)

    def describe(self) -> str:
        return f"{self.where}: {self.tables.source.title}, {len(self)} scenes"

    def digest(self) -> str:
        return self.index.digest()


def open_tables(source: SceneTables, split: Split = None, options: ReadOptions = ReadOptions()) -> TableDataset:
    """The scenes of a split (None: all that are whole). Raises DwmError for broken tables, and where there are no scenes."""
    index = open_index(source)
    captions = tuple(source.captions(options.captions))
    tables = IndexedTables(source, index, options, captions)
    return TableDataset(tables, _numbers(source, index, split))


def _numbers(source: SceneTables, index: Index, split: Split) -> tuple[int, ...]:
    where, version, own = source.tree.where, source.version, source.splits
    names, complete = index.scenes["name"].to_pylist(), index.scenes["complete"].to_pylist()
    names_of_split = set(names) if split is None else scene_names(split, set(names), own)
    numbers = tuple(i for i, name in enumerate(names) if name in names_of_split and complete[i])
    broken = [name for i, name in enumerate(names) if name in names_of_split and not complete[i]]
    if split is not None and broken:
        raise DwmError(
            f"{where}: {version}/sample.json lacks samples of {len(broken)} scenes of split {split} ({few(broken)}); "
            "the tables were made for another split"
        )
    if not numbers and broken:
        raise DwmError(
            f"{where}: {version}/sample.json lacks samples of all its scenes ({few(broken)}); fetch it again"
        )
    if not numbers:
        raise DwmError(
            f"{where}: {version} holds no scene of split {split} (it holds {few(names)}); "
            f"splits: {', '.join(SPLITS if own is None else own)}, or a file of scene names"
        )
    return numbers
