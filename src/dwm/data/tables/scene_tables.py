"""`SceneTables`: what a format fills so that the rest of the house can read its sets: seven plain tables of any car's drives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from shapely import GEOSException, LineString, Polygon, from_wkb, get_coordinates

from dwm.clip import LaneMap
from dwm.conventions import CAPTION_KEYS, MAP_LAYERS
from dwm.data.captions import CaptionFiles, find_caption_files, named_caption_files
from dwm.data.dataset import Finding
from dwm.data.splits import Split, scene_names
from dwm.data.tables.columns import QUATERNION, STAMP, TEXT, VECTOR, WHOLE, checked
from dwm.data.tables.relations import RELATIONS, relations
from dwm.errors import DwmError
from dwm.storage import Tree, check_column

SCHEMAS: dict[str, pa.Schema] = {
    "scenes": pa.schema({"token": TEXT, "name": TEXT, "description": TEXT, "map": TEXT}),
    "sensors": pa.schema(
        {"token": TEXT, "name": TEXT, "kind": TEXT, "translation": VECTOR, "rotation": QUATERNION}
        | {"intrinsics": pa.list_(pa.float64())}
    ),
    "instants": pa.schema({"token": TEXT, "scene": TEXT, "time": STAMP}),
    "frames": pa.schema(
        {"token": TEXT, "sensor": TEXT, "instant": TEXT, "time": STAMP, "annotated": pa.bool_(), "file": TEXT}
        | {"width": WHOLE, "height": WHOLE, "translation": VECTOR, "rotation": QUATERNION}
    ),
    "boxes": pa.schema(
        {"token": TEXT, "instant": TEXT, "instance": TEXT, "category": TEXT, "translation": VECTOR, "size": VECTOR}
        | {"rotation": QUATERNION, "visibility": TEXT, "attributes": pa.list_(TEXT)}
        | {"lidar_points": WHOLE, "radar_points": WHOLE}
    ),
    "lanes": pa.schema({"map": TEXT, "layer": TEXT, "polygon": pa.binary()}),
    "captions": pa.schema(
        {"scene": TEXT, "sensor": TEXT, "at": pa.int64(), "time": TEXT, "weather": TEXT, "environment": TEXT}
        | {"objects": TEXT, "image_description": TEXT}
    ),
}
"""The seven tables and their columns. Times are µs. Poses: `frames` world from ego, `sensors` ego from sensor; rotations are
unit quaternions (w, x, y, z). intrinsics: nine numbers by rows, empty for a LiDAR. Boxes: in the world; size is (length, width,
height). polygon: WKB of a polygon or a line in the
world's x, y, with z where heights are known. An instant is a moment at which boxes are annotated; a frame belongs to one, and is
`annotated` where the instant's boxes hold for it."""

NAMES = {
    "scenes": {"name": True, "map": True},
    "sensors": {"name": False},
    "frames": {"file": False},
    "lanes": {"map": True},
}
"""Columns that become paths; true: of one part, without separators."""
NOTHING = {
    "description": "",
    "visibility": "",
    "attributes": [],
    "lidar_points": 0,
    "radar_points": 0,
    "intrinsics": [],
    "map": "",
}
"""What a null stands for in the columns that may have one; a caption's parts are left out by it."""

MAY_LACK = ("boxes", "lanes", "captions")
"""Tables that a data set may do without."""
FARTHEST = 1e8
"""Metres from the map's corner: beyond the earth sums of coordinates overflow."""
Read = Callable[[str], pa.Table]
"""One of `RELATIONS` by its name."""


