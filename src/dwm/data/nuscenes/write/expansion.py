"""The nuScenes map expansion 1.3: its layers as records that share nodes, and its file. Knows no source of maps.

`MapRecords` of several scenes of one place are joined into one file. Every coordinate is in the place's frame (metres).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from shapely.geometry import LineString, Polygon

from dwm.clip import LaneMap
from dwm.data.nuscenes.write.archive import write_json
from dwm.data.nuscenes.write.names import Row, token

LAYERS = (
    "polygon",
    "line",
    "node",
    "drivable_area",
    "road_segment",
    "road_block",
    "lane",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "road_divider",
    "lane_divider",
    "traffic_light",
    "lane_connector",
)
ToMap = Callable[[Float[np.ndarray, "n 2"]], Float[np.ndarray, "n 2"]]
"""Moves points from a scene's local frame to the place's frame."""


@dataclass
class MapRecords:
    """Records of one scene, or of a whole map, by layer, and the two graphs by lane."""

    key: str
    to_map: ToMap
    layers: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in LAYERS})
    connectivity: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    arclines: dict[str, list[Row]] = field(default_factory=dict)
    nodes: dict[tuple[float, float], str] = field(default_factory=dict)
    digits: int | None = 3
    """Points of a scene that agree to so many digits of a metre are one node; None: only those that are equal."""

    def add(self, layer: str, **fields: Any) -> str:
        """A new record; returns its token."""
        name = token("map", self.key, layer, len(self.layers[layer]))
        self.layers[layer].append({"token": name, **fields})
        return name

    def node(self, x: float, y: float) -> str:
        """The node at a local point (one for all that meet there)."""
        at = (x, y) if self.digits is None else (round(x, self.digits), round(y, self.digits))
        if at not in self.nodes:
            placed = self.to_map(np.array([[x, y]]))[0]
            self.nodes[at] = self.add("node", x=float(placed[0]), y=float(placed[1]))
        return self.nodes[at]

    def line(self, points: Any) -> str:
        return self.add("line", node_tokens=[self.node(*p) for p in np.asarray(points)[:, :2].tolist()])

    def polygon(self, polygon: Polygon) -> str:
        def ring(coords: Any) -> list[str]:
            return [self.node(*p) for p in np.asarray(coords)[:-1, :2].tolist()]

        holes = [{"node_tokens": ring(hole.coords)} for hole in polygon.interiors]
        return self.add("polygon", exterior_node_tokens=ring(polygon.exterior.coords), holes=holes)

    def plain(self) -> MapRecords:
        """The same without what cannot cross to another process."""
        return MapRecords(self.key, _stay, self.layers, self.connectivity, self.arclines)


def _stay(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    return points


def records_of_map(name: str, lane_map: LaneMap) -> MapRecords:
    """A map with the layers that it has, every point as it is."""
    records = MapRecords(name, _stay, digits=None)
    lines = sum(isinstance(shape, LineString) for shapes in lane_map.layers.values() for shape in shapes)
    if lines:
        warnings.warn(
            f"map {name}: {lines} lines are left out, as nuScenes' layers are areas at height 0; a scene package holds them",
            stacklevel=2,
        )
    for layer, polygons in lane_map.layers.items():
        for shape in polygons:
            if isinstance(shape, LineString):
                continue
            polygon = records.polygon(shape)
            parts = {"polygon_tokens": [polygon]} if layer == "drivable_area" else {"polygon_token": polygon}
            records.add(layer, **parts)
    return records


def canvas_of(records: MapRecords) -> tuple[float, float]:
    """Width and height in metres of a canvas from (0, 0) that holds all nodes."""
    nodes = records.layers["node"]
    width, height = (max((row[axis] for row in nodes), default=0.0) for axis in ("x", "y"))
    return max(width, 0.0), max(height, 0.0)


def write_expansion(path: Path, scenes: Sequence[MapRecords], canvas: tuple[float, float]) -> None:
    """One place's file from the records of its scenes."""
    content: dict[str, Any] = {"version": "1.3"}
    for layer in LAYERS:
        content[layer] = [row for records in scenes for row in records.layers[layer]]
    content["canvas_edge"] = list(canvas)
    content["connectivity"] = {k: v for records in scenes for k, v in records.connectivity.items()}
    content["arcline_path_3"] = {k: v for records in scenes for k, v in records.arclines.items()}
    write_json(path, content)
