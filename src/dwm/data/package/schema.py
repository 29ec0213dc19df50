"""What a scene package consists of: `package.json` and seven Parquet tables, read here with their columns checked."""

from __future__ import annotations

import json
from typing import Literal

import pyarrow as pa
from pydantic import Field, ValidationError

from dwm.data.package.parquet import read_parquet
from dwm.errors import DwmError
from dwm.options import Options
from dwm.storage import Tree, check_column

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
        return Manifest.model_validate_json(tree.read(MANIFEST))
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
            content = read_parquet(file, name)
    except (pa.ArrowInvalid, OSError) as error:
        raise DwmError(f"{name}: is no whole Parquet file ({str(error).splitlines()[0]}); write it again") from error
    lost = [column for column in schema.names if column not in content.column_names]
    if lost:
        raise DwmError(f"{name}: lacks the column {lost[0]}; a package's {table} have {', '.join(schema.names)}")
    try:
        found = content.select(schema.names).cast(schema).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DwmError(f"{name}: a column is of the wrong type ({str(error).splitlines()[0]}); see the docs") from error
    for column, single in NAMES.get(table, {}).items():
        check_column(name, found, column, "token" if "token" in schema.names else column, single)
    return found
