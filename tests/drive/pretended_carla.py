"""A stand-in of CARLA's client library, written from its documented API: what `CarlaSource` calls, on a world of its own.

Left-handed as CARLA is: y to the right, yaw clockwise from above, pitch up. Vehicles roll where their wheels point. A test puts it
in the place of the module `carla`; what the two share is checked against the real one where that is installed.
"""

from __future__ import annotations

import fnmatch
import math
import threading
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from small_opendrive import text

HALF = {"car": (2.3, 0.95, 0.8), "walker": (0.2, 0.2, 0.9)}


@dataclass
class Vector3D:
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass
class Location(Vector3D):
    pass


@dataclass
class Rotation:
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0


@dataclass
class Transform:
    location: Location = field(default_factory=Location)
    rotation: Rotation = field(default_factory=Rotation)

    def get_matrix(self) -> list[list[float]]:
        p, y, r = (math.radians(angle) for angle in (self.rotation.pitch, self.rotation.yaw, self.rotation.roll))
        turn = np.array([[math.cos(y), -math.sin(y), 0], [math.sin(y), math.cos(y), 0], [0, 0, 1]])
        tilt = np.array([[math.cos(p), 0, -math.sin(p)], [0, 1, 0], [math.sin(p), 0, math.cos(p)]])
        lean = np.array([[1, 0, 0], [0, math.cos(r), math.sin(r)], [0, -math.sin(r), math.cos(r)]])
        matrix = np.eye(4)
        matrix[:3, :3] = turn @ tilt @ lean
        matrix[:3, 3] = self.location.x, self.location.y, self.location.z
        return matrix.tolist()


@dataclass
class BoundingBox:
    location: Location
    extent: Vector3D
    rotation: Rotation = field(default_factory=Rotation)


@dataclass
class VehicleControl:
    throttle: float = 0.0
    steer: float = 0.0
    brake: float = 0.0
    hand_brake: bool = False
    reverse: bool = False


class VehicleWheelLocation(Enum):
    FL_Wheel = 0


@dataclass
class WeatherParameters:
    cloudiness: float = 5.0
    precipitation: float = 0.0
    precipitation_deposits: float = 0.0
    wetness: float = 0.0
    fog_density: float = 0.0
    fog_distance: float = 0.0
    sun_altitude_angle: float = 45.0


@dataclass
class WorldSettings:
    synchronous_mode: bool = False
    fixed_delta_seconds: float | None = None


