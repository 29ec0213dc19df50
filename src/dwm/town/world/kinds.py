"""The kinds of road users and objects: category, size and the model that draws them. One kind, one look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """size is (length, width, height) in metres; speed is the one it likes, m/s (0: it never moves)."""

    name: str
    category: str
    size: tuple[float, float, float]
    speed: float = 0.0


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("hatchback", "vehicle.car", (3.9, 1.75, 1.5), 9.0),
        Kind("sedan", "vehicle.car", (4.7, 1.85, 1.42), 9.5),
        Kind("suv", "vehicle.car", (4.8, 1.95, 1.85), 9.0),
        Kind("bus", "vehicle.bus.rigid", (11.0, 2.55, 3.2), 8.0),
        Kind("truck", "vehicle.truck", (7.5, 2.45, 3.1), 8.0),
        Kind("excavator", "vehicle.construction", (5.5, 2.3, 3.0)),
        Kind("police", "vehicle.emergency.police", (4.8, 1.9, 1.65), 10.0),
        Kind("ambulance", "vehicle.emergency.ambulance", (6.0, 2.2, 2.7), 10.0),
        Kind("trailer", "vehicle.trailer", (6.0, 2.4, 2.7), 8.0),
        Kind("bicycle", "vehicle.bicycle", (1.8, 0.6, 1.75), 4.5),
        Kind("motorcycle", "vehicle.motorcycle", (2.2, 0.8, 1.65), 9.0),
        Kind("adult", "human.pedestrian.adult", (0.6, 0.65, 1.78), 1.4),
        Kind("child", "human.pedestrian.child", (0.45, 0.5, 1.2), 1.4),
        Kind("worker", "human.pedestrian.construction_worker", (0.6, 0.7, 1.82)),
        Kind("barrier", "movable_object.barrier", (0.5, 2.2, 1.0)),
        Kind("cone", "movable_object.trafficcone", (0.42, 0.42, 0.85)),
    )
}

MOVING_SHARES = {
    "hatchback": 0.22,
    "sedan": 0.22,
    "suv": 0.2,
    "bus": 0.09,
    "truck": 0.09,
    "police": 0.03,
    "ambulance": 0.03,
    "bicycle": 0.06,
    "motorcycle": 0.06,
}
"""How often each kind drives by. A fourth of the trucks pull a trailer."""
