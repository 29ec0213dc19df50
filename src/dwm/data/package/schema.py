"""What a scene package consists of: `package.json` and the seven `SceneTables`, each a Parquet file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa
from pydantic import Field, ValidationError

from dwm.data.tables.parquet import read_parquet
from dwm.data.tables.scene_tables import MAY_LACK, SCHEMAS, Read, SceneTables, first_line
from dwm.errors import DwmError
from dwm.options import Options
from dwm.storage import Tree
from dwm.strict_json import LFS, lfs_pointer, parse_json

MANIFEST = "package.json"


class Manifest(Options):
    """`package.json`."""

    format: Literal["dwm scene package"] = Field("dwm scene package", description="says that this is one")
    version: Literal[1] = Field(1, description="of the format")
    name: str = Field("", description="what the package is called")
    source: str = Field("", description="where it comes from: a car, a data set and its version")
    licence: str = Field("", description="under which it may be used")
    views: tuple[str, ...] = Field(
        (), description="cameras that are taken where nobody names others, in their order around the car; none: all"
    )


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


@dataclass(frozen=True)
class PackageTables(SceneTables):
    """The tables of the package in a tree."""

    format = "scene package"
    version: str = "package"
    label = ""

    @cached_property
    def views(self) -> tuple[str, ...]:
        return read_manifest(self.tree).views

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.called(name) for name in SCHEMAS)

    def called(self, name: str) -> str:
        return f"{name}.parquet"

    def relations(self) -> Read:
        read_manifest(self.tree)
        return super().relations()

    def table(self, name: str) -> pa.Table | None:
        """Raises DwmError for a file that is cut or no table."""
        file_name = self.called(name)
        if not self.tree.exists(file_name) and name in MAY_LACK:
            return None
        try:
            with self.tree.open(file_name) as file:
                if file.read(len(LFS)) == LFS:
                    raise DwmError(f"{file_name}: {lfs_pointer()}")
                file.seek(0)
                content = read_parquet(file, file_name)
                content.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            raise DwmError(f"{file_name}: is no whole Parquet file ({first_line(error)}); write it again") from error
        return content