@dataclass
class Blueprint:
    id: str
    attributes: dict[str, str] = field(default_factory=dict)

    def set_attribute(self, name: str, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{name} is set by a text")
        self.attributes[name] = value


class Library(list):
    def filter(self, pattern: str) -> Library:
        return Library(one for one in self if fnmatch.fnmatch(one.id, pattern))

    def find(self, name: str) -> Blueprint:
        return next(replace(one, attributes=dict(one.attributes)) for one in self if one.id == name)


class Actor:
    def __init__(self, world: World, number: int, blueprint: Blueprint, pose: Transform, parent: Actor | None) -> None:
        self.world, self.id, self.type_id, self.pose, self.parent = world, number, blueprint.id, pose, parent
        self.attributes = dict(blueprint.attributes)
        half = HALF["walker" if self.type_id.startswith("walker.") else "car"]
        self.bounding_box = BoundingBox(Location(0.1, 0.0, half[2]), Vector3D(*half))
        self.speed, self.control, self.autopilot = 0.0, VehicleControl(), False
        self.callback = None

    def get_transform(self) -> Transform:
        return self.pose

    def set_transform(self, pose: Transform) -> None:
        self.pose = pose

    def set_target_velocity(self, velocity: Vector3D) -> None:
        self.speed = math.hypot(velocity.x, velocity.y)

    def get_velocity(self) -> Vector3D:
        yaw = math.radians(self.pose.rotation.yaw)
        return Vector3D(self.speed * math.cos(yaw), self.speed * math.sin(yaw))

    def apply_control(self, control: VehicleControl) -> None:
        self.control = control

    def set_autopilot(self, enabled: bool = True, port: int = 8000) -> None:
        self.autopilot = enabled

    def get_wheel_steer_angle(self, wheel: VehicleWheelLocation) -> float:
        return 30.0 * self.control.steer

    def destroy(self) -> bool:
        return self.world.actors.pop(self.id, None) is not None

    def listen(self, callback) -> None:
        self.callback = callback

    def stop(self) -> None:
        self.callback = None

    def roll(self, seconds: float) -> None:
        """One step of a vehicle."""
        control = VehicleControl(throttle=0.3) if self.autopilot else self.control
        push = 4.0 * control.throttle * (-1 if control.reverse else 1)
        self.speed += push * seconds
        self.speed = math.copysign(max(0.0, abs(self.speed) - 8.0 * control.brake * seconds), self.speed)
        yaw, way = self.pose.rotation.yaw, self.speed * seconds
        yaw += math.degrees(way * math.tan(math.radians(30.0 * control.steer)) / 2.8)
        at = self.pose.location
        place = Location(at.x + way * math.cos(math.radians(yaw)), at.y + way * math.sin(math.radians(yaw)), at.z)
        self.pose = Transform(place, Rotation(self.pose.rotation.pitch, yaw, self.pose.rotation.roll))


@dataclass
class Image:
    frame: int
    width: int
    height: int
    raw_data: bytes


@dataclass
class Collision:
    frame: int
    other_actor: Actor


class Map:
    name = "Carla/Maps/Small"

    def to_opendrive(self) -> str:
        return text()

    def get_spawn_points(self) -> list[Transform]:
        # On the right-hand lane of the straight, which leads to 0.3 rad in OpenDRIVE, mirrored here.
        ahead, aside = (math.cos(0.3), math.sin(0.3)), (math.sin(0.3), -math.cos(0.3))
        places = [(10 + s * ahead[0] + 1.2 * aside[0], -5 + s * ahead[1] + 1.2 * aside[1]) for s in (8, 20, 34, 48)]
        return [Transform(Location(x, -y, 0.6), Rotation(yaw=-math.degrees(0.3))) for x, y in places]


class TrafficManager:
    def __init__(self) -> None:
        self.synchronous, self.seed = False, None

    def set_synchronous_mode(self, on: bool) -> None:
        self.synchronous = on

    def set_random_device_seed(self, seed: int) -> None:
        self.seed = seed

    def get_port(self) -> int:
        return 8000


class World:
    def __init__(self) -> None:
        self.actors: dict[int, Actor] = {}
        self.settings, self.weather = WorldSettings(), WeatherParameters()
        self.frame, self.number, self.silent, self.late = 100, 10, False, False
        self.library = Library(
            [
                Blueprint("vehicle.tesla.model3", {"base_type": "car", "number_of_wheels": "4"}),
                Blueprint("vehicle.carlamotors.firetruck", {"base_type": "truck", "number_of_wheels": "4"}),
                Blueprint("walker.pedestrian.0001", {"age": "adult"}),
                Blueprint("sensor.camera.rgb"),
                Blueprint("sensor.other.collision"),
            ]
        )

    def get_settings(self) -> WorldSettings:
        return replace(self.settings)

    def apply_settings(self, settings: WorldSettings) -> int:
        self.settings = replace(settings)
        return self.frame

    def get_map(self) -> Map:
        return Map()

    def get_actors(self) -> World:
        return self

    def filter(self, pattern: str) -> list[Actor]:
        """Of the list of actors."""
        return [actor for actor in self.actors.values() if fnmatch.fnmatch(actor.type_id, pattern)]

    def get_blueprint_library(self) -> Library:
        return self.library

    def spawn_actor(self, blueprint: Blueprint, pose: Transform, attach_to: Actor | None = None) -> Actor:
        self.number += 1
        actor = Actor(self, self.number, blueprint, pose, attach_to)
        self.actors[self.number] = actor
        return actor

    def try_spawn_actor(self, blueprint: Blueprint, pose: Transform) -> Actor | None:
        there = [actor.pose.location for actor in self.actors.values() if actor.parent is None]
        if any(math.hypot(at.x - pose.location.x, at.y - pose.location.y) < 4 for at in there):
            return None
        return self.spawn_actor(blueprint, pose)

    def get_weather(self) -> WeatherParameters:
        return replace(self.weather)

    def set_weather(self, weather: WeatherParameters) -> None:
        self.weather = replace(weather)

    def tick(self, seconds: float = 10.0) -> int:
        if self.silent:
            raise RuntimeError("time-out of 30000ms while waiting for the simulator")
        if not self.settings.synchronous_mode or not self.settings.fixed_delta_seconds:
            raise RuntimeError("ticked a world that goes by its own clock")
        self.frame += 1
        vehicles = self.filter("vehicle.*")
        for vehicle in vehicles:
            vehicle.roll(self.settings.fixed_delta_seconds)
        for sensor in [actor for actor in self.actors.values() if actor.callback is not None]:
            if sensor.type_id == "sensor.camera.rgb" and not self.late:
                threading.Thread(target=sensor.callback, args=(self._image(sensor),)).start()
            elif sensor.type_id == "sensor.other.collision":
                hits = [one for one in vehicles if one is not sensor.parent and _near(one.pose, sensor.parent.pose)]
                for other in hits:
                    sensor.callback(Collision(self.frame, other))
        return self.frame

    def _image(self, sensor: Actor) -> Image:
        width, height = int(sensor.attributes["image_size_x"]), int(sensor.attributes["image_size_y"])
        pixels = np.zeros((height, width, 4), np.uint8)
        pixels[..., 0], pixels[..., 2] = 10, 200  # blue, green, red, alpha
        return Image(self.frame, width, height, pixels.tobytes())


def _near(one: Transform, other: Transform) -> bool:
    return math.hypot(one.location.x - other.location.x, one.location.y - other.location.y) < 4.0


class Client:
    """`Client.world` is what all clients see; None: no server."""

    world: World | None = None
    manager = TrafficManager()

    def __init__(self, host: str, port: int, worker_threads: int = 0) -> None:
        self.host, self.port = host, port

    def set_timeout(self, seconds: float) -> None:
        pass

    def get_world(self) -> World:
        if self.world is None:
            raise RuntimeError(f"time-out of 30000ms while waiting for the simulator, make sure it is at {self.port}")
        return self.world

    def get_trafficmanager(self, port: int = 8000) -> TrafficManager:
        return self.manager
