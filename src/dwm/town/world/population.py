"""Who is in a scene: draws the car's own route, the traffic, parked cars, people and a construction site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dwm.town.drawing.scenery import Side, sides
from dwm.town.world.kinds import KINDS, MOVING_SHARES, Kind
from dwm.town.world.routes import Route
from dwm.town.world.streets import Streets
from dwm.town.world.traffic import Mover, Walker, pose_on_route

SPACING = {"quiet": 95.0, "normal": 48.0, "busy": 24.0}
PARKED_SHARE = {"quiet": 0.15, "normal": 0.35, "busy": 0.6}
STROLLERS = {"quiet": 40.0, "normal": 22.0, "busy": 13.0}
STRAIGHT_ONLY = ("bus", "truck", "trailer")
PARKING_PITCH = 7.0
EGO = Kind("ego", "ego", (4.6, 1.9, 1.6), 9.0)


@dataclass(frozen=True)
class Standing:
    """A thing that keeps its place."""

    kind: Kind
    position: Float[np.ndarray, "2"]
    yaw: float


@dataclass(frozen=True)
class Stroller:
    """A person who walks along a sidewalk at a steady pace (m/s; zero for one who stands)."""

    kind: Kind
    position: Float[np.ndarray, "2"]
    yaw: float
    speed: float


@dataclass(frozen=True)
class Population:
    """movers[0] is the car with the cameras."""

    movers: tuple[Mover, ...]
    walkers: tuple[Walker, ...]
    strollers: tuple[Stroller, ...]
    standing: tuple[Standing, ...]
    green_order: tuple[int, ...]
    green_offset: float


def populate(
    rng: np.random.Generator, streets: Streets, routes: Sequence[Route], traffic: str, duration: float
) -> Population:
    """Draws everybody."""
    ego = _ego(rng, streets, routes)
    standing = _site(rng, streets) if rng.random() < 0.45 else []
    standing += _parked(rng, streets, PARKED_SHARE[traffic], standing)
    movers = _traffic(rng, routes, ego, SPACING[traffic])
    order, offset = _lights(rng, streets, routes[ego.route].arm)
    walkers = _walkers(rng, streets, traffic, duration)
    strollers = _strollers(rng, streets, STROLLERS[traffic], duration)
    return Population(tuple(movers), tuple(walkers), tuple(strollers), tuple(standing), order, offset)


def _ego(rng: np.random.Generator, streets: Streets, routes: Sequence[Route]) -> Mover:
    """The car starts on the main street, some way before the junction or crossing."""
    own = [i for i, route in enumerate(routes) if _on_main(streets, route)]
    straight = [i for i in own if routes[i].turn == "straight"]
    turning = [i for i in own if routes[i].turn != "straight"]
    choice = turning if turning and (not straight or rng.random() < 0.45) else straight
    route = int(choice[int(rng.integers(len(choice)))])
    return Mover(EGO, route, routes[route].gate - float(rng.uniform(6.0, 85.0)))


def _on_main(streets: Streets, route: Route) -> bool:
    return route.arm < 0 or not streets.arms[route.arm].street.across


def _traffic(rng: np.random.Generator, routes: Sequence[Route], ego: Mover, spacing: float) -> list[Mover]:
    movers, corridors = [ego], [_corridor(routes, ego)]
    names, shares = list(MOVING_SHARES), np.array(list(MOVING_SHARES.values()))
    for group in sorted({route.group for route in routes}):
        ways = [i for i, route in enumerate(routes) if route.group == group]
        s = float(rng.uniform(40.0, 40.0 + spacing))
        while s < routes[ways[0]].length - 40:
            kind = KINDS[names[int(rng.choice(len(names), p=shares / shares.sum()))]]
            way = _way(rng, routes, ways, kind, s)
            if way is not None:
                mover = Mover(kind, way, s)
                together = [mover]
                if kind.name == "truck" and rng.random() < 0.4 and s > 30:
                    trailer = KINDS["trailer"]
                    behind = s - kind.size[0] / 2 - trailer.size[0] / 2 - 0.4
                    together.append(Mover(trailer, way, behind, len(movers)))
                if _free(routes, together, corridors):
                    movers += together
                    corridors += [_corridor(routes, one) for one in together]
            s += kind.size[0] + 6.0 + float(rng.exponential(spacing))
    return movers[:44]


def _way(rng: np.random.Generator, routes: Sequence[Route], ways: list[int], kind: Kind, s: float) -> int | None:
    straight = [i for i in ways if routes[i].turn == "straight"]
    gate, clear = routes[ways[0]].gate, max(routes[i].clear for i in ways)
    if s > clear + 8:
        return straight[0] if straight else None
    if s > gate - 8:
        return None
    choice = straight if kind.name in STRAIGHT_ONLY else ways
    return choice[int(rng.integers(len(choice)))] if choice else None


def _corridor(routes: Sequence[Route], mover: Mover) -> tuple[np.ndarray, float, float]:
    position, yaw = pose_on_route(routes[mover.route], mover.s, 1.0)
    return position, yaw, mover.kind.size[0] / 2


def _free(
    routes: Sequence[Route], movers: Sequence[Mover], corridors: Sequence[tuple[np.ndarray, float, float]]
) -> bool:
    for mover in movers:
        position, yaw, half = _corridor(routes, mover)
        heading = np.array([np.cos(yaw), np.sin(yaw)])
        for other, _, other_half in corridors:
            step = other - position
            along, aside = abs(step @ heading), abs(step[0] * heading[1] - step[1] * heading[0])
            if aside < 2.6 and along < half + other_half + 3.0:
                return False
    return True


def _lights(rng: np.random.Generator, streets: Streets, ego_arm: int) -> tuple[tuple[int, ...], float]:
    """The order in which the approaches get green; the car's own is mostly the first or second."""
    if not streets.arms:
        return (), 0.0
    others = [i for i in range(len(streets.arms)) if i != ego_arm]
    rng.shuffle(others)
    index = 0 if rng.random() < 0.6 else 1
    return (*others[:index], ego_arm, *others[index:]), float(rng.uniform(0.0, 4.0))


