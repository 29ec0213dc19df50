"""A scene's streets: lanes and their graph, crossings, kerbs. Plain geometry in the scene's local frame (metres).

The main street runs along local x, a crossing street along local y; they meet in the origin. Traffic keeps to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from shapely import unary_union
from shapely.geometry import LineString, Polygon

LANE_WIDTH = 3.5
PARKING = 2.3
SIDEWALK = 3.0
CORNER = 4.0
CROSSING = (4.5, 8.0)
"""Where a zebra crossing lies on an arm: metres beyond the crossing street's kerb line."""
STOP = 9.0
MAIN_HALF, CROSS_HALF = 220.0, 130.0


@dataclass(frozen=True)
class Street:
    """A straight street through the origin: `u` runs along it, `d` to the left of u. Forward lanes lie at d < 0."""

    name: str
    across: bool
    forward: int
    backward: int
    half_length: float

    @property
    def right(self) -> float:
        """Distance from the centre line to the right kerb."""
        return self.forward * LANE_WIDTH + PARKING

    @property
    def left(self) -> float:
        return self.backward * LANE_WIDTH + PARKING

    def point(self, u: float, d: float) -> tuple[float, float]:
        return (-d, u) if self.across else (u, d)

    def strip(self, u0: float, u1: float, d0: float, d1: float) -> Polygon:
        """The rectangle between two stations and two offsets."""
        return Polygon([self.point(u0, d0), self.point(u1, d0), self.point(u1, d1), self.point(u0, d1)])

    def lane_offsets(self, sign: int) -> list[float]:
        """d of the centre lines of the lanes that drive along sign·u, the innermost first."""
        count = self.forward if sign > 0 else self.backward
        return [-sign * (i + 0.5) * LANE_WIDTH for i in range(count)]


@dataclass(frozen=True)
class Arm:
    """One end of a street at the junction: u = sign · (edge …), `edge` being the other street's kerb line."""

    street: Street
    sign: int
    edge: float

    def at(self, distance: float) -> float:
        """u of a point that lies `distance` metres beyond the junction's kerb line."""
        return self.sign * (self.edge + distance)


@dataclass(frozen=True)
class Lane:
    """A lane in driving direction. `arm` is the index of its arm, or -1 for a lane that runs through without a junction."""

    name: str
    arm: int
    incoming: bool
    centre: Float[np.ndarray, "k 2"]
    polygon: Polygon


@dataclass(frozen=True)
class Connector:
    """A way through the junction from the end of one lane to the start of another."""

    name: str
    source: int
    target: int
    turn: str
    centre: Float[np.ndarray, "k 2"]


@dataclass(frozen=True)
class Crossing:
    """A zebra crossing: its polygon and the line that people walk, from kerb to kerb."""

    name: str
    arm: int
    polygon: Polygon
    line: Float[np.ndarray, "2 2"]


@dataclass(frozen=True)
class Streets:
    """All streets of a scene; polygons are in the local frame."""

    main: Street
    cross: Street | None
    arms: tuple[Arm, ...]
    lanes: tuple[Lane, ...]
    connectors: tuple[Connector, ...]
    crossings: tuple[Crossing, ...]

    @cached_property
    def road(self) -> Polygon:
        """The drivable area, with rounded corners."""
        if self.cross is None:
            return self.main.strip(-MAIN_HALF, MAIN_HALF, -self.main.right, self.main.left)
        ends = [0.0, 0.0]
        for arm in self.arms:
            if arm.street.across:
                ends[arm.sign > 0] = arm.sign * CROSS_HALF
        parts = [
            self.main.strip(-MAIN_HALF, MAIN_HALF, -self.main.right, self.main.left),
            self.cross.strip(ends[0], ends[1], -self.cross.right, self.cross.left),
        ]
        return unary_union(parts).buffer(CORNER, quad_segs=4).buffer(-CORNER, quad_segs=4).simplify(0.02)

    @cached_property
    def pavement(self) -> Polygon:
        """Road and sidewalks together."""
        return self.road.buffer(SIDEWALK, quad_segs=4, join_style="mitre")

    def road_segments(self) -> list[tuple[Polygon, bool]]:
        """Pieces of road between junctions, and the junction (True)."""
        if self.cross is None:
            return [(self.road, False)]
        arms = [
            arm.street.strip(arm.at(CORNER), arm.sign * arm.street.half_length, -arm.street.right, arm.street.left)
            for arm in self.arms
        ]
        middle = self.road.difference(unary_union([arm.buffer(0.01) for arm in arms]))
        return [(arm, False) for arm in arms] + [(middle, True)]

    def stop_lines(self) -> list[Polygon]:
        """A bar across the incoming lanes of each arm."""
        lines = []
        for arm in self.arms:
            outer = arm.street.left if arm.sign > 0 else -arm.street.right
            outer -= np.sign(outer) * PARKING
            lines.append(arm.street.strip(arm.at(STOP - 0.4), arm.at(STOP), 0.0, outer))
        return lines

    def lane_dividers(self) -> list[LineString]:
        """Dashed lines between lanes of one direction."""
        return [
            LineString([street.point(u0, d), street.point(u1, d)])
            for street, u0, u1 in self._stretches()
            for d in _inner_lines(street)
        ]

    def road_dividers(self) -> list[LineString]:
        """Lines between the two directions."""
        return [LineString([street.point(u0, 0.0), street.point(u1, 0.0)]) for street, u0, u1 in self._stretches()]

    def _stretches(self) -> list[tuple[Street, float, float]]:
        if self.cross is None:
            low, high = CROSSING_MIDDLE
            return [(self.main, -MAIN_HALF, low - 1.0), (self.main, high + 1.0, MAIN_HALF)]
        return [(arm.street, arm.at(STOP), arm.sign * arm.street.half_length) for arm in self.arms]


