"""Who drives and walks: movers on routes, walkers on crossings, and the tracks that a simulation found for them.

Any instant between the simulated ones is interpolated. All in the scene's local frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dwm.town.world.kinds import Kind
from dwm.town.world.routes import STEP, Route
from dwm.town.world.streets import Crossing

DT = 0.2
"""Seconds between simulated instants."""


@dataclass(frozen=True)
class Mover:
    """Something that follows a route from station s; a trailer follows its tractor (`towed_by`, an index of movers).

    trip: how often its place in the traffic was taken anew; to everybody who looks, each is another vehicle.
    """

    kind: Kind
    route: int
    s: float
    towed_by: int = -1
    trip: int = 0


@dataclass(frozen=True)
class Walker:
    """A person who crosses: waits at one end of a crossing's line until `start` seconds, then for a gap, then walks."""

    kind: Kind
    crossing: int
    backwards: bool
    aside: float
    start: float


@dataclass(frozen=True)
class Tracks:
    """What the simulation found, every `DT` seconds: stations and speeds of movers, metres walked by walkers."""

    s: Float[np.ndarray, "t n"]
    v: Float[np.ndarray, "t n"]
    walked: Float[np.ndarray, "t w"]

    def station(self, time_s: float) -> Float[np.ndarray, "n"]:
        """Stations at any instant, by cubic interpolation with the simulated speeds."""
        at = np.clip(time_s / DT, 0, len(self.s) - 1)
        i = int(min(np.floor(at), len(self.s) - 2))
        x = at - i
        a, b, va, vb = self.s[i], self.s[i + 1], self.v[i] * DT, self.v[i + 1] * DT
        return a * (1 + 2 * x) * (1 - x) ** 2 + va * x * (1 - x) ** 2 + b * x**2 * (3 - 2 * x) + vb * x**2 * (x - 1)

    def walk(self, time_s: float) -> Float[np.ndarray, "w"]:
        at = np.clip(time_s / DT, 0, len(self.walked) - 1)
        i = int(min(np.floor(at), len(self.walked) - 2))
        return self.walked[i] + (at - i) * (self.walked[i + 1] - self.walked[i])


def pose_on_route(route: Route, s: float, half_base: float) -> tuple[Float[np.ndarray, "2"], float]:
    """Position (x, y) and yaw of a vehicle whose axles run on the route half_base metres before and behind s."""
    front, rear = route_point(route, s + half_base), route_point(route, s - half_base)
    step = front - rear
    return (front + rear) / 2, float(np.arctan2(step[1], step[0]))


def route_point(route: Route, s: float) -> Float[np.ndarray, "2"]:
    """The point at station s; beyond its ends a route goes straight on."""
    at = s / STEP
    i = int(np.clip(np.floor(at), 0, len(route.points) - 2))
    return route.points[i] + (at - i) * (route.points[i + 1] - route.points[i])


def half_base(kind: Kind) -> float:
    """Half the distance between a vehicle's axles."""
    return 0.3 * kind.size[0]


def walker_pose(walker: Walker, crossing: Crossing, walked: float) -> tuple[Float[np.ndarray, "2"], float]:
    line = crossing.line[::-1] if walker.backwards else crossing.line
    way = line[1] - line[0]
    unit = way / np.linalg.norm(way)
    side = np.array([-unit[1], unit[0]])
    return line[0] + unit * walked + side * walker.aside, float(np.arctan2(unit[1], unit[0]))