@dataclass(frozen=True)
class SceneTables(ABC):
    """The tables of one data set. A format's own class says how they are filled; reading, checks and conversion follow from that.

    Picklable: workers get it. `format`, `version`, `files` and `table` are all that a format has to write.
    """

    format: ClassVar[str]
    """What it is, in words."""
    joined: ClassVar[tuple[str, ...]] = tuple(SCHEMAS)
    """The tables that are read, and checked, when the index is built."""
    caption_files: ClassVar[type[CaptionFiles]] = CaptionFiles
    """How its caption files name their keys."""
    tree: Tree
    """Where the files lie: the pictures and sweeps that `frames` names, and what the tables are made of."""
    version: str
    """One word, as several versions may lie in one folder; names what is kept of it."""

    @property
    @abstractmethod
    def files(self) -> Sequence[str]:
        """The files that the tables are made of: the index is built anew when one of them changes."""

    @abstractmethod
    def table(self, name: str) -> pa.Table | None:
        """One of `SCHEMAS`, with its columns in any order (None: the data set has none of `MAY_LACK`)."""

    @property
    def label(self) -> str:
        """As a `Dataset`'s."""
        return self.version

    @property
    def views(self) -> tuple[str, ...]:
        """Its cameras in the order in which they stand around the car; empty: as nuScenes', or as they come."""
        return ()

    @property
    def splits(self) -> Mapping[str, Collection[str]] | None:
        """The names of the scenes of each official split (None: as nuScenes has them)."""
        return None

    @property
    def title(self) -> str:
        """Format and version, in words."""
        return self.format if self.version in self.format else f"{self.format} {self.version}"

    def called(self, name: str) -> str:
        """A table as errors name it."""
        return f"{self.tree.where}: table {name}"

    def read(self, name: str) -> pa.Table:
        """The same, its columns checked, in one chunk. Raises DwmError naming the table, the row and what is wrong."""
        table = self.table(name)
        if table is None and name in MAY_LACK:
            return SCHEMAS[name].empty_table()
        if table is None:
            raise DwmError(f"{self.called(name)}: is missing")
        return _neutral(self.called(name), name, table)

    def neutral(self, split: Split = None) -> dict[str, pa.Table]:
        """All seven, of the scenes of a split."""
        tables = {name: self.read(name) for name in SCHEMAS}
        if split is None:
            return tables
        names = tables["scenes"]["name"]
        tables["scenes"] = _among(
            tables["scenes"], "name", pa.array(sorted(scene_names(split, names.to_pylist(), self.splits)), TEXT)
        )
        for name, column, of in (*BELONGS, ("sensors", "token", "frames"), ("lanes", "map", "scenes")):
            key = {"sensors": "sensor", "lanes": "map"}.get(name, "token")
            tables[name] = _among(tables[name], column, tables[of][key].combine_chunks())
        return tables

    def relations(self) -> Read:
        """The tables that the index joins."""
        tables = relations({name: self.read(name) for name in self.joined}, self.called)
        return lambda name: checked(
            f"{self.tree.where} ({name})",
            tables[name].select(RELATIONS[name].names).cast(RELATIONS[name]).combine_chunks(),
        )

    def map(self, name: str) -> LaneMap:
        """The map of that name; "" is none. Raises DwmError where it is not there or damaged."""
        where, rows = self.called("lanes"), self.read("lanes").to_pylist()
        if name and not any(row["map"] == name for row in rows):
            raise DwmError(f"{where} has no map {name}, which {self.called('scenes')} names")
        try:
            shapes = [(row["layer"], from_wkb(row["polygon"])) for row in rows if row["map"] == name]
        except GEOSException as error:
            raise DwmError(f"{where}: map {name}: a polygon is no WKB ({error})") from error
        for layer, shape in shapes:
            coordinates = get_coordinates(shape)
            fewest = {Polygon: 4, LineString: 2}.get(type(shape), FARTHEST)
            if not (np.abs(coordinates) < FARTHEST).all() or len(coordinates) < fewest:
                raise DwmError(f"{where}: map {name}: a {layer} is no polygon or line of finite metres; write it again")
        return LaneMap({layer: tuple(shape for name, shape in shapes if name == layer) for layer in MAP_LAYERS})

    def captions(self, named: tuple[str, str] | None = None) -> list[CaptionFiles]:
        """What is said of the pictures: by these two files, by its own table, or by files of the usual names."""
        if named:
            return named_caption_files(self.tree, named)
        captions, times = {}, {}
        for row in self.read("captions").to_pylist():
            key = f"{row['scene']}|{row['sensor']}"
            captions[f"{key}|{row['at']}"] = {part: row[part] for part in CAPTION_KEYS}
            times.setdefault(key, []).append(row["at"])
        if not captions:
            return find_caption_files(self.tree, self.version)
        return [
            CaptionFiles(self.called("captions"), captions, {name: sorted(stamps) for name, stamps in times.items()})
        ]

    def faults(self) -> list[Finding]:
        """The first fault of every table: what keeps a set from opening."""
        findings = []
        for name in SCHEMAS:
            try:
                self.read(name)
            except DwmError as error:
                findings.append(Finding(f"table {name}", 1, str(error)))
        return findings

    def lost_rows(self) -> Iterator[Finding]:
        """Rows of a set that opens which belong to nothing, so that nothing shows them."""
        return iter(())


BELONGS = (
    ("instants", "scene", "scenes"),
    ("frames", "instant", "instants"),
    ("boxes", "instant", "instants"),
    ("captions", "scene", "scenes"),
)
"""Table, column and the table whose tokens it names."""


def _among(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table[column], value_set=values)).combine_chunks()


def _neutral(name: str, kind: str, table: pa.Table) -> pa.Table:
    """A table with the columns of `SCHEMAS`, checked."""
    schema = SCHEMAS[kind]
    missing = [column for column in schema.names if column not in table.column_names]
    if missing:
        raise DwmError(f"{name}: lacks the column {missing[0]}; {kind} have {', '.join(schema.names)}")
    try:
        plain = _without_nulls(name, kind, table.select(schema.names).cast(schema).combine_chunks())
    except (pa.ArrowException, ValueError) as error:
        raise DwmError(f"{name}: a column is of the wrong type ({first_line(error)}); see the docs") from error
    for column, single in NAMES.get(kind, {}).items():
        check_column(name, plain, column, "token" if "token" in schema.names else column, single)
    return checked(name, plain)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _without_nulls(name: str, kind: str, table: pa.Table) -> pa.Table:
    """The same table with nulls as what they stand for. Raises DwmError for one that stands for nothing."""
    for index, field in enumerate(table.schema):
        column = table[field.name]
        nothing = "" if kind == "captions" and field.name not in ("scene", "sensor", "at") else NOTHING.get(field.name)
        if not column.null_count:
            continue
        if nothing is None:
            row = pc.index(pc.is_null(column), True).as_py()
            token = table["token"][row] if "token" in table.column_names else row
            raise DwmError(f"{name}: row {token}: {field.name} is null; write the table again")
        values = [nothing if value is None else value for value in column.to_pylist()]
        table = table.set_column(index, field, pa.array(values, field.type))
    return table
