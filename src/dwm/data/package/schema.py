"""What a scene package consists of: `package.json` and seven Parquet tables, read here with their columns checked."""

from __future__ import annotations

import json
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError

from dwm.data.nuscenes.tables import checked
from dwm.data.package.parquet import read_parquet
from dwm.errors import DwmError
from dwm.options import Options
from dwm.storage import Tree, check_column
from dwm.strict_json import LFS, lfs_pointer, parse_json

MANIFEST = "package.json"
PACKAGE = "package"
"""The version under which a data set opens that is a package."""

TEXT, STAMP, WHOLE = pa.string(), pa.float64(), pa.int32()
VECTOR, QUATERNION = pa.list_(pa.float64(), 3), pa.list_(pa.float64(), 4)

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
"""Columns by table. Times are µs. Poses: `frames` world from ego, `sensors` ego from sensor; rotations are unit quaternions
(w, x, y, z). intrinsics: nine numbers by rows, empty for a LiDAR. Boxes: in the world; size is (length, width, height).
polygon: WKB in the world's x, y. An instant is a moment at which boxes are annotated; a frame belongs to one, and is
`annotated` where the instant's boxes hold for it."""

NAMES = {
    "scenes": {"name": True, "map": True},
    "sensors": {"name": False},
    "frames": {"file": False},
    "lanes": {"map": True},
}
"""Columns that become paths; true: of one part, without separators."""


class Manifest(Options):
    """`package.json`."""

    format: Literal["dwm scene package"] = Field("dwm scene package", description="says that this is one")
    version: Literal[1] = Field(1, description="of the format")
    name: str = Field("", description="what the package is called")
    source: str = Field("", description="where it comes from: a car, a data set and its version")
    licence: str = Field("", description="under which it may be used")


def manifest_schema() -> str:
    """The JSON Schema of `package.json`, as it stands in docs/scene-package.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Manifest.model_json_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def read_manifest(tree: Tree) -> Manifest:
    """The manifest. Raises DwmError for one of another format or version."""
    try:
        return Manifest.model_validate(parse_json(tree.read(MANIFEST), f"{tree.where}/{MANIFEST}", "write it again"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DwmError(
            f"{tree.where}/{MANIFEST}: {where}: {first['msg']}; is it a scene package of version 1?"
        ) from error


def read_package_table(tree: Tree, table: str) -> pa.Table:
    """One table with the columns of `SCHEMAS`, in one chunk. Raises DwmError naming the file and what is wrong."""
    name, schema = f"{table}.parquet", SCHEMAS[table]
    if not tree.exists(name) and table in ("boxes", "lanes", "captions"):
        return schema.empty_table()
    try:
        with tree.open(name) as file:
            if file.read(len(LFS)) == LFS:
                raise DwmError(f"{name}: {lfs_pointer()}")
            file.seek(0)
            content = read_parquet(file, name)
            content.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise DwmError(f"{name}: is no whole Parquet file ({first_line(error)}); write it again") from error
    lost = [column for column in schema.names if column not in content.column_names]
    if lost:
        raise DwmError(f"{name}: lacks the column {lost[0]}; a package's {table} have {', '.join(schema.names)}")
    try:
        plain = _without_nulls(name, content.select(schema.names).cast(schema).combine_chunks())
    except (pa.ArrowException, ValueError) as error:
        raise DwmError(f"{name}: a column is of the wrong type ({first_line(error)}); see the docs") from error
    for column, single in NAMES.get(table, {}).items():
        check_column(name, plain, column, "token" if "token" in schema.names else column, single)
    return checked(name, plain)


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


def _without_nulls(name: str, table: pa.Table) -> pa.Table:
    """The same table with nulls as what they stand for. Raises DwmError for one that stands for nothing."""
    for place, field in enumerate(table.schema):
        column = table[field.name]
        nothing = (
            ""
            if name == "captions.parquet" and field.name not in ("scene", "sensor", "at")
            else NOTHING.get(field.name)
        )
        if not column.null_count:
            continue
        if nothing is None:
            row = pc.index(pc.is_null(column), True).as_py()
            token = table["token"][row] if "token" in table.column_names else row
            raise DwmError(f"{name}: row {token}: {field.name} is null; write the package again")
        values = [nothing if value is None else value for value in column.to_pylist()]
        table = table.set_column(place, field, pa.array(values, field.type))
    return table


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
