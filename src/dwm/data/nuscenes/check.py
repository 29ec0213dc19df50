"""What is broken in nuScenes' tables themselves: each one alone, then the links between them. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from dwm.data.dataset import Finding
from dwm.data.nuscenes.tables import read_table
from dwm.data.tables.columns import TEXT
from dwm.data.tables.relations import RELATIONS
from dwm.errors import DwmError
from dwm.storage import Tree

LINKS = (
    ("scene", "log_token", "log"),
    ("sample", "scene_token", "scene"),
    ("sample_data", "sample_token", "sample"),
    ("sample_data", "ego_pose_token", "ego_pose"),
    ("sample_data", "calibrated_sensor_token", "calibrated_sensor"),
    ("calibrated_sensor", "sensor_token", "sensor"),
    ("sample_annotation", "sample_token", "sample"),
    ("sample_annotation", "instance_token", "instance"),
    ("instance", "category_token", "category"),
)
UNCHECKED = (LINKS[2], LINKS[6])
"""Links that opening a set does not follow: rows of samples that are not there are left out, as in sets of one split."""


def table_faults(tree: Tree, version: str) -> list[Finding]:
    """The first fault of every table, then the broken links between the tables that are whole: what keeps a set from opening."""
    whole, findings = {}, []
    for name in RELATIONS:
        try:
            whole[name] = read_table(tree, version, name)
        except DwmError as error:
            findings.append(Finding(f"table {name}", 1, str(error)))
    return findings + list(_broken(version, whole, LINKS))


def lost_rows(tree: Tree, version: str) -> Iterator[Finding]:
    """Rows of a set that opens which belong to no sample, so that nothing shows them."""
    tables = {"sample": read_table(tree, version, "sample", pa.schema({"token": TEXT}))}
    for name, field, _ in UNCHECKED:
        tables[name] = read_table(tree, version, name, pa.schema({"token": TEXT, field: TEXT}))
    yield from _broken(version, tables, UNCHECKED)


def _broken(version: str, tables: dict[str, pa.Table], links: tuple[tuple[str, str, str], ...]) -> Iterator[Finding]:
    for name, field, target in links:
        if name not in tables or target not in tables:
            continue
        is_broken = pc.invert(pc.is_in(tables[name][field], value_set=tables[target]["token"].combine_chunks()))
        rows = tables[name].filter(is_broken)
        if len(rows):
            example = f"row {rows['token'][0]}: {field} {rows[field][0]} is not in {target}.json"
            yield Finding(f"broken links {name}.{field}", len(rows), f"{version}/{name}.json: {example}")
