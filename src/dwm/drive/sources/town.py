"""The town as a source of steering: streets without an end, traffic that goes on by itself and brakes for the driven car.

At the end of a street the next scene of the town begins, laid so that the car drives straight on; only here the town is asked.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8
from shapely import prepare

from dwm.clip import Boxes, Rig
from dwm.drive.bicycle import WHEEL, Bicycle, touched, wheel_towards
from dwm.drive.source import Action, Moment
from dwm.errors import DwmError
from dwm.geometry import inverse
from dwm.town.drawing.renderer import Placed, SceneGraph
from dwm.town.drawing.staging import stage
from dwm.town.scene import Thing, TownScene, town_scene
from dwm.town.world.captions import recaption
from dwm.town.world.live import LiveTraffic
from dwm.town.world.options import TownOptions
from dwm.town.world.simulation import Driven
from dwm.town.world.streets import CROSS_HALF, MAIN_HALF
from dwm.town.world.traffic import route_point

EDGE = 12.0
"""Metres before the end of a street at which the next one begins."""
ENTRY = 16.0
"""Metres from a street's beginning at which the car enters it."""
AHEAD = (4.0, 0.7)
"""Metres, and seconds at the car's speed, by which the autopilot looks ahead."""
GRAPHS = 2
"""Scenes that are kept ready to be drawn."""


