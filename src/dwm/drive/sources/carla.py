"""CARLA as a source of steering: its physics, its traffic and its map; the network draws. Needs a CARLA server that runs.

CARLA's axes are left-handed (y to the right, yaw clockwise): every pose is mirrored in y, after which it is OpenDRIVE's frame of
the same map. The world is ticked by its consumer alone, so that it waits for a slow network.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from shapely import STRtree

from dwm.clip import NO_BOXES, Boxes, Caption, Rig
from dwm.drive.bicycle import Bicycle, outside
from dwm.drive.source import Action, Moment
from dwm.drive.sources.opendrive import read_opendrive
from dwm.errors import DwmError, nearest
from dwm.geometry import transform
from dwm.town.world import cameras

MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])
EGO_FROM_ACTOR = transform(np.eye(3), [1.5, 0.0, 0.0])
"""CARLA's vehicles have their origin in their middle, ours below the rear axle."""
CAMERA_AXES = cameras.FORWARD
LONGEST_TICK = 0.05
"""Seconds of physics at once; CARLA's own bound for stable vehicles is 0.1."""
SIGHT = 80.0
"""Metres around the car within which actors are annotated."""
LEAST_EXTENT = 0.2
"""Metres of half a box: two-wheelers of some releases are flat."""
PATIENCE = 30.0
"""Seconds that a server has to answer."""
HERO = "hero"
VEHICLES = 30
CATEGORIES = {
    "car": "vehicle.car", "van": "vehicle.car", "truck": "vehicle.truck", "bus": "vehicle.bus.rigid",
    "motorcycle": "vehicle.motorcycle", "bicycle": "vehicle.bicycle",
}  # fmt: skip
SUN = {"day": 50.0, "dusk": 2.0, "night": -30.0}
"""Degrees of the sun above the horizon."""
SKY = {
    "clear": (10.0, 0.0, 0.0), "overcast": (90.0, 0.0, 0.0), "rain": (90.0, 70.0, 10.0), "fog": (60.0, 0.0, 70.0),
}  # fmt: skip
"""Clouds, precipitation and fog in percent."""


@dataclass
class _Eye:
    """A colour camera, and the newest picture that came of it."""

    sensor: Any
    frame: int = -1
    pixels: UInt8[np.ndarray, "h w 3"] | None = None


