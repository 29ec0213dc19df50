"""A scene's traffic that goes on by itself, without an end, around a car that somebody else steers.

Who comes to the end of a street sets out anew at the beginning of another; people cross again and again. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dwm.town.world.population import STRAIGHT_ONLY, Population
from dwm.town.world.routes import STEP, Route
from dwm.town.world.simulation import Driven, Simulation
from dwm.town.world.streets import Crossing
from dwm.town.world.traffic import DT, Tracks, half_base, pose_on_route

GONE = 5.0
"""Metres before a route's end from which a mover is not seen any more."""
ROOM, ROOM_BEFORE_CAR = 14.0, 30.0
"""Metres that must be free around a place where somebody sets out."""
REST = (25.0, 60.0)
"""Seconds for which a group stays on its side of a crossing; more often, traffic would never come to its turn."""
ON_ROUTE = 2.6
"""Metres aside of its route within which the driven car keeps it."""


class LiveTraffic:
    """Movers (the first is the driven car), walkers and strollers from time 0 on."""

    def __init__(
        self,
        routes: Sequence[Route],
        crossings: Sequence[Crossing],
        population: Population,
        stroll: float,
        rng: np.random.Generator,
    ) -> None:
        """`stroll`: seconds of walking after which strollers turn round."""
        self.routes, self.stroll, self.rng = routes, stroll, rng
        self.movers, self.walkers = list(population.movers), list(population.walkers)
        self.people = Simulation(
            routes, crossings, self.movers, self.walkers, population.green_order, population.green_offset
        )
        self.state = self.before = self.people.beginning()
        self.count, self.now = 0, 0.0

    @property
    def route(self) -> Route:
        """The way that the driven car is on."""
        return self.routes[self.movers[0].route]

    def advance(self, seconds: float, driven: Driven) -> float:
        """Goes on by `seconds` around the driven car; the speed that a careful driver would have in its place, m/s."""
        self.now += seconds
        while self.count * DT < self.now - 1e-9:
            self._follow(driven)
            self.count += 1
            self.before = self.state
            self.state = self.people.step(self.count * DT, self.before, driven)
            self._renew(driven.middle)
        share = (self.now - (self.count - 1) * DT) / DT
        return float(self.before.v[0] + share * (self.state.v[0] - self.before.v[0]))

    def stations(self) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "w"]]:
        """Stations of movers and metres walked, now."""
        pair = (self.before, self.state)
        tracks = Tracks(*(np.stack([getattr(one, name) for one in pair]) for name in ("s", "v", "walked")))
        at = max(0.0, self.now - (self.count - 1) * DT) if self.count else 0.0
        return tracks.station(at), tracks.walk(at)

    def strolled(self) -> tuple[float, bool]:
        """Seconds that strollers are away from where they began, and whether they are on the way back."""
        phase = self.now % (2 * self.stroll)
        return (phase, False) if phase < self.stroll else (2 * self.stroll - phase, True)

    def clear_the_way(self, driven: Driven) -> None:
        """Sends away what stands where the driven car has just come in; it sets out anew elsewhere."""
        for i in range(1, len(self.movers)):
            route = self.routes[self.movers[i].route]
            at, _ = pose_on_route(route, self.state.s[i], half_base(self.movers[i].kind))
            if np.linalg.norm(at - driven.middle) < ROOM + self.movers[i].kind.size[0]:
                train = [j for j in range(1, len(self.movers)) if self.people.train[j] == self.people.train[i]]
                for j in train:
                    self.state.s[j] = self.routes[self.movers[j].route].length + 1.0
        self._follow(driven)

    def _follow(self, driven: Driven) -> None:
        """Tells the simulation where on a route the driven car is; another one where it has left its own."""
        index = self.movers[0].route
        s, aside = _station(self.routes[index], driven)
        if aside > ON_ROUTE:
            stations = [(*reversed(_station(route, driven)), number) for number, route in enumerate(self.routes)]
            aside, s, index = min(stations)
        if index != self.movers[0].route:
            self.movers[0] = replace(self.movers[0], route=index)
            self.people.send(0, index)
        self.state.s[0], self.state.v[0] = s, max(0.0, driven.speed)

    def _renew(self, car: Float[np.ndarray, "2"]) -> None:
        for leader in range(1, len(self.movers)):
            if self.movers[leader].towed_by >= 0:
                continue
            train = [leader, *(i for i, mover in enumerate(self.movers) if mover.towed_by == leader)]
            if all(self.state.s[i] >= self.routes[self.movers[i].route].length - GONE for i in train):
                self._set_out(train, car)
        state, people = self.state, self.people
        there = state.started & (state.walked >= people.span)
        for crossing in sorted({walker.crossing for walker in self.walkers}):
            group = np.flatnonzero(people.crossing_of == crossing)
            if not there[group].all():
                continue
            start = self.now + self.rng.uniform(*REST)
            for i in group.tolist():
                self.walkers[i] = replace(self.walkers[i], backwards=not self.walkers[i].backwards)
                people.setting_out[i] = start + self.rng.uniform(0.0, 0.8)
                state.started[i] = False
                state.walked[i] = self.before.walked[i] = 0.0

    def _set_out(self, train: Sequence[int], car: Float[np.ndarray, "2"]) -> None:
        """A mover, with what it tows, at the beginning of a route, where there is room now."""
        kind = self.movers[train[0]].kind
        ways = [i for i, way in enumerate(self.routes) if way.turn == "straight" or kind.name not in STRAIGHT_ONLY]
        if not ways:
            return
        index = ways[int(self.rng.integers(len(ways)))]
        route = self.routes[index]
        back = self.state.s[train[0]] - self.state.s[train]
        front = float(back.max()) + kind.size[0] / 2 + 2.0
        at, _ = pose_on_route(route, front, half_base(kind))
        others = [i for i in range(1, len(self.movers)) if i not in train]
        points = [self.people.table[self.people.route_of[i], round(min(self.state.s[i], 1e4) / STEP)] for i in others
                  if self.state.s[i] / STEP < self.people.table.shape[1] - 1]  # fmt: skip
        near = points and np.linalg.norm(np.array(points) - at, axis=1).min() < ROOM + float(back.max())
        if near or np.linalg.norm(car - at) < ROOM_BEFORE_CAR:
            return
        for i, behind in zip(train, back.tolist(), strict=True):
            self.movers[i] = replace(self.movers[i], route=index, trip=self.movers[i].trip + 1)
            self.people.send(i, index)
            self.state.committed[i] = False
            self.state.s[i] = self.before.s[i] = front - behind
            self.state.v[i] = self.before.v[i] = 0.6 * self.people.liked[i]


def _station(route: Route, driven: Driven) -> tuple[float, float]:
    """The station of a route that is nearest to the driven car, and how far aside it is; a route the other way is far."""
    steps = route.points - driven.middle
    distance = np.hypot(steps[:, 0], steps[:, 1])
    nearest = int(np.clip(distance.argmin(), 1, len(route.points) - 1))
    along = route.points[nearest] - route.points[nearest - 1]
    against = float(along @ driven.heading) < 0.3 * STEP
    return nearest * STEP, float(distance[nearest]) + (50.0 if against else 0.0)