def _walkers(rng: np.random.Generator, streets: Streets, traffic: str, duration: float) -> list[Walker]:
    """One group of up to three for each crossing, all in one direction, so that traffic stops for it once."""
    walkers = []
    mean = {"quiet": 0.7, "normal": 1.4, "busy": 2.4}[traffic]
    for index in range(len(streets.crossings)):
        backwards, start = bool(rng.random() < 0.5), float(rng.uniform(0.0, duration * 0.9))
        walkers.extend(
            Walker(_pedestrian(rng), index, backwards, aside, start + float(rng.uniform(0.0, 0.8)))
            for aside in (-1.1, -0.1, 0.9)[: int(min(rng.poisson(mean), 3))]
        )
    return walkers


def _pedestrian(rng: np.random.Generator) -> Kind:
    return KINDS["child" if rng.random() < 0.22 else "adult"]


def _strollers(rng: np.random.Generator, streets: Streets, spacing: float, duration: float) -> list[Stroller]:
    """Two files on every sidewalk, one for each direction, at one pace: nobody overtakes, nobody bumps."""
    strollers = []
    for side, _ in sides(streets):
        if side.length < 60:
            continue
        for file, beyond in ((1, 1.5), (-1, 2.35)):
            slack = 1.3 * duration
            low, high = (6.0, side.length - slack) if file > 0 else (6.0 + slack, side.length)
            along = low + float(rng.exponential(spacing))
            while along < min(high, 80.0):
                strollers.append(_stroller(side, along, beyond, file, _pedestrian(rng)))
                along += 1.5 + float(rng.exponential(spacing))
    return strollers


def _stroller(side: Side, along: float, beyond: float, file: int, kind: Kind) -> Stroller:
    start, end = np.array(side.point(along, beyond)), np.array(side.point(along + file, beyond))
    step = end - start
    return Stroller(kind, start, float(np.arctan2(step[1], step[0])), 1.3)


def _yaw(side: Side) -> float:
    """The direction of the traffic beside a kerb."""
    ahead = 1.0 if side.sign < 0 else -1.0
    a, b = side.street.point(0.0, 0.0), side.street.point(ahead, 0.0)
    return float(np.arctan2(b[1] - a[1], b[0] - a[0]))


def _parked(rng: np.random.Generator, streets: Streets, share: float, others: Sequence[Standing]) -> list[Standing]:
    parked = []
    names = ("hatchback", "sedan", "suv")
    for side, _ in sides(streets):
        if side.length < 60:
            continue
        for along in np.arange(20.0, min(side.length - 20, 130.0), PARKING_PITCH).tolist():
            kind = KINDS["trailer" if rng.random() < 0.02 else names[int(rng.integers(3))]]
            position = np.array(side.point(along, -1.12))
            clear = all(np.linalg.norm(position - other.position) > 7.0 for other in others)
            if rng.random() < share and clear:
                parked.append(Standing(kind, position, _yaw(side)))
    return parked


def _site(rng: np.random.Generator, streets: Streets) -> list[Standing]:
    """Road works on a parking strip: an excavator between barriers and cones, and workers."""
    choices = [side for side, _ in sides(streets) if side.length >= 60 and not side.street.across]
    side = choices[int(rng.integers(len(choices)))]
    start, yaw = float(rng.uniform(20.0, 60.0)), _yaw(side)

    def put(name: str, along: float, beyond: float, turn: float = 0.0) -> Standing:
        return Standing(KINDS[name], np.array(side.point(start + along, beyond)), yaw + turn)

    across = 0.0
    things = [put("excavator", 0.0, -1.15), put("barrier", -6.0, -1.15, across), put("barrier", 6.0, -1.15, across)]
    things += [put("cone", along, -2.0) for along in (-9.0, -7.6, -4.4, 4.4, 7.6, 9.0)]
    things += [put("worker", along, beyond, float(rng.uniform(-3, 3))) for along, beyond in ((-4.2, -0.9), (4.3, -1.0))]
    return things