CROSSING_MIDDLE = (-1.75, 1.75)
"""The stations of the crossing of a street without a junction."""


def _inner_lines(street: Street) -> list[float]:
    right = [-i * LANE_WIDTH for i in range(1, street.forward)]
    return right + [i * LANE_WIDTH for i in range(1, street.backward)]


def build_streets(rng: np.random.Generator, junction: bool, max_lanes: int = 4) -> Streets:
    """Draws a street of two to `max_lanes` lanes and, with `junction`, one that crosses or meets it."""
    main = _street("main", False, int(rng.integers(2, max_lanes + 1)), MAIN_HALF)
    if not junction:
        return Streets(main, None, (), tuple(_through_lanes(main)), (), (_middle_crossing(main),))
    cross = _street("cross", True, int(rng.integers(2, max_lanes)), CROSS_HALF)
    arms = [Arm(main, 1, cross.right), Arm(main, -1, cross.left), Arm(cross, 1, main.left), Arm(cross, -1, main.right)]
    missing = int(rng.integers(0, 4))
    if missing in (2, 3):
        del arms[missing]
    lanes = [lane for index, arm in enumerate(arms) for lane in _arm_lanes(index, arm)]
    crossings = [_arm_crossing(index, arm) for index, arm in enumerate(arms)]
    return Streets(main, cross, tuple(arms), tuple(lanes), tuple(_connectors(arms, lanes)), tuple(crossings))


def _street(name: str, across: bool, lanes: int, half_length: float) -> Street:
    return Street(name, across, (lanes + 1) // 2, lanes // 2, half_length)


def _lane(street: Street, name: str, arm: int, incoming: bool, u: tuple[float, float], d: float) -> Lane:
    centre = np.array([street.point(u[0], d), street.point(u[1], d)])
    return Lane(name, arm, incoming, centre, street.strip(u[0], u[1], d - LANE_WIDTH / 2, d + LANE_WIDTH / 2))


def _through_lanes(street: Street) -> list[Lane]:
    return [
        _lane(street, f"{street.name}_{sign:+d}_{i}", -1, False, (-sign * MAIN_HALF, sign * MAIN_HALF), d)
        for sign in (1, -1)
        for i, d in enumerate(street.lane_offsets(sign))
    ]


def _arm_lanes(index: int, arm: Arm) -> list[Lane]:
    near, far = arm.at(CORNER), arm.sign * arm.street.half_length
    inward = [
        _lane(arm.street, f"arm{index}_in_{i}", index, True, (far, near), d)
        for i, d in enumerate(arm.street.lane_offsets(-arm.sign))
    ]
    outward = [
        _lane(arm.street, f"arm{index}_out_{i}", index, False, (near, far), d)
        for i, d in enumerate(arm.street.lane_offsets(arm.sign))
    ]
    return inward + outward


def _arm_crossing(index: int, arm: Arm) -> Crossing:
    street, (low, high) = arm.street, CROSSING
    polygon = street.strip(arm.at(low), arm.at(high), -street.right, street.left)
    middle = arm.at((low + high) / 2)
    return Crossing(f"crossing{index}", index, polygon, _walk(street, middle))


def _middle_crossing(street: Street) -> Crossing:
    low, high = CROSSING_MIDDLE
    return Crossing("crossing", -1, street.strip(low, high, -street.right, street.left), _walk(street, 0.0))


def _walk(street: Street, u: float) -> Float[np.ndarray, "2 2"]:
    return np.array([street.point(u, -street.right - 0.8), street.point(u, street.left + 0.8)])


def _connectors(arms: Sequence[Arm], lanes: Sequence[Lane]) -> list[Connector]:
    """Straight on from every lane that goes on; left from the innermost, right from the outermost lane."""
    result = []
    for a in range(len(arms)):
        sources = [i for i, lane in enumerate(lanes) if lane.arm == a and lane.incoming]
        for b in range(len(arms)):
            targets = [i for i, lane in enumerate(lanes) if lane.arm == b and not lane.incoming]
            if a == b:
                continue
            turn = _turn(lanes[sources[0]], lanes[targets[0]])
            pairs = {
                "straight": list(zip(sources, targets, strict=False)),
                "left": [(sources[0], targets[0])],
                "right": [(sources[-1], targets[-1])],
            }[turn]
            result.extend(
                Connector(f"{lanes[i].name}_{turn}_{lanes[j].name}", i, j, turn, _curve(lanes[i], lanes[j]))
                for i, j in pairs
            )
    return result


def _heading(lane: Lane) -> Float[np.ndarray, "2"]:
    step = lane.centre[-1] - lane.centre[0]
    return step / np.linalg.norm(step)


def _turn(source: Lane, target: Lane) -> str:
    (ax, ay), (bx, by) = _heading(source), _heading(target)
    side = ax * by - ay * bx
    return "straight" if abs(side) < 0.1 else ("left" if side > 0 else "right")


def _curve(source: Lane, target: Lane) -> Float[np.ndarray, "k 2"]:
    """A cubic from the end of one lane to the start of the next that leaves and arrives in the lanes' directions."""
    start, end, out, into = source.centre[-1], target.centre[0], _heading(source), _heading(target)
    reach = 0.55 * np.abs((end - start) @ np.stack([out, into], 1))
    if abs(float(out @ into)) > 0.9:
        reach = np.full(2, np.linalg.norm(end - start) / 3)
    points = np.stack([start, start + out * reach[0], end - into * reach[1], end])
    t = np.linspace(0, 1, 25)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    return weights @ points
