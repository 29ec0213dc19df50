"""A nuScenes data set: finds its version in a tree, and fills the scene tables from its JSON tables, maps and caption files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from dwm.clip import LaneMap
from dwm.data.captions import CaptionFiles, find_caption_files, named_caption_files
from dwm.data.dataset import Finding
from dwm.data.nuscenes.check import lost_rows, table_faults
from dwm.data.nuscenes.interpolate import REPEATS
from dwm.data.nuscenes.maps import read_map
from dwm.data.nuscenes.neutral import neutral_tables
from dwm.data.nuscenes.tables import read_table
from dwm.data.splits import Split
from dwm.data.tables.columns import TEXT
from dwm.data.tables.relations import RELATIONS
from dwm.data.tables.scene_tables import Read, SceneTables
from dwm.errors import DwmError, nearest
from dwm.storage import Tree

PREFERRED = ("interp_12Hz_trainval", "v1.0-trainval", "v1.0-mini", "v1.0-test")
"""Of several versions in one folder: boxes on every frame first, then the larger; those whose pictures repeat come last."""
UNUSED = ("attribute", "visibility", "map")
"""Tables of which nothing is taken: they may be missing, but not be broken."""


@dataclass(frozen=True)
class NuScenesTables(SceneTables):
    """One version. Its own tables are what the index joins, and go in as they are; the neutral ones are made for conversion."""

    format = "nuScenes"
    label = ""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.called(table) for table in (*RELATIONS, *UNUSED))

    def called(self, name: str) -> str:
        return f"{self.version}/{name}.json"

    def table(self, name: str) -> pa.Table:
        return self.neutral()[name]

    def neutral(self, split: Split = None) -> dict[str, pa.Table]:
        return neutral_tables(self.tree, self.version, split)

    def relations(self) -> Read:
        for table in UNUSED:
            if self.tree.exists(self.called(table)):
                read_table(self.tree, self.version, table, pa.schema({"token": TEXT}))
        return partial(read_table, self.tree, self.version)

    def map(self, name: str) -> LaneMap:
        return read_map(self.tree, name)

    def captions(self, named: tuple[str, str] | None = None) -> list[CaptionFiles]:
        return named_caption_files(self.tree, named) if named else find_caption_files(self.tree, self.version)

    def faults(self) -> list[Finding]:
        return table_faults(self.tree, self.version)

    def lost_rows(self) -> Iterator[Finding]:
        return lost_rows(self.tree, self.version)


def versions(tree: Tree) -> list[str]:
    """The folders of tables in a tree."""
    return sorted(name for name in tree.folders() if tree.exists(f"{name}/scene.json"))


def choose_version(tree: Tree, version: str | None, recorded: bool = False) -> str:
    """The folder of the tables; with `recorded`, of those that were not interpolated. Raises DwmError naming what is there."""
    there = versions(tree)
    if version is not None and version in there:
        return version
    if version is not None or not there:
        raise DwmError(
            f"{tree.where}: holds no version {version}; found {', '.join(there)}{nearest(version, there)}"
            if version is not None and there
            else f"{tree.where}: holds no nuScenes tables (a folder such as v1.0-mini with scene.json)"
        )
    choice = [name for name in there if not (recorded and name.startswith("interp_"))] or there
    choice = [name for name in choice if not tree.exists(f"{name}/{REPEATS}")] or choice
    return next((name for name in PREFERRED if name in choice), choice[0])
