"""Ways through a scene along lanes and junctions, and where on them an agent may have to wait."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dwm.town.world.streets import CORNER, CROSSING, CROSSING_MIDDLE, MAIN_HALF, STOP, Streets

STEP = 0.5
"""Metres between a route's points."""


@dataclass(frozen=True)
class Route:
    """A way through the scene for one agent: points every `STEP` metres, and the gate where it may have to wait.

    gate and clear are the stations s before which the agent waits and after which it has left the junction; `crossings`
    (indices) are those that must be free, `arm` (or -1) the approach that needs a green light.
    """

    points: Float[np.ndarray, "k 2"]
    gate: float
    clear: float
    crossings: tuple[int, ...]
    arm: int
    turn: str
    group: int

    @property
    def length(self) -> float:
        return (len(self.points) - 1) * STEP


def routes(streets: Streets) -> list[Route]:
    """Every way through the scene along lanes."""
    if not streets.arms:
        return [_through_route(streets, i) for i in range(len(streets.lanes))]
    result = []
    for connector in streets.connectors:
        source, target = streets.lanes[connector.source], streets.lanes[connector.target]
        line = np.concatenate([source.centre, connector.centre[1:-1], target.centre])
        lane_end = float(np.linalg.norm(source.centre[1] - source.centre[0]))
        way = float(np.linalg.norm(np.diff(connector.centre, axis=0), axis=1).sum())
        gate = lane_end - (STOP - CORNER) - 0.3
        clear = lane_end + way + (CROSSING[1] - CORNER) + 1.0
        crossings = (source.arm, target.arm)
        result.append(Route(_resample(line), gate, clear, crossings, source.arm, connector.turn, connector.source))
    return result


def _through_route(streets: Streets, index: int) -> Route:
    gate = MAIN_HALF + CROSSING_MIDDLE[0] - 1.3
    clear = MAIN_HALF + CROSSING_MIDDLE[1] + 1.0
    return Route(_resample(streets.lanes[index].centre), gate, clear, (0,), -1, "straight", index)


def _resample(line: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "m 2"]:
    """The same line with a point every `STEP` metres."""
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.arange(0.0, s[-1], STEP)
    return np.stack([np.interp(at, s, line[:, 0]), np.interp(at, s, line[:, 1])], -1)
