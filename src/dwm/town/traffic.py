"""Who drives and walks where: agents are placed on routes and simulated once; any instant is then interpolated.

Drivers follow lanes, keep their distance (intelligent driver model), stop for a red light and for people on a crossing,
and enter a junction only when those of another approach have left it. All in the scene's local frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dwm.town.kinds import Kind
from dwm.town.streets import STEP, Crossing, Route

DT = 0.2
LOOK_AHEAD = 26
BRAKE, EASY_BRAKE, ACCELERATION = 8.0, 3.0, 1.8
MIN_GAP, HEADWAY = 2.2, 1.1
PHASE = 7.0
"""Seconds of green for one approach after the other."""
WALK = 1.4
TURN_SPEED = {"straight": 99.0, "left": 5.5, "right": 4.2}
ALONG = np.linspace(-0.5, 0.5, 5)


@dataclass(frozen=True)
class Mover:
    """Something that follows a route from station s; a trailer follows its tractor (`towed_by`, an index of movers)."""

    kind: Kind
    route: int
    s: float
    towed_by: int = -1


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


@dataclass
class Simulation:
    """Steps all movers and walkers through time. Build it, then `run`."""

    routes: Sequence[Route]
    crossings: Sequence[Crossing]
    movers: Sequence[Mover]
    walkers: Sequence[Walker]
    green_order: Sequence[int]
    green_offset: float

    def __post_init__(self) -> None:
        longest = max(len(route.points) for route in self.routes)
        padded = [self._extended(route.points, longest + 200) for route in self.routes]
        self.table = np.stack(padded)
        self.route_of = np.array([mover.route for mover in self.movers])
        self.driving = np.array([mover.towed_by < 0 for mover in self.movers])
        self.length = np.array([mover.kind.size[0] for mover in self.movers])
        self.width = np.array([mover.kind.size[1] for mover in self.movers])
        self.liked = np.array([mover.kind.speed for mover in self.movers])
        own = [self.routes[r] for r in self.route_of]
        self.gate = np.array([route.gate for route in own]) - self.length / 2
        self.clear = np.array([route.clear for route in own]) + self.length / 2
        self.arm = np.array([route.arm for route in own])
        self.slow = np.array([TURN_SPEED[route.turn] for route in own])
        self.uses = np.array([[c in route.crossings for c in range(len(self.crossings))] for route in own])
        self.span = np.array([np.linalg.norm(c.line[1] - c.line[0]) for c in self.crossings])

    @staticmethod
    def _extended(points: Float[np.ndarray, "k 2"], count: int) -> Float[np.ndarray, "m 2"]:
        step = points[-1] - points[-2]
        more = points[-1] + step * np.arange(1, count - len(points) + 1)[:, None]
        return np.concatenate([points, more])

    def run(self, duration: float) -> Tracks:
        steps = int(np.ceil(duration / DT)) + 2
        s = np.array([mover.s for mover in self.movers])
        v = self.liked * 0.8
        v[self._stopped_at_start(s)] = 0.0
        walked = np.zeros(len(self.walkers))
        started = np.zeros(len(self.walkers), bool)
        stations, speeds, walks = [s.copy()], [v.copy()], [walked.copy()]
        for step in range(1, steps):
            now = step * DT
            s, v, walked, started = self._step(now, s, v, walked, started)
            stations.append(s.copy())
            speeds.append(v.copy())
            walks.append(walked.copy())
        return Tracks(np.stack(stations), np.stack(speeds), np.stack(walks).reshape(steps, -1))

    def _stopped_at_start(self, s: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        near = (self.gate - s > 0) & (self.gate - s < 15)
        return near & (self.arm >= 0) & (self.arm != self._green(0.0))

    def _green(self, now: float) -> int:
        if not self.green_order:
            return -1
        return self.green_order[int((now + self.green_offset) // PHASE) % len(self.green_order)]

    def _step(self, now, s, v, walked, started):
        to_gate = self.gate - s
        committed = (to_gate < v * v / (2 * EASY_BRAKE) - 0.5) & (s < self.clear)
        on_road = started & (walked < self._spans())
        waiting = ~started & np.array([walker.start <= now for walker in self.walkers], bool)
        wanted = self._crossings_of(on_road | waiting)
        busy = np.array([bool((committed & self.uses[:, c]).any()) for c in range(len(self.crossings))])
        for i in np.flatnonzero(waiting):
            started[i] = not busy[self.walkers[i].crossing]
        blocked = (self.uses & wanted[None]).any(1) & (to_gate > 0) & ~committed
        blocked |= self._red(now, committed, to_gate)
        gap, leader = self._leaders(s, v, walked, on_road)
        stop_gap = np.where(blocked, np.maximum(to_gate, 0.01) + MIN_GAP, np.inf)
        leader = np.where(stop_gap < gap, 0.0, leader)
        gap = np.minimum(gap, stop_gap)
        v_new = np.clip(v + DT * self._acceleration(s, v, gap, leader), 0.0, None)
        v_new[~self.driving] = 0.0
        s_new = s + DT * (v + v_new) / 2
        for i, mover in enumerate(self.movers):
            if mover.towed_by >= 0:
                s_new[i] += s_new[mover.towed_by] - s[mover.towed_by]
                v_new[i] = v_new[mover.towed_by]
        return s_new, v_new, np.where(started, np.minimum(walked + WALK * DT, self._spans()), walked), started

    def _spans(self) -> Float[np.ndarray, "w"]:
        return np.array([self.span[walker.crossing] for walker in self.walkers])

    def _crossings_of(self, walking: Bool[np.ndarray, "w"]) -> Bool[np.ndarray, "c"]:
        wanted = np.zeros(len(self.crossings), bool)
        for i in np.flatnonzero(walking):
            wanted[self.walkers[i].crossing] = True
        return wanted

    def _red(self, now, committed, to_gate) -> Bool[np.ndarray, "n"]:
        """Who may not enter the junction: no green light, or somebody of another approach is still in it."""
        inside = [int(arm) for arm in np.unique(self.arm[committed & (self.arm >= 0)])]
        others = np.array([any(other != arm for other in inside) for arm in self.arm])
        return (self.arm >= 0) & (to_gate > 0) & ~committed & ((self.arm != self._green(now)) | others)

    def _acceleration(self, s, v, gap, leader) -> Float[np.ndarray, "n"]:
        slow_from, slow_to = self.gate - 4.0, self.clear - self.length / 2
        turning = (s > slow_from) & (s < slow_to)
        liked = np.where(turning, np.minimum(self.liked, self.slow), self.liked)
        approach = np.sqrt(self.slow**2 + 2 * 1.5 * np.maximum(slow_from - s, 0))
        liked = np.where(s < slow_from, np.minimum(liked, approach), liked)
        wanted = MIN_GAP + np.maximum(0, v * HEADWAY + v * (v - leader) / (2 * np.sqrt(ACCELERATION * EASY_BRAKE)))
        free = 1 - (v / liked) ** 4
        return np.clip(ACCELERATION * (free - (wanted / np.maximum(gap, 0.3)) ** 2), -BRAKE, ACCELERATION)

    def _leaders(self, s, v, walked, on_road):
        """Gap in metres to the first thing that stands in each mover's way, and that thing's speed along it."""
        points, owner, radius, velocity = self._obstacles(s, v, walked, on_road)
        ahead = s[:, None] + self.length[:, None] / 2 + np.arange(LOOK_AHEAD)[None]
        corridor = self.table[self.route_of[:, None], self._rows(ahead)]
        apart = corridor[:, :, None] - points[None, None]
        reach = self.width[:, None, None] / 2 + radius[None, None] + 0.3
        hit = (np.einsum("ijkl,ijkl->ijk", apart, apart) < reach**2) & (
            owner[None, None] != self._train()[:, None, None]
        )
        first = hit.any(2).argmax(1)
        found = hit.any((1, 2))
        who = hit[np.arange(len(s)), first].argmax(1)
        heading = corridor[:, 1] - corridor[:, 0]
        along = np.clip((velocity[who] * heading).sum(1), 0, None)
        return np.where(found, np.maximum(first - 0.5, 0.1), np.inf), np.where(found, along, 0.0)

    def _rows(self, s: Float[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        return np.clip(np.round(s / STEP).astype(int), 0, self.table.shape[1] - 1)

    def _train(self) -> Int[np.ndarray, "n"]:
        """Each mover's tractor or itself: a tractor and its trailer do not stand in each other's way."""
        return np.array([mover.towed_by if mover.towed_by >= 0 else i for i, mover in enumerate(self.movers)])

    def _obstacles(self, s, v, walked, on_road):
        rear = self.table[self.route_of, self._rows(s - 1)]
        front = self.table[self.route_of, self._rows(s + 1)]
        unit = (front - rear) / np.maximum(np.linalg.norm(front - rear, axis=1, keepdims=True), 1e-6)
        centre = (front + rear) / 2
        points = centre[:, None] + unit[:, None] * (ALONG[None] * self.length[:, None])[..., None]
        owner = np.repeat(self._train(), len(ALONG))
        radius = np.repeat(self.width / 2, len(ALONG))
        velocity = np.repeat(unit * v[:, None], len(ALONG), 0)
        people = [
            walker_pose(self.walkers[i], self.crossings[self.walkers[i].crossing], walked[i])[0]
            for i in np.flatnonzero(on_road)
        ]
        if people:
            points_ = np.concatenate([points.reshape(-1, 2), np.stack(people)])
            count = len(people)
            return (
                points_,
                np.concatenate([owner, np.full(count, -2)]),
                np.concatenate([radius, np.full(count, 0.5)]),
                np.concatenate([velocity, np.zeros((count, 2))]),
            )
        return points.reshape(-1, 2), owner, radius, velocity


def _squared_distances(
    lines: Float[np.ndarray, "n k 2"], points: Float[np.ndarray, "p 2"]
) -> Float[np.ndarray, "n k p"]:
    product = lines.reshape(-1, 2) @ points.T
    squares = (lines**2).sum(-1).reshape(-1, 1) + (points**2).sum(-1)[None] - 2 * product
    return squares.reshape(*lines.shape[:2], len(points))
