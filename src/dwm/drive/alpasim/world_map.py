"""The map of an AlpaSim session: lanes, road boundaries and crosswalks of a zip of ClipGT's Parquet tables, as a `LaneMap`."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from shapely.geometry import LineString, Polygon

from dwm.clip import LaneMap
from dwm.data.tables.parquet import declared, read_parquet
from dwm.errors import DwmError

FIELD = "static_world_map.hdmap_parquets"
MOST_MEMBERS = 256
MOST_BYTES = 64 << 20
"""Of one table, unpacked."""
MOST_POINTS = 2_000_000
READ = ("lane", "road_boundary", "crosswalk")


def read_map(data: bytes) -> LaneMap | None:
    """The map in the frame of the session's trajectories, metres with heights; None where there are no bytes.

    Raises DwmError for what is no zip of such tables, and for one that is larger than a street needs.
    """
    if not data:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            tables = _tables(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DwmError(f"{FIELD}: is no whole zip ({error})") from None
    lanes = [_line(row, "left_rail") + _line(row, "right_rail")[::-1] for row in tables.get("lane", ())]
    edges = [_line(row, "location") for row in tables.get("road_boundary", ())]
    crossings = [_line(row, "location") for row in tables.get("crosswalk", ())]
    if sum(map(len, lanes)) + sum(map(len, edges)) + sum(map(len, crossings)) > MOST_POINTS:
        raise DwmError(f"{FIELD}: has more than {MOST_POINTS:,} points; send the streets around the drive")
    return LaneMap(
        {
            "lane": tuple(Polygon(points) for points in lanes if len(points) > 2),
            "drivable_area": tuple(LineString(points) for points in edges if len(points) > 1),
            "ped_crossing": tuple(Polygon(points) for points in crossings if len(points) > 2),
        }
    )


def _tables(archive: zipfile.ZipFile) -> dict[str, list[dict[str, Any]]]:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise DwmError(f"{FIELD}: has {len(members)} members; {MOST_MEMBERS} at most")
    tables: dict[str, list[dict[str, Any]]] = {}
    for member in members:
        # CLIP.lane.parquet or lane.parquet: the last name counts.
        name = member.filename.removesuffix(".parquet").rpartition(".")[2].rpartition("/")[2]
        if name not in READ or not member.filename.endswith(".parquet"):
            continue
        if name in tables:
            raise DwmError(f"{FIELD}: has two tables {name}")
        if member.file_size > MOST_BYTES:
            raise DwmError(f"{FIELD}: {name} has {member.file_size:,} bytes; {MOST_BYTES:,} at most")
        with archive.open(member) as stream:
            content = stream.read(MOST_BYTES + 1)
        tables[name] = _rows(content, name)
    if not tables:
        raise DwmError(f"{FIELD}: has none of the tables {', '.join(READ)}")
    return tables


def _rows(content: bytes, name: str) -> list[dict[str, Any]]:
    where = f"{FIELD} {name}"
    try:
        if (size := declared(pq.ParquetFile(io.BytesIO(content)).metadata)) > MOST_BYTES:
            raise DwmError(f"{where}: has {size:,} bytes unpacked; {MOST_BYTES:,} at most")
        column = read_parquet(io.BytesIO(content), where, [name]).column(name)
    except (pa.ArrowException, OSError) as error:
        raise DwmError(f"{where}: is no Parquet table ({str(error)[:120]})") from None
    if not pa.types.is_struct(column.type):
        raise DwmError(f"{where}: its column {name} is no struct")
    return [row for row in column.to_pylist() if row is not None]


def _line(row: dict[str, Any], field: str) -> list[tuple[float, float, float]]:
    """The points of a polyline of structs x, y, z. Raises DwmError for what is none."""
    points = row.get(field)
    if points is None:
        return []
    if not isinstance(points, Sequence) or not all(isinstance(point, dict) for point in points):
        raise DwmError(f"{FIELD}: {field} is no list of points x, y, z")
    try:
        values = np.array([[point["x"], point["y"], point["z"]] for point in points], float).reshape(-1, 3)
    except (KeyError, TypeError, ValueError):
        raise DwmError(f"{FIELD}: {field} is no list of points x, y, z") from None
    if not np.isfinite(values).all():
        raise DwmError(f"{FIELD}: {field} has numbers that are not finite")
    return [tuple(point) for point in values.tolist()]
