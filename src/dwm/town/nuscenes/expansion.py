"""A scene's streets as records of the nuScenes map expansion 1.3 (lanes, graph, crossings, dividers, … with shared nodes).

Every coordinate is in the place's frame (metres).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from shapely import unary_union
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.polygon import orient

from dwm.data.nuscenes.write.expansion import MapRecords, ToMap
from dwm.data.nuscenes.write.names import Row
from dwm.town.world.streets import PARKING, STOP, Arm, Lane, Streets

STRAIGHT = 999.999
"""The radius that the format gives to a straight path."""


def map_records(streets: Streets, key: str, to_map: ToMap) -> MapRecords:
    """Everything that the format knows about a scene's streets; `key` makes the tokens differ from scene to scene."""
    records = MapRecords(key, to_map)
    drivable = records.add("drivable_area", polygon_tokens=[records.polygon(p) for p in _parts(streets.road)])
    segments = [
        (
            polygon,
            records.add(
                "road_segment",
                polygon_token=records.polygon(polygon),
                is_intersection=crossing,
                drivable_area_token=drivable,
            ),
        )
        for shape, crossing in streets.road_segments()
        for polygon in _parts(shape)
    ]
    _lanes(records, streets)
    blocks = _blocks(records, streets, segments)
    crossings = [
        records.add(
            "ped_crossing", polygon_token=records.polygon(c.polygon), road_segment_token=_nearest(segments, c.polygon)
        )
        for c in streets.crossings
    ]
    for piece in _parts(streets.pavement.difference(streets.road)):
        records.add("walkway", polygon_token=records.polygon(piece))
    for index, (arm, bar) in enumerate(zip(streets.arms, streets.stop_lines(), strict=False)):
        block = blocks.get((index, True), "")
        onward = [token for (number, inward), token in blocks.items() if number != index and not inward]
        light = _traffic_light(records, arm, block, onward)
        records.add(
            "stop_line",
            polygon_token=records.polygon(bar),
            stop_line_type="TRAFFIC_LIGHT",
            ped_crossing_tokens=[crossings[i] for i, c in enumerate(streets.crossings) if c.arm == index],
            traffic_light_tokens=[light],
            road_block_token=block,
        )
        for strip in _parking(arm):
            records.add(
                "carpark_area",
                polygon_token=records.polygon(strip),
                orientation=_yaw(to_map(np.array([arm.street.point(0, 0), arm.street.point(1, 0)]))),
                road_block_token=block,
            )
    _dividers(records, streets, segments)
    return records.plain()


def _lanes(records: MapRecords, streets: Streets) -> None:
    names = [
        records.add(
            "lane",
            polygon_token=records.polygon(lane.polygon),
            lane_type="CAR",
            from_edge_line_token=records.line(_edge(lane.polygon, lane.centre[0])),
            to_edge_line_token=records.line(_edge(lane.polygon, lane.centre[-1])),
            left_lane_divider_segments=_border(records, streets, lane, 1),
            right_lane_divider_segments=_border(records, streets, lane, -1),
        )
        for lane in streets.lanes
    ]
    for name, lane in zip(names, streets.lanes, strict=True):
        records.connectivity[name] = {"incoming": [], "outgoing": []}
        records.arclines[name] = _arcline(records.to_map(lane.centre))
    for connector in streets.connectors:
        shape = LineString(connector.centre).buffer(1.6, cap_style="flat", join_style="mitre")
        name = records.add("lane_connector", polygon_token=records.polygon(_parts(shape)[0]))
        source, target = names[connector.source], names[connector.target]
        records.connectivity[name] = {"incoming": [source], "outgoing": [target]}
        records.connectivity[source]["outgoing"].append(name)
        records.connectivity[target]["incoming"].append(name)
        records.arclines[name] = _arcline(records.to_map(connector.centre))


def _border(records: MapRecords, streets: Streets, lane: Lane, side: int) -> list[Row]:
    """The two nodes of a lane's left (1) or right (-1) border, with the kind of line that is painted there."""
    corners = np.asarray(lane.polygon.exterior.coords)[:-1]
    along = lane.centre[-1] - lane.centre[0]
    offset = corners - lane.centre[0]
    border = corners[side * (along[0] * offset[:, 1] - along[1] * offset[:, 0]) > 0]
    border = border[np.argsort((border - lane.centre[0]) @ along)]
    middle = LineString(border).interpolate(0.5, normalized=True)
    kinds = [("SINGLE_SOLID_YELLOW", streets.road_dividers()), ("SINGLE_DASHED_WHITE", streets.lane_dividers())]
    kind = next((name for name, lines in kinds if any(line.distance(middle) < 0.1 for line in lines)), "NIL")
    return [{"node_token": records.node(*point), "segment_type": kind} for point in border.tolist()]


