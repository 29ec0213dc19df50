"""Drivers and people stepped through time, once per scene.

Drivers follow lanes, keep their distance (intelligent driver model), stop for a red light and for people on a crossing,
and enter a junction only when those of another approach have left it. People wait until no driver is about to cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dwm.town.world.routes import STEP, Route
from dwm.town.world.streets import Crossing
from dwm.town.world.traffic import DT, Mover, Tracks, Walker, walker_pose

SAMPLES = np.arange(20) * 1.25
"""Metres before its nose at which a driver looks for something in the way."""
BRAKE, EASY_BRAKE, ACCELERATION = 8.0, 3.0, 1.8
MIN_GAP, HEADWAY = 2.2, 1.1
PHASE = 7.0
"""Seconds of green for one approach after the other."""
WALK = 1.4
TURN_SPEED = {"straight": 99.0, "left": 5.5, "right": 4.2}


@dataclass
class State:
    """Everything that changes: stations s and speeds v of movers, who is past the point of stopping at the gate
    (`committed`), metres walked and who has set out of the walkers."""

    s: Float[np.ndarray, "n"]
    v: Float[np.ndarray, "n"]
    committed: Bool[np.ndarray, "n"]
    walked: Float[np.ndarray, "w"]
    started: Bool[np.ndarray, "w"]


@dataclass(frozen=True)
class Obstacles:
    """Discs that stand for movers and people: middles, radii, velocities, and whose they are (-1: a person's)."""

    points: Float[np.ndarray, "p 2"]
    radius: Float[np.ndarray, "p"]
    velocity: Float[np.ndarray, "p 2"]
    owner: Int[np.ndarray, "p"]


@dataclass(frozen=True)
class Driven:
    """Where a mover is that leaves its route as it likes: its middle, the direction that it looks in, its speed along that."""

    middle: Float[np.ndarray, "2"]
    heading: Float[np.ndarray, "2"]
    speed: float


class Simulation:
    """Steps all movers and walkers through time. Build it, then `run`, or `step` from the `beginning` on."""

    def __init__(
        self,
        routes: Sequence[Route],
        crossings: Sequence[Crossing],
        movers: Sequence[Mover],
        walkers: Sequence[Walker],
        green_order: Sequence[int],
        green_offset: float,
    ) -> None:
        self.crossings, self.walkers = crossings, walkers
        self.green_order, self.green_offset = green_order, green_offset
        longest = max(len(route.points) for route in routes) + 120
        self.table = np.stack([_extended(route.points, longest) for route in routes])
        self.routes = routes
        own = [routes[mover.route] for mover in movers]
        self.route_of = np.array([mover.route for mover in movers])
        self.start = np.array([mover.s for mover in movers])
        self.length = np.array([mover.kind.size[0] for mover in movers])
        self.width = np.array([mover.kind.size[1] for mover in movers])
        self.liked = np.array([mover.kind.speed for mover in movers])
        self.gate = np.array([route.gate for route in own]) - self.length / 2
        self.clear = np.array([route.clear for route in own]) + self.length / 2
        self.arm = np.array([route.arm for route in own])
        self.slow = np.array([TURN_SPEED[route.turn] for route in own])
        self.uses = np.array([[c in route.crossings for c in range(len(crossings))] for route in own])
        # a trailer and its tractor do not stand in each other's way, and the trailer goes as far as the tractor
        self.train = np.array([mover.towed_by if mover.towed_by >= 0 else i for i, mover in enumerate(movers)])
        self.crossing_of = np.array([walker.crossing for walker in walkers], int)
        self.setting_out = np.array([walker.start for walker in walkers])
        spans = np.array([np.linalg.norm(crossing.line[1] - crossing.line[0]) for crossing in crossings])
        self.span = spans[self.crossing_of]
        counts = np.where(self.length > 6, 5, np.where(self.length > 3, 3, 1))
        self.disc_of = np.repeat(np.arange(len(movers)), counts)
        self.disc_share = np.concatenate([np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1) for n in counts])

    def beginning(self) -> State:
        """Everybody at time 0."""
        count = len(self.walkers)
        state = State(
            self.start.copy(), 0.8 * self.liked, np.zeros(len(self.start), bool), np.zeros(count), np.zeros(count, bool)
        )
        state.v[self._waiting_at_start()] = 0.0
        return state

    def run(self, duration: float) -> Tracks:
        """The tracks of everybody from 0 to `duration` seconds."""
        state = self.beginning()
        stations, speeds, walks = [state.s], [state.v], [state.walked]
        for step in range(1, int(np.ceil(duration / DT)) + 2):
            state = self.step(step * DT, state)
            stations.append(state.s)
            speeds.append(state.v)
            walks.append(state.walked)
        return Tracks(np.stack(stations), np.stack(speeds), np.stack(walks))

    def send(self, mover: int, route: int) -> None:
        """From now on, a mover follows this route."""
        way, half = self.routes[route], self.length[mover] / 2
        self.route_of[mover], self.arm[mover], self.slow[mover] = route, way.arm, TURN_SPEED[way.turn]
        self.gate[mover], self.clear[mover] = way.gate - half, way.clear + half
        self.uses[mover] = [crossing in way.crossings for crossing in range(len(self.crossings))]

    def _waiting_at_start(self) -> Bool[np.ndarray, "n"]:
        to_gate = self.gate - self.start
        near = (to_gate > 0) & (to_gate < 15) & (self.arm >= 0) & (self.arm != self._green(0.0))
        return near[self.train]

    def _green(self, now: float) -> int:
        """The approach that has green, or -1 where there is no light."""
        if not self.green_order:
            return -1
        return self.green_order[int((now + self.green_offset) // PHASE) % len(self.green_order)]

    def step(self, now: float, old: State, driven: Driven | None = None) -> State:
        """Everybody `DT` seconds later, at `now`. `driven`: where mover 0 really is, if somebody else steers it."""
        on_road = old.started & (old.walked < self.span)
        waiting = ~old.started & (self.setting_out <= now)
        before = ~old.committed & (old.s < self.clear)
        closed = before & (self._crossing_used(on_road | waiting) | self._red(now, old.committed))
        to_gate = self.gate - old.s
        committed = (old.committed | (before & ~closed & (to_gate < old.v**2 / (2 * EASY_BRAKE) + 0.5))) & (
            old.s < self.clear
        )
        started = old.started | (waiting & ~np.any(self.uses & committed[:, None], axis=0)[self.crossing_of])
        gap, leader = self._leaders(old, on_road, driven)
        stop_gap = np.where(closed, np.maximum(to_gate, 0.01) + MIN_GAP, np.inf)
        leader = np.where(stop_gap < gap, 0.0, leader)
        push = self._acceleration(old.s, old.v, np.minimum(gap, stop_gap), leader)
        v = np.clip(old.v + DT * push, 0.0, None)[self.train]
        s = old.s + DT * (old.v[self.train] + v) / 2
        walked = np.where(started, np.minimum(old.walked + WALK * DT, self.span), old.walked)
        return State(s, v, committed, walked, started)

    def _crossing_used(self, walking: Bool[np.ndarray, "w"]) -> Bool[np.ndarray, "n"]:
        """Whose way leads over a crossing that somebody is on or waits for."""
        is_crossed = np.zeros(len(self.crossings), bool)
        is_crossed[self.crossing_of[walking]] = True
        return np.any(self.uses & is_crossed, axis=1)

    def _red(self, now: float, committed: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Who may not enter the junction: no green light, or somebody of another approach is still in it."""
        inside = set(self.arm[committed & (self.arm >= 0)].tolist())
        others = np.array([bool(inside - {arm}) for arm in self.arm.tolist()])
        return (self.arm >= 0) & ((self.arm != self._green(now)) | others)

    def _acceleration(
        self,
        s: Float[np.ndarray, "n"],
        v: Float[np.ndarray, "n"],
        gap: Float[np.ndarray, "n"],
        leader: Float[np.ndarray, "n"],
    ) -> Float[np.ndarray, "n"]:
        """The intelligent driver model, with lower speeds liked in and before turns."""
        slow_from, slow_to = self.gate - 4.0, self.clear - self.length / 2
        approach = np.sqrt(self.slow**2 + 2 * 1.5 * np.maximum(slow_from - s, 0))
        liked = np.where(s < slow_to, np.minimum(self.liked, approach), self.liked)
        closing = v * (v - leader) / (2 * np.sqrt(ACCELERATION * EASY_BRAKE))
        target_gap = MIN_GAP + np.maximum(0, v * HEADWAY + closing)
        push = 1 - (v / liked) ** 4 - (target_gap / np.maximum(gap, 0.3)) ** 2
        return np.clip(ACCELERATION * push, -BRAKE, ACCELERATION)

    def _leaders(
        self, state: State, on_road: Bool[np.ndarray, "w"], driven: Driven | None
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Gap in metres to the first thing that stands in each mover's way, and that thing's speed along it."""
        obstacles = self._obstacles(state, on_road, driven)
        ahead = (state.s + self.length / 2)[:, None] + SAMPLES
        corridor = self.table[self.route_of[:, None], self._rows(ahead)]
        reach = self.width[:, None] / 2 + obstacles.radius[None] + 0.3
        reach[self.train[:, None] == obstacles.owner[None]] = 0.0
        hit = _squared_distances(corridor, obstacles.points) < (reach**2)[:, None]
        row = np.any(hit, axis=2)
        first, any_ = np.argmax(row, axis=1), np.any(row, axis=1)
        who = hit[np.arange(len(first)), first].argmax(1)
        step = corridor[:, 1] - corridor[:, 0]
        along = (obstacles.velocity[who] * step).sum(1) / np.maximum(np.linalg.norm(step, axis=1), 1e-6)
        gap = np.maximum(SAMPLES[first] - SAMPLES[1] / 2, 0.1)
        return np.where(any_, gap, np.inf), np.where(any_, np.clip(along, 0, None), 0.0)

    def _rows(self, s: Float[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        return np.clip(np.round(s / STEP).astype(int), 0, self.table.shape[1] - 1)

    def _obstacles(self, state: State, on_road: Bool[np.ndarray, "w"], driven: Driven | None) -> Obstacles:
        rear = self.table[self.route_of, self._rows(state.s - 1)]
        front = self.table[self.route_of, self._rows(state.s + 1)]
        unit = (front - rear) / np.maximum(np.linalg.norm(front - rear, axis=1, keepdims=True), 1e-6)
        own, middle, speed = self.disc_of, (front + rear) / 2, state.v
        if driven is not None:
            unit[0], middle[0], speed = driven.heading, driven.middle, np.append(driven.speed, speed[1:])
        points = middle[own] + unit[own] * (self.disc_share * self.length[own])[:, None]
        people = [self._walker(i, state.walked[i]) for i in np.flatnonzero(on_road).tolist()]
        count = len(people)
        return Obstacles(
            points=np.concatenate([points, np.array(people).reshape(count, 2)]),
            radius=np.concatenate([self.width[own] / 2, np.full(count, 0.5)]),
            velocity=np.concatenate([unit[own] * speed[own][:, None], np.zeros((count, 2))]),
            owner=np.concatenate([self.train[own], np.full(count, -1)]),
        )

    def _walker(self, index: int, walked: float) -> Float[np.ndarray, "2"]:
        walker = self.walkers[index]
        return walker_pose(walker, self.crossings[walker.crossing], walked)[0]


def _extended(points: Float[np.ndarray, "k 2"], count: int) -> Float[np.ndarray, "m 2"]:
    """A route's points, carried straight on to `count` of them."""
    step = points[-1] - points[-2]
    return np.concatenate([points, points[-1] + step * np.arange(1, count - len(points) + 1)[:, None]])


def _squared_distances(
    lines: Float[np.ndarray, "n k 2"], points: Float[np.ndarray, "p 2"]
) -> Float[np.ndarray, "n k p"]:
    flat = lines.reshape(-1, 2)
    squares = (flat**2).sum(1)[:, None] + (points**2).sum(1)[None] - 2 * flat @ points.T
    return squares.reshape(*lines.shape[:2], len(points))