class CarlaSource:
    """Drives the vehicle whose role name is `hero`, or one of its own among `vehicles` others that CARLA drives.

    What it found it leaves as it was when it is closed; what it spawned it takes away.
    """

    def __init__(
        self,
        carla: Any,
        client: Any,
        fps: float = 4.0,
        vehicles: int = VEHICLES,
        rig: Rig | None = None,
        picture_size: tuple[int, int] | None = (480, 270),
    ) -> None:
        """`carla`: the module; picture_size: width and height of its own pictures, None for none.

        Raises DwmError where the server does not answer.
        """
        self.carla, self.client, self._fps, self.vehicles = carla, client, fps, vehicles
        self._rig = rig or default_rig()
        self.picture_size = picture_size
        self.spawned: list[Any] = []
        self.eyes: dict[str, _Eye] = {}
        self.arrived, self.collisions = threading.Condition(), list[str]()
        with answering():
            self.world = client.get_world()
            self.before = self.world.get_settings()
            whole = self.world.get_map()
            self._map_name = str(whole.name).split("/")[-1]
            self.map = read_opendrive(whole.to_opendrive(), f"CARLA's map {self._map_name}")
            heroes = [one for one in self._actors("vehicle.*") if one.attributes.get("role_name") == HERO]
        self.found = heroes[0] if heroes else None
        self.begin = self.found.get_transform() if self.found is not None else None
        self.road = self.map.layers["drivable_area"]
        self.areas = STRtree(self.road)
        self.ticks = max(1, math.ceil(1 / (fps * LONGEST_TICK) - 1e-6))
        try:
            self._synchronise()
            self.reset(0)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        return f"carla-{self._map_name}"

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def rig(self) -> Rig:
        return self._rig

    def reset(self, seed: int) -> Moment:
        """Traffic anew, as `seed` places it; a hero of somebody else's goes back to where it stood. CARLA's traffic is not exactly
        the same twice."""
        with answering():
            self._clear()
            rng = np.random.default_rng(seed)
            places = list(self.world.get_map().get_spawn_points())
            order = [places[i] for i in rng.permutation(len(places))]
            if self.found is not None:
                self.hero = self.found
                self.hero.set_transform(self.begin)
                self.hero.set_target_velocity(self.carla.Vector3D(0.0, 0.0, 0.0))
            else:
                self.hero = self._spawn_hero(order)
                self._spawn_traffic(order, rng, seed)
            self._watch()
            self.time = self.travelled = 0.0
            self.driving_itself: bool | None = None
            self.off_road = False
            self.collisions.clear()
            self._tick()
        self.place = self._ego()
        return self._moment("", ())

    def step(self, action: Action) -> Moment:
        with answering():
            if action.autopilot != self.driving_itself:
                self.hero.set_autopilot(action.autopilot)
                self.driving_itself = action.autopilot
            if not action.autopilot:
                control = self.carla.VehicleControl(
                    throttle=float(action.throttle), steer=float(action.steer), brake=float(action.brake),
                    hand_brake=False, reverse=action.reverse,
                )  # fmt: skip
                self.hero.apply_control(control)
            frames = [self._tick() for _ in range(self.ticks)]
            self._wait_for_pictures(frames[-1])
        self.time += 1 / self.fps
        place = self._ego()
        self.travelled += float(np.linalg.norm(place[:2, 3] - self.place[:2, 3]))
        self.place = place
        with self.arrived:
            hits, self.collisions = self.collisions, []
        notes = [f"crash: {hits[0]}"] if hits else []
        off = bool(self.road) and outside(Bicycle.at(place).footprint, self.road, self.areas)
        if off != self.off_road:
            notes.append("off the road" if off else "back on the road")
        self.off_road = off
        return self._moment(hits[0] if hits else "", tuple(notes))

    def change(self, time: str | None = None, weather: str | None = None) -> None:
        for word, known in ((time, SUN), (weather, SKY)):
            if word is not None and word not in known:
                raise DwmError(f"{word!r} is not a word of CARLA{nearest(word, known)} (known: {', '.join(known)})")
        with answering():
            now = self.world.get_weather()
            if time is not None:
                now.sun_altitude_angle = SUN[time]
            if weather is not None:
                now.cloudiness, now.precipitation, now.fog_density = SKY[weather]
                now.precipitation_deposits = now.wetness = now.precipitation
                now.fog_distance = 10.0
            self.world.set_weather(now)

    def picture(self, view: str, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"] | None:
        """What CARLA's own camera sees there."""
        eye = self.eyes.get(view)
        if eye is None or eye.pixels is None:
            return None
        return np.asarray(Image.fromarray(eye.pixels).resize(size, Image.Resampling.BILINEAR))

    def close(self) -> None:
        """Takes away what it spawned, and lets the world tick by itself again if it did before."""
        with contextlib.suppress(RuntimeError, DwmError):
            self._clear()
            self.client.get_trafficmanager().set_synchronous_mode(False)
            self.world.apply_settings(self.before)

    # The server's side.

    def _synchronise(self) -> None:
        with answering():
            settings = self.world.get_settings()
            settings.synchronous_mode = True
            settings.fixed_delta_seconds = 1 / (self.fps * self.ticks)
            self.world.apply_settings(settings)
            self.client.get_trafficmanager().set_synchronous_mode(True)

    def _tick(self) -> int:
        return int(self.world.tick(PATIENCE))

    def _actors(self, pattern: str) -> list[Any]:
        # Asked anew each time: actors come and go.
        return list(self.world.get_actors().filter(pattern))

    def _spawn_hero(self, places: list[Any]) -> Any:
        library = self.world.get_blueprint_library()
        blueprint = next(iter(library.filter("vehicle.tesla.model3")), None) or library.filter("vehicle.*")[0]
        blueprint.set_attribute("role_name", HERO)
        for place in places:
            if (hero := self.world.try_spawn_actor(blueprint, place)) is not None:
                self.spawned.append(hero)
                return hero
        raise DwmError(
            f"CARLA: no free place for a car on {self._map_name}; spawn a vehicle with the role name {HERO} in it"
        )

    def _spawn_traffic(self, places: list[Any], rng: np.random.Generator, seed: int) -> None:
        manager = self.client.get_trafficmanager()
        manager.set_random_device_seed(seed)
        blueprints = self.world.get_blueprint_library().filter("vehicle.*")
        count = 0
        for place in places:
            if count == self.vehicles:
                break
            blueprint = blueprints[int(rng.integers(len(blueprints)))]
            if (other := self.world.try_spawn_actor(blueprint, place)) is not None:
                self.spawned.append(other)
                other.set_autopilot(True, manager.get_port())
                count += 1

    def _watch(self) -> None:
        """A sensor of collisions, and the cameras."""
        library = self.world.get_blueprint_library()
        sensor = self.world.spawn_actor(
            library.find("sensor.other.collision"), self.carla.Transform(), attach_to=self.hero
        )
        self.spawned.append(sensor)
        sensor.listen(self._collided)
        if self.picture_size is None:
            return
        for number, view in enumerate(self.rig.names):
            blueprint = library.find("sensor.camera.rgb")
            fov = 2 * math.atan(self.rig.size_of(number)[0] / (2 * self.rig.intrinsics[number, 0, 0]))
            sizes = zip(("image_size_x", "image_size_y", "fov"), (*self.picture_size, math.degrees(fov)), strict=True)
            for name, value in sizes:
                blueprint.set_attribute(name, str(value))
            mount = carla_pose(self.carla, self.rig.ego_from_camera[number])
            eye = _Eye(self.world.spawn_actor(blueprint, mount, attach_to=self.hero))
            self.spawned.append(eye.sensor)
            self.eyes[view] = eye
            eye.sensor.listen(lambda image, eye=eye: self._saw(eye, image))

    def _collided(self, event: Any) -> None:
        with self.arrived:
            self.collisions.append(str(event.other_actor.type_id))

    def _saw(self, eye: _Eye, image: Any) -> None:
        pixels = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)[..., 2::-1].copy()
        with self.arrived:
            # Pictures of the steps between come too, and not always in order.
            if image.frame > eye.frame:
                eye.frame, eye.pixels = int(image.frame), pixels
                self.arrived.notify_all()

    def _wait_for_pictures(self, frame: int) -> None:
        """Until each camera has the picture of this very frame."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: all(eye.frame >= frame for eye in self.eyes.values()), PATIENCE):
                late = next(view for view, eye in self.eyes.items() if eye.frame < frame)
                raise DwmError(f"CARLA: the camera {late} sent no picture of frame {frame} within {PATIENCE:g} s")

    def _clear(self) -> None:
        for eye in self.eyes.values():
            eye.sensor.stop()
        self.eyes.clear()
        while self.spawned:
            actor = self.spawned.pop()
            with contextlib.suppress(RuntimeError):
                actor.destroy()

    # What it knows, in our frame.

    def _ego(self) -> Float[np.ndarray, "4 4"]:
        return world_from(self.hero.get_transform()) @ np.linalg.inv(EGO_FROM_ACTOR)

    def _boxes(self) -> Boxes:
        near: list[Boxes] = []
        for actor in (*self._actors("vehicle.*"), *self._actors("walker.*")):
            if actor.id == self.hero.id:
                continue
            pose = world_from(actor.get_transform()) @ world_from(_box_pose(self.carla, actor.bounding_box))
            if np.hypot(*(pose[:2, 3] - self.place[:2, 3])) > SIGHT:
                continue
            extent = actor.bounding_box.extent
            size = 2 * np.maximum([extent.x, extent.y, extent.z], LEAST_EXTENT)
            near.append(
                Boxes(pose[None, :3, 3], size[None], pose[None, :3, :3], (_category(actor),), (f"actor-{actor.id}",))
            )
        boxes = NO_BOXES
        for one in near:
            boxes = boxes.joined(one)
        return boxes

    def _moment(self, crash: str, notes: tuple[str, ...]) -> Moment:
        with answering():
            velocity = self.hero.get_velocity()
            speed = float(np.array([velocity.x, -velocity.y, velocity.z]) @ self.place[:3, 0])
            wheel = self.hero.get_wheel_steer_angle(self.carla.VehicleWheelLocation.FL_Wheel)
            boxes = self._boxes()
            caption = caption_of(self.world.get_weather(), boxes)
        return Moment(
            time=self.time,
            world_from_ego=self.place,
            speed=speed,
            steering=-math.radians(float(wheel)),
            boxes=boxes,
            map=self.map,
            caption=caption,
            travelled=self.travelled,
            crash=crash,
            off_road=self.off_road,
            autopilot=bool(self.driving_itself),
            notes=notes,
        )


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """CARLA says by RuntimeError that a server is silent or refuses."""
    try:
        yield
    except RuntimeError as error:
        raise DwmError(f"CARLA: {str(error).splitlines()[0] if str(error) else 'the server does not answer'}") from None


def world_from(pose: Any) -> Float[np.ndarray, "4 4"]:
    """One of CARLA's transforms with y to the left."""
    return MIRROR @ np.array(pose.get_matrix(), float) @ MIRROR