def _blocks(
    records: MapRecords, streets: Streets, segments: Sequence[tuple[Polygon, str]]
) -> dict[tuple[int, bool], str]:
    """One road block for the lanes of an arm that drive the same way (for each direction where there is no junction)."""
    groups: dict[tuple[Any, ...], list[Lane]] = {}
    for lane in streets.lanes:
        heading = np.sign(lane.centre[-1] - lane.centre[0]).astype(int).tolist()
        groups.setdefault((lane.arm, lane.incoming, *heading), []).append(lane)
    blocks = {}
    for (arm, incoming, *_), lanes in groups.items():
        shape = _parts(unary_union([lane.polygon for lane in lanes]).simplify(0.001))[0]
        blocks[arm, incoming] = records.add(
            "road_block",
            polygon_token=records.polygon(shape),
            from_edge_line_token=records.line(_edge(shape, np.mean([lane.centre[0] for lane in lanes], 0))),
            to_edge_line_token=records.line(_edge(shape, np.mean([lane.centre[-1] for lane in lanes], 0))),
            road_segment_token=_nearest(segments, shape),
        )
    return blocks


def _traffic_light(records: MapRecords, arm: Arm, block: str, onward: Sequence[str]) -> str:
    """The light over an arm's incoming lanes: it stands at the right kerb, faces the traffic and has three lamps."""
    kerb = arm.street.left if arm.sign > 0 else -arm.street.right
    foot = np.array([arm.street.point(arm.at(STOP), kerb + np.sign(kerb) * 0.5)])
    facing = _yaw(records.to_map(np.array([arm.street.point(0, 0), arm.street.point(arm.sign, 0)])))
    x, y = records.to_map(foot)[0].tolist()
    lamps = [("RED", 0.35), ("YELLOW", 0.0), ("GREEN", -0.35)]
    still = {"tx": 0.0, "ty": 0.0, "rx": 0.0, "ry": 0.0, "rz": 0.0}
    return records.add(
        "traffic_light",
        line_token=records.line(np.stack([foot[0], np.array(arm.street.point(arm.at(STOP), kerb))])),
        traffic_light_type="VERTICAL",
        from_road_block_token=block,
        items=[
            {
                "color": color,
                "shape": "CIRCLE",
                "rel_pos": {**still, "tz": height},
                "to_road_block_tokens": list(onward),
            }
            for color, height in lamps
        ],
        pose={**still, "tx": x, "ty": y, "tz": 3.2, "rz": facing},
    )


def _parking(arm: Arm) -> list[Polygon]:
    near, far = arm.at(STOP + 3), arm.sign * arm.street.half_length
    right, left = arm.street.right, arm.street.left
    return [arm.street.strip(near, far, -right, -right + PARKING), arm.street.strip(near, far, left - PARKING, left)]


def _dividers(records: MapRecords, streets: Streets, segments: Sequence[tuple[Polygon, str]]) -> None:
    for line in streets.road_dividers():
        records.add(
            "road_divider",
            line_token=records.line(line.coords),
            road_segment_token=_nearest(segments, line),
            road_divider_segments=[
                {"node_token": records.node(*p[:2]), "segment_type": "SINGLE_SOLID_YELLOW"} for p in line.coords
            ],
        )
    for line in streets.lane_dividers():
        records.add(
            "lane_divider",
            line_token=records.line(line.coords),
            lane_divider_segments=[
                {"node_token": records.node(*p[:2]), "segment_type": "SINGLE_DASHED_WHITE"} for p in line.coords
            ],
        )


def _parts(shape: Any) -> list[Polygon]:
    """The polygons of a shape, counter-clockwise, without slivers."""
    pieces = [p for p in (shape.geoms if hasattr(shape, "geoms") else [shape]) if isinstance(p, Polygon)]
    return [orient(piece) for piece in pieces if piece.area > 0.01]


def _nearest(segments: Sequence[tuple[Polygon, str]], shape: Any) -> str:
    """The road segment that holds most of a shape."""
    middle = shape.representative_point()
    return min(segments, key=lambda segment: segment[0].distance(middle))[1]


def _edge(polygon: Polygon, near: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2 2"]:
    """The side of a polygon whose middle is nearest to a point."""
    ring = np.asarray(polygon.exterior.coords)
    middles = (ring[1:] + ring[:-1]) / 2
    i = int(np.linalg.norm(middles - near, axis=1).argmin())
    return ring[i : i + 2]


def _yaw(points: Float[np.ndarray, "2 2"]) -> float:
    return float(np.arctan2(*(points[1] - points[0])[::-1]))


def _arcline(points: Float[np.ndarray, "k 2"]) -> list[Row]:
    """A line as straight paths of the format, one for each of its pieces."""
    paths = []
    for start, end in itertools.pairwise(points):
        yaw = _yaw(np.stack([start, end]))
        paths.append(
            {
                "start_pose": [*start.tolist(), yaw],
                "end_pose": [*end.tolist(), yaw],
                "shape": "LSR",
                "radius": STRAIGHT,
                "segment_length": [0.0, float(np.linalg.norm(end - start)), 0.0],
            }
        )
    return paths


def walkable(streets: Streets, to_map: ToMap) -> list[Polygon]:
    """Road and sidewalks in the place's frame, for the mask."""
    whole = streets.pavement
    pieces = list(whole.geoms) if isinstance(whole, MultiPolygon) else [whole]
    return [
        Polygon(to_map(np.asarray(p.exterior.coords)), [to_map(np.asarray(hole.coords)) for hole in p.interiors])
        for p in pieces
    ]
