"""The car that is driven: a kinematic bicycle on a plane, and what it touches. It knows no source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from shapely import Geometry, STRtree, box, polygons
from shapely.affinity import affine_transform
from shapely.geometry import LineString, Polygon

from dwm.clip import Boxes
from dwm.drive.source import Action
from dwm.geometry import UNIT_CUBE_CORNERS, rotation_z, transform

SIZE = (4.6, 1.9, 1.6)
"""Length, width, height of the driven car."""
REAR_AXLE = 1.4
"""Metres from its middle back to its origin, the ground below the rear axle."""
WHEELBASE = 2.7
THROTTLE, BRAKE, DRAG = 3.0, 8.0, 0.06
"""m/s² at full pedal; share of the speed that is lost each second."""
FASTEST, FASTEST_BACK = 36.0, 4.0
WHEEL, WHEEL_RATE, SIDEWAYS = 0.6, 1.6, 4.5
"""Radians of the front wheels at most, radians a second, m/s² sideways that tyres hold."""
LONGEST_STEP = 0.05

FOOTPRINT = box(REAR_AXLE - SIZE[0] / 2, -SIZE[1] / 2, REAR_AXLE + SIZE[0] / 2, SIZE[1] / 2)
"""The ground that the car covers, in its own frame."""
GROUND_CORNERS = UNIT_CUBE_CORNERS[[0, 4, 6, 2]]


@dataclass(frozen=True)
class Bicycle:
    """x, y (metres) of the rear axle, yaw, speed (m/s, negative backwards) and angle of the front wheels, left positive."""

    x: float
    y: float
    yaw: float
    speed: float = 0.0
    wheel: float = 0.0

    @classmethod
    def at(cls, pose: Float[np.ndarray, "4 4"], speed: float = 0.0) -> Bicycle:
        return cls(float(pose[0, 3]), float(pose[1, 3]), math.atan2(pose[1, 0], pose[0, 0]), speed)

    @property
    def pose(self) -> Float[np.ndarray, "4 4"]:
        """plane_from_ego"""
        return transform(rotation_z(self.yaw), (self.x, self.y, 0.0))

    @property
    def middle(self) -> Float[np.ndarray, "2"]:
        return np.array([self.x + REAR_AXLE * math.cos(self.yaw), self.y + REAR_AXLE * math.sin(self.yaw)])

    @property
    def footprint(self) -> Polygon:
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return affine_transform(FOOTPRINT, [c, -s, s, c, self.x, self.y])

    def driven(self, action: Action, seconds: float) -> Bicycle:
        """The car after the driver did this for so long."""
        push = THROTTLE * action.throttle * (-1 if action.reverse else 1)
        return self.moved(push, -WHEEL * action.steer, seconds, BRAKE * action.brake)

    def moved(self, push: float, wheel: float, seconds: float, brake: float = 0.0) -> Bicycle:
        """The car after `seconds` of an acceleration (m/s²), the wheels turned towards an angle, and brakes that never reverse."""
        car, count = self, max(1, math.ceil(seconds / LONGEST_STEP))
        for _ in range(count):
            car = car._step(push, wheel, brake, seconds / count)
        return car

    def standing(self) -> Bicycle:
        return replace(self, speed=0.0)

    def _step(self, push: float, wheel: float, brake: float, dt: float) -> Bicycle:
        speed = self.speed + dt * (push - DRAG * self.speed)
        speed = math.copysign(max(0.0, abs(speed) - brake * dt), speed)
        speed = min(FASTEST, max(-FASTEST_BACK, speed))
        most = min(WHEEL, math.atan(WHEELBASE * SIDEWAYS / max(speed * speed, 0.1)))
        wheel = min(most, max(-most, wheel))
        turned = self.wheel + min(WHEEL_RATE * dt, max(-WHEEL_RATE * dt, wheel - self.wheel))
        turned = min(most, max(-most, turned))
        way = dt * (self.speed + speed) / 2
        turn = way * math.tan(turned) / WHEELBASE
        # Along the chord of the arc: exact enough, and it does not depend on how long a step is.
        x = self.x + way * math.cos(self.yaw + turn / 2)
        y = self.y + way * math.sin(self.yaw + turn / 2)
        return Bicycle(x, y, self.yaw + turn, speed, turned)


def wheel_towards(car: Bicycle, target: Float[np.ndarray, "2"]) -> float:
    """The angle of the front wheels whose arc leads the rear axle through a point (pure pursuit)."""
    dx, dy = float(target[0]) - car.x, float(target[1]) - car.y
    aside = -math.sin(car.yaw) * dx + math.cos(car.yaw) * dy
    return math.atan(2 * WHEELBASE * aside / max(dx * dx + dy * dy, 0.25))


def outside(footprint: Polygon, road: Sequence[Polygon | LineString], tree: STRtree) -> bool:
    """Whether a part of the car stands on none of the road's areas; `tree` is of those."""
    left: Geometry = footprint
    for index in tree.query(footprint, predicate="intersects").tolist():
        left = left.difference(road[index])
    return left.area > 0.05 * footprint.area


def touched(footprint: Polygon, boxes: Boxes | None) -> set[str]:
    """The instances whose boxes stand on the ground that the car covers."""
    if boxes is None or len(boxes) == 0:
        return set()
    corners = (GROUND_CORNERS * boxes.size[:, None]) @ boxes.rotation.swapaxes(1, 2) + boxes.center[:, None]
    hits = STRtree(polygons(corners[..., :2])).query(footprint, predicate="intersects")
    return {boxes.instance[index] for index in hits.tolist()}