def carla_pose(carla: Any, ego_from_camera: Float[np.ndarray, "4 4"]) -> Any:
    """Where a camera hangs on one of CARLA's vehicles: its frame there looks along x, with z up."""
    forward = np.eye(4)
    forward[:3, :3] = CAMERA_AXES
    pose = MIRROR @ np.linalg.inv(EGO_FROM_ACTOR) @ ego_from_camera @ np.linalg.inv(forward) @ MIRROR
    yaw = math.degrees(math.atan2(pose[1, 0], pose[0, 0]))
    pitch = math.degrees(math.asin(min(1.0, max(-1.0, pose[2, 0]))))
    roll = math.degrees(math.atan2(-pose[2, 1], pose[2, 2]))
    return carla.Transform(carla.Location(*map(float, pose[:3, 3])), carla.Rotation(pitch, yaw, roll))


def _box_pose(carla: Any, box: Any) -> Any:
    return carla.Transform(box.location, box.rotation)


def _category(actor: Any) -> str:
    if actor.type_id.startswith("walker."):
        return "human.pedestrian.child" if actor.attributes.get("age") == "child" else "human.pedestrian.adult"
    kind = actor.attributes.get("base_type", "").lower()
    if kind in CATEGORIES:
        return CATEGORIES[kind]
    return "vehicle.bicycle" if actor.attributes.get("number_of_wheels") == "2" else "vehicle.car"


