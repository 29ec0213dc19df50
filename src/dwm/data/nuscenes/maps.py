"""The map expansion (v1.3 JSON) of a location → `LaneMap`: the three layers that layouts show. Draws nothing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from shapely import Polygon

from dwm.clip import LaneMap
from dwm.conventions import MAP_LAYERS
from dwm.data.tables.scene_tables import FARTHEST
from dwm.errors import DwmError
from dwm.storage import Tree, limits, plain_name
from dwm.strict_json import parse_json

NEWEST = (1, 3)
NUSCENES_PLACES = ("singapore-onenorth", "singapore-hollandvillage", "singapore-queenstown", "boston-seaport")
FOLDERS = ("expansion", "maps/expansion")
"""Where the map archive's own layout, and the devkit's, put the files."""
VERSION = "is this map expansion v1.3?"


def read_map(tree: Tree, location: str) -> LaneMap:
    """The lanes, drivable areas and crossings of a location. Raises DwmError where there is no file for it or it is damaged."""
    if location:
        plain_name(location, f"{tree.where}: map")
    name = next((name for folder in FOLDERS if tree.exists(name := f"{folder}/{location}.json")), None)
    if name is None:
        raise DwmError(
            f"{tree.where}: no map of {location} ({FOLDERS[0]}/{location}.json or {FOLDERS[1]}/{location}.json); "
            "put nuScenes-map-expansion-v1.3.zip beside the other archives, or read without maps"
        )
    content = parse_json(tree.read(name, limits.TEXT), name)
    _check_version(name, location, content)
    return _layers(name, content)


def _check_version(name: str, location: str, content: Any) -> None:
    """Raises DwmError for an outdated map of nuScenes' own places; warns of another map that does not say its version."""
    version_text = str(content.get("version", "")) if isinstance(content, dict) else ""
    numbers = tuple(int(part) for part in version_text[:20].split(".") if part.isascii() and part.isdecimal())
    if numbers >= NEWEST:
        return
    age = (
        f"{name}: is of version {version_text[:20]}"
        if version_text
        else f"{name}: has no version, as map expansion 1.0 had none"
    )
    if location in NUSCENES_PLACES:
        raise DwmError(f"{age}: nuScenes has corrected its maps since; fetch nuScenes-map-expansion-v1.3.zip")
    newest = ".".join(map(str, NEWEST))
    warnings.warn(
        f'{age}; read as {newest}: if it is a map of your own, write "version": "{newest}" into it', stacklevel=3
    )


def _layers(name: str, content: Any) -> LaneMap:
    rows = _Rows(name, content)
    nodes = _nodes(name, rows.of("node"))
    polygons = {row.token: row for row in rows.of("polygon")}

    def ring(row: _Row, tokens: Any) -> list[tuple[float, float]]:
        corners = _list(row, "nodes", tokens)
        for token in corners:
            if not isinstance(token, str) or token not in nodes:
                raise row.wrong(f"names the node {str(token)[:40]!r}, which is not in node")
        return [nodes[token] for token in corners]

    def shape(owner: _Row, token: Any) -> Polygon | None:
        row = polygons.get(token) if isinstance(token, str) else None
        if row is None:
            raise owner.wrong(f"names the polygon {str(token)[:40]!r}, which is not in polygon")
        shell = ring(row, row.field("exterior_node_tokens"))
        holes = [ring(row, _Row(name, row.table, hole).field("node_tokens")) for hole in row.list("holes")]
        if len(set(shell)) < 3:
            flat.append(row)
            return None
        return Polygon(shell, [hole for hole in holes if len(set(hole)) >= 3])

    layers, flat = {}, []
    for layer in MAP_LAYERS:
        tokens = [
            (row, token)
            for row in (rows.of(layer) if layer in content else ())
            for token in (
                row.list("polygon_tokens")
                if isinstance(row.values, dict) and "polygon_tokens" in row.values
                else [row.field("polygon_token")]
            )
        ]
        layers[layer] = tuple(geometry for row, token in tokens if (geometry := shape(row, token)) is not None)
    if flat:
        warnings.warn(
            f"{name}: {len(flat)} polygons have fewer than three different nodes ({flat[0].token}, …), so that there is "
            "nothing of them to draw; they are left out",
            stacklevel=2,
        )
    return LaneMap(layers)


@dataclass(frozen=True)
class _Row:
    """A row of a table of the map, told of by its token."""

    name: str
    table: str
    values: Any

    @property
    def token(self) -> str:
        return self.field("token", str)

    def field(self, key: str, kind: type | tuple[type, ...] = object) -> Any:
        if not isinstance(self.values, dict):
            raise DwmError(
                f"{self.name}: a row of {self.table} is {type(self.values).__name__}, not an object; {VERSION}"
            )
        if key not in self.values:
            raise self.wrong(f"lacks the field {key}")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(f"has a {key} of the wrong kind ({type(value).__name__})")
        return value

    def list(self, key: str) -> list[Any]:
        return _list(self, key, self.field(key))

    def wrong(self, text: str) -> DwmError:
        token = self.values.get("token") if isinstance(self.values, dict) else None
        return DwmError(f"{self.name}: {self.table} row {str(token)[:80]}: {text}; {VERSION}")


@dataclass(frozen=True)
class _Rows:
    name: str
    content: Any

    def of(self, table: str) -> list[_Row]:
        if not isinstance(self.content, dict) or not isinstance(self.content.get(table), list):
            raise DwmError(f"{self.name}: '{table}' is missing or no list; {VERSION}")
        return [_Row(self.name, table, values) for values in self.content[table]]


def _list(row: _Row, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise row.wrong(f"has {key} of the wrong kind ({type(value).__name__}), not a list")
    return value


def _nodes(name: str, rows: list[_Row]) -> dict[str, tuple[float, float]]:
    """Nodes by token, in metres."""
    nodes = {}
    for row in rows:
        xy = row.field("x", (int, float)), row.field("y", (int, float))
        if not (-FARTHEST < xy[0] < FARTHEST and -FARTHEST < xy[1] < FARTHEST):
            raise row.wrong("lies beyond the earth: x and y are in metres")
        nodes[row.token] = xy
    return nodes
