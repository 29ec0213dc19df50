"""The map expansion (v1.3 JSON) of a location → `LaneMap`: the three layers that layouts show. Draws nothing."""

from __future__ import annotations

import json
import warnings
from typing import Any

from shapely import GEOSException, Polygon, from_wkb

from dwm.clip import MAP_LAYERS, LaneMap
from dwm.data.package.schema import read_package_table
from dwm.errors import DwmError
from dwm.storage import Tree

VERSION = (1, 3)
NUSCENES_PLACES = ("singapore-onenorth", "singapore-hollandvillage", "singapore-queenstown", "boston-seaport")
FOLDERS = ("expansion", "maps/expansion")
"""Where the map archive's own layout, and the devkit's, put the files."""


def read_map(tree: Tree, location: str) -> LaneMap:
    """The lanes, drivable areas and crossings of a location. Raises DwmError where there is no file for it or it is damaged."""
    if tree.exists("lanes.parquet"):
        return _package_map(tree, location)
    name = next((name for folder in FOLDERS if tree.exists(name := f"{folder}/{location}.json")), None)
    if name is None:
        raise DwmError(
            f"{tree.where}: no map of {location} ({FOLDERS[0]}/{location}.json or {FOLDERS[1]}/{location}.json); "
            "put nuScenes-map-expansion-v1.3.zip beside the other archives, or read without maps"
        )
    try:
        content = json.loads(tree.read(name))
        _check_version(name, location, content)
        return _layers(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DwmError(f"{name}: is no whole JSON file ({error}); fetch it again") from error
    except (KeyError, TypeError) as error:
        raise DwmError(f"{name}: {error} is missing or of the wrong kind; is this map expansion v1.3?") from error


def _check_version(name: str, location: str, content: dict[str, Any]) -> None:
    """Raises DwmError for an outdated map of nuScenes' own places; warns of another map that does not say its version."""
    found = str(content.get("version", ""))
    numbers = tuple(int(part) for part in found.split(".") if part.isdecimal())
    if numbers >= VERSION:
        return
    told = f"{name}: is of version {found}" if found else f"{name}: has no version, as map expansion 1.0 had none"
    if location in NUSCENES_PLACES:
        raise DwmError(f"{told}: nuScenes has corrected its maps since; fetch nuScenes-map-expansion-v1.3.zip")
    wanted = ".".join(map(str, VERSION))
    warnings.warn(
        f'{told}; read as {wanted}: if it is a map of your own, write "version": "{wanted}" into it', stacklevel=3
    )


def _layers(content: dict[str, Any]) -> LaneMap:
    nodes = {row["token"]: (row["x"], row["y"]) for row in content["node"]}
    polygons = {row["token"]: row for row in content["polygon"]}

    def shape(token: str) -> Polygon:
        row = polygons[token]
        shell = [nodes[node] for node in row["exterior_node_tokens"]]
        return Polygon(shell, [[nodes[node] for node in hole["node_tokens"]] for hole in row["holes"]])

    layers = {}
    for layer in MAP_LAYERS:
        tokens = [
            token
            for row in content.get(layer, ())
            for token in (row["polygon_tokens"] if "polygon_tokens" in row else [row["polygon_token"]])
        ]
        layers[layer] = tuple(shape(token) for token in tokens)
    return LaneMap(layers)


def _package_map(tree: Tree, location: str) -> LaneMap:
    """A map of a scene package; a scene may have none."""
    rows = read_package_table(tree, "lanes").to_pylist()
    if location and not any(row["map"] == location for row in rows):
        raise DwmError(f"{tree.where}: lanes.parquet has no map {location}, which scenes.parquet names")
    try:
        found = [(row["layer"], from_wkb(row["polygon"])) for row in rows if row["map"] == location]
    except GEOSException as error:
        raise DwmError(f"{tree.where}: lanes.parquet: map {location}: a polygon is no WKB ({error})") from error
    return LaneMap({layer: tuple(polygon for name, polygon in found if name == layer) for layer in MAP_LAYERS})