def caption_of(weather: Any, boxes: Boxes) -> Caption:
    """Time of day and weather in words, and what kinds of road users are near."""
    sun = weather.sun_altitude_angle
    time = "daytime" if sun > 5 else "sunset" if sun > -5 else "night"
    if weather.precipitation > 30:
        sky = "rainy"
    elif weather.fog_density > 50:
        sky = "foggy"
    elif weather.cloudiness > 30:
        sky = "overcast" if weather.cloudiness > 70 else "cloudy"
    else:
        sky = "clear sky"
    kinds = dict.fromkeys(name.split(".")[1] for name in boxes.category)
    return Caption(time=time, weather=sky, environment="urban street scene", objects=", ".join(kinds))


def default_rig() -> Rig:
    """Six cameras as nuScenes has them, with their optical axes in the middle of the picture: CARLA knows no others."""
    rig = cameras.rig(np.random.default_rng(0))
    width, height = cameras.IMAGE_SIZE
    intrinsics = rig.intrinsics.copy()
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = width / 2, height / 2
    return Rig(rig.names, intrinsics, rig.ego_from_camera, rig.image_size)


def carla_source(address: str = "localhost:2000", fps: float = 4.0, vehicles: int = VEHICLES) -> CarlaSource:
    """The world of the CARLA server at HOST:PORT (its RPC port). Raises DwmError where `carla` or a server is missing."""
    host, _, port = address.rpartition(":")
    if not host:
        host, port = address, "2000"
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise DwmError(f"--carla {address}: give HOST:PORT, such as localhost:2000")
    try:
        carla = importlib.import_module("carla")
    except ImportError:
        raise DwmError("driving in CARLA needs its client: pip install 'dwm[carla]'") from None
    client = carla.Client(host, int(port))
    client.set_timeout(PATIENCE)
    try:
        return CarlaSource(carla, client, fps, vehicles)
    except DwmError as error:
        raise DwmError(f"{error}; is CARLA running at {host}:{port}? start it, or give another --carla") from None