class TownSource:
    """A drive through the town of `seed`, beginning in its scene number `scene`."""

    def __init__(self, seed: int = 0, scene: int = 0, fps: float = 4.0, options: TownOptions = TownOptions()) -> None:
        if seed < 0 or scene < 0:
            raise DwmError(f"town: seed {seed} and scene {scene} are counted from 0")
        self.town, self.first, self.options, self._fps = seed, scene, options, fps
        self.graphs: dict[tuple[int, str, str], SceneGraph] = {}
        self.reset(0)

    @property
    def name(self) -> str:
        return f"town-{self.town}-{self.scene.name}"

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def rig(self) -> Rig:
        return self._rig

    def reset(self, seed: int) -> Moment:
        """The first scene from its beginning; `seed` moves what happens by chance behind the first seconds."""
        self.seed, self.words = seed, dict[str, str]()
        self.time = self.travelled = 0.0
        self.crash, self.off_road, self.autopilot = "", False, False
        self.notes: tuple[str, ...] = ()
        scene = town_scene(self.town, self.first, self.options)
        # One car drives through all scenes.
        self._rig = scene.rig
        self._enter(scene)
        self.car = Bicycle.at(scene.local_from_ego(0.0), float(self.traffic.state.v[0]))
        return self._moment()

    def _enter(self, scene: TownScene) -> None:
        if self.words:
            scene = _with_words(scene, self.words)
        self.scene = scene
        rng = np.random.default_rng((self.town, scene.index, self.seed, 7))
        stroll = scene.options.duration  # there is free pavement before strollers for as long as a scene lasts
        self.traffic = LiveTraffic(scene.routes, scene.streets.crossings, scene.population, stroll, rng)
        self.road = scene.streets.road
        prepare(self.road)

    def step(self, action: Action) -> Moment:
        seconds = 1 / self.fps
        careful = self.traffic.advance(seconds, self._driven())
        if action.autopilot:
            car = self._driven_by_itself(careful, seconds)
        else:
            car = self.car.driven(action, seconds)
        self.time += seconds
        self.autopilot = action.autopilot
        notes: list[str] = []
        before = self._touched(self.car)
        hit = self._touched(car) - before
        if hit:
            self.crash = sorted(hit)[0]
            notes.append(f"crash: {self._what(self.crash)}")
            car = self.car.standing()
        else:
            self.crash = ""
        self.travelled += math.hypot(car.x - self.car.x, car.y - self.car.y)
        self.car = car
        if self._at_the_end() and car.speed > 0:
            self._drive_on()
            notes.append(f"the next street: {self.scene.name}")
        off = not self.road.contains(self.car.footprint)
        if off != self.off_road:
            notes.append("off the road" if off else "back on the road")
        self.off_road, self.notes = off, tuple(notes)
        return self._moment()

    def change(self, time: str | None = None, weather: str | None = None) -> None:
        words = {name: word for name, word in (("time", time), ("weather", weather)) if word is not None}
        self.scene = _with_words(self.scene, words)
        self.words |= words

    def picture(self, view: str, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        number = self.rig.index(view)
        width, height = self.rig.size_of(number)
        scale = np.array([size[0] / width, size[1] / height, 1.0])
        graph, pose = self._graph(), self.car.pose
        if graph.shown != (self.time, self.car):
            graph.put([Placed(one.kind.name, one.position, one.yaw) for one in self._things()], pose)
            graph.shown = (self.time, self.car)
        return graph.draw(size, self.rig.intrinsics[number] * scale[:, None], pose @ self.rig.ego_from_camera[number])

    def close(self) -> None:
        self.graphs.clear()

    def _graph(self) -> SceneGraph:
        style = self.scene.style
        key = (self.scene.index, style.time, style.weather)
        if key not in self.graphs:
            while len(self.graphs) >= GRAPHS:
                del self.graphs[next(iter(self.graphs))]
            self.graphs[key] = stage(self.scene.streets, style)
        return self.graphs[key]

    def _moment(self) -> Moment:
        return Moment(
            time=self.time,
            world_from_ego=self.scene.world_from_local @ self.car.pose,
            speed=self.car.speed,
            steering=self.car.wheel,
            boxes=self._boxes(self.scene.visible(self._things(), self.car.pose[:2, 3])),
            map=self.scene.map,
            caption=self.scene.plain_caption,
            travelled=self.travelled,
            crash=self.crash,
            off_road=self.off_road,
            autopilot=self.autopilot,
            notes=self.notes,
        )

    def _things(self) -> list[Thing]:
        traffic = self.traffic
        return self.scene.cast(
            traffic.movers, traffic.walkers, *traffic.stations(), traffic.strolled()[0], self.car.middle,
            traffic.strolled()[1],
        )  # fmt: skip

    def _boxes(self, things: list[Thing]) -> Boxes:
        return self.scene.boxes_of(things)

    def _driven(self) -> Driven:
        heading = np.array([math.cos(self.car.yaw), math.sin(self.car.yaw)])
        return Driven(self.car.middle, heading, self.car.speed)

    def _driven_by_itself(self, careful: float, seconds: float) -> Bicycle:
        """Along its route, as fast as the simulation would go there."""
        route, s = self.traffic.route, float(self.traffic.state.s[0])
        target = route_point(route, s + AHEAD[0] + AHEAD[1] * self.car.speed)
        wheel = min(WHEEL, max(-WHEEL, wheel_towards(self.car, target)))
        push = (careful - self.car.speed) / seconds
        return self.car.moved(max(push, 0.0), wheel, seconds, max(-push, 0.0))

    def _touched(self, car: Bicycle) -> set[str]:
        """What stands where the car is: things by instance, houses by number."""
        things = [one for one in self._things() if np.hypot(*(one.position[:2] - car.middle)) < 12.0]
        boxes = replace(self.scene, world_from_local=np.eye(4)).boxes_of(things)
        houses = self.scene.houses.query(car.footprint, predicate="intersects")
        return touched(car.footprint, boxes) | {f"house {number}" for number in houses.tolist()}

    def _what(self, name: str) -> str:
        kinds = {one.instance: one.kind.name for one in self._things()}
        return kinds.get(name, "house")

    def _at_the_end(self) -> bool:
        cross = CROSS_HALF if self.scene.streets.cross is not None else math.inf
        return abs(self.car.x) > MAIN_HALF - EDGE or abs(self.car.y) > cross - EDGE

    def _drive_on(self) -> None:
        """The next scene, laid so that the car is at the beginning of a street and its world does not move."""
        world_from_ego = self.scene.world_from_local @ self.car.pose
        scene = town_scene(self.town, self.scene.index + 1, self.options)
        own = scene.routes[scene.population.movers[0].route]
        at, further = route_point(own, ENTRY), route_point(own, ENTRY + 1)
        yaw = math.atan2(further[1] - at[1], further[0] - at[0])
        self.car = Bicycle(float(at[0]), float(at[1]), yaw, self.car.speed, 0.0)
        self._enter(replace(scene, world_from_local=world_from_ego @ inverse(self.car.pose)))
        self.traffic.clear_the_way(self._driven())


def _with_words(scene: TownScene, words: dict[str, str]) -> TownScene:
    """The scene at another time of day or in another weather, which its caption says too."""
    caption = recaption(scene.plain_caption, time=words.get("time"), weather=words.get("weather"))
    return replace(scene, plain_caption=caption, style=replace(scene.style, **words))


def town_source(
    seed: int = 0, scene: int = 0, fps: float = 4.0, time: str | None = None, weather: str | None = None
) -> TownSource:
    """A drive through the town; `time` and `weather` are those of all of its streets. Raises DwmError for unknown words."""
    options = TownOptions()
    if time is not None or weather is not None:
        recaption(town_scene(seed, scene).plain_caption, time=time, weather=weather)
        changes = {"times": time, "weathers": weather}
        options = options.with_(**{name: (word,) for name, word in changes.items() if word is not None})
    return TownSource(seed, scene, fps, options)
