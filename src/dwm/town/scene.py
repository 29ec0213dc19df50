"""`TownScene`: one scene of the town, whole and true at every instant: map, traffic, cameras, captions, pictures.

Everything follows from (seed, index, options); a scene is pickled as those three.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from shapely import STRtree, affinity, linestrings

from dwm.clip import Boxes, Caption, Clip, LaneMap, LidarTrack
from dwm.conventions import NUSCENES_VIEWS
from dwm.errors import DwmError, nearest
from dwm.geometry import rotation_z, transform
from dwm.town.drawing.lidar import EGO_FROM_LIDAR
from dwm.town.drawing.renderer import Placed, SceneGraph
from dwm.town.drawing.scenery import building_footprints
from dwm.town.drawing.staging import stage
from dwm.town.sweeps import TownSweeps
from dwm.town.world import captions
from dwm.town.world.cameras import rig
from dwm.town.world.kinds import Kind
from dwm.town.world.options import TownOptions
from dwm.town.world.population import EGO, Population, populate
from dwm.town.world.routes import Route, routes
from dwm.town.world.simulation import Simulation
from dwm.town.world.streets import Streets, build_streets
from dwm.town.world.style import Style, draw_style
from dwm.town.world.traffic import Mover, Tracks, Walker, half_base, pose_on_route, walker_pose

SIGHT = 110.0
"""Metres around the car within which traffic exists."""
BOX_SIGHT = 80.0
"""Metres around the car within which traffic is annotated, where no house hides it."""
REAR_AXLE = 1.4
"""Metres from the middle of the car with the cameras back to the origin of its frame."""
CELL = 600.0
"""Metres between the places of scenes in the world, eight to a row."""
CAMERA_HZ = 12
"""Pictures a second of each camera, as nuScenes has them."""
EPOCH = 1_600_000_000_000_000


@dataclass(frozen=True)
class Thing:
    """A road user or object at one instant, in the scene's local frame: middle of its box (x, y, z), yaw."""

    kind: Kind
    instance: str
    position: Float[np.ndarray, "3"]
    yaw: float


@dataclass(frozen=True)
class TownScene:
    """One scene. Times are seconds from its start; world coordinates are metres (world = world_from_local · local)."""

    seed: int
    index: int
    options: TownOptions
    style: Style
    streets: Streets
    routes: tuple[Route, ...]
    population: Population
    tracks: Tracks
    world_from_local: Float[np.ndarray, "4 4"]
    plain_caption: Caption

    def __reduce__(self):
        return town_scene, (self.seed, self.index, self.options)

    @property
    def name(self) -> str:
        return f"scene-{self.index:04d}"

    @property
    def seconds(self) -> float:
        return self.options.duration

    @property
    def rate(self) -> float:
        """Frames a second that its cameras would record; it can be drawn at any."""
        return float(CAMERA_HZ)

    @property
    def views(self) -> tuple[str, ...]:
        return self.rig.names

    @property
    def start_us(self) -> int:
        """The scene's first instant in µs, as nuScenes counts them."""
        return EPOCH + self.index * 100_000_000

    @cached_property
    def rig(self):
        return rig(_generator(self.seed, self.index, 1))

    @cached_property
    def map(self) -> LaneMap:
        """The layers that layout pictures draw, in the world's frame."""
        return LaneMap(
            {
                "lane": tuple(self.to_world(lane.polygon) for lane in self.streets.lanes),
                "drivable_area": (self.to_world(self.streets.road),),
                "ped_crossing": tuple(self.to_world(crossing.polygon) for crossing in self.streets.crossings),
            }
        )

    def to_world(self, shape):
        """A shapely geometry of the local frame, moved to the world's."""
        m = self.world_from_local
        return affinity.affine_transform(shape, [m[0, 0], m[0, 1], m[1, 0], m[1, 1], m[0, 3], m[1, 3]])

    def local_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        route, s = self.routes[self.population.movers[0].route], float(self.tracks.station(time_s)[0])
        centre, yaw = pose_on_route(route, s, half_base(EGO))
        back = np.array([np.cos(yaw), np.sin(yaw)]) * REAR_AXLE
        return transform(rotation_z(yaw), np.array([*(centre - back), 0.0]))

    def world_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        """The pose of the car with the cameras (x forward, origin on the ground below the rear axle)."""
        return self.world_from_local @ self.local_from_ego(time_s)

    def things(self, time_s: float) -> list[Thing]:
        """All traffic within sight of the car, in the local frame."""
        people = self.population
        station, walked = self.tracks.station(time_s), self.tracks.walk(time_s)
        centre = self.local_from_ego(time_s)[:2, 3]
        return self.cast(people.movers, people.walkers, station, walked, time_s, centre)

    def cast(
        self,
        movers: Sequence[Mover],
        walkers: Sequence[Walker],
        station: Float[np.ndarray, "n"],
        walked: Float[np.ndarray, "w"],
        strolled: float,
        centre: Float[np.ndarray, "2"],
        back: bool = False,
    ) -> list[Thing]:
        """All traffic within sight of `centre`: movers but the first at their stations, walkers so many metres on their way,
        strollers after so many seconds of walking (`back`: looking back)."""
        there: list[Thing] = []
        for i, mover in enumerate(movers[1:], 1):
            route = self.routes[mover.route]
            if station[i] < route.length - 5.0:
                name = f"m{i:03d}" if mover.trip == 0 else f"m{i:03d}-{mover.trip}"
                self._add(there, name, mover.kind, *pose_on_route(route, station[i], half_base(mover.kind)))
        for i, walker in enumerate(walkers):
            pose = walker_pose(walker, self.streets.crossings[walker.crossing], float(walked[i]))
            self._add(there, f"w{i:03d}", walker.kind, *pose)
        for i, one in enumerate(self.population.strollers):
            way = np.array([np.cos(one.yaw), np.sin(one.yaw)]) * one.speed * strolled
            self._add(there, f"p{i:03d}", one.kind, one.position + way, one.yaw + (np.pi if back else 0.0))
        for i, thing in enumerate(self.population.standing):
            self._add(there, f"s{i:03d}", thing.kind, thing.position, thing.yaw)
        return [thing for thing in there if np.hypot(*(thing.position[:2] - centre)) < SIGHT]

    def _add(self, things_there: list[Thing], name: str, kind: Kind, at: Float[np.ndarray, "2"], yaw: float) -> None:
        things_there.append(Thing(kind, f"{self.name}-{name}", np.array([*at, kind.size[2] / 2]), yaw))

    @cached_property
    def houses(self) -> STRtree:
        """The ground that houses cover, in the local frame."""
        return STRtree(building_footprints(self.streets))

    def annotated(self, time_s: float) -> list[Thing]:
        """The things that have a box: near, and not hidden behind houses from the car's middle."""
        return self.visible(self.things(time_s), self.local_from_ego(time_s)[:2, 3])

    def visible(self, things: Sequence[Thing], eye: Float[np.ndarray, "2"]) -> list[Thing]:
        """Those of the things that are near `eye` and not hidden behind houses from there."""
        things = [thing for thing in things if np.hypot(*(thing.position[:2] - eye)) < BOX_SIGHT]
        if not things:
            return things
        is_visible = np.zeros(len(things), bool)
        for share in (-0.5, 0.0, 0.5):
            at = [thing.position[:2] + share * thing.kind.size[0] * _heading(thing.yaw) for thing in things]
            rays = linestrings(np.stack([np.broadcast_to(eye, (len(at), 2)), np.stack(at)], 1))
            hidden = np.zeros(len(things), bool)
            hidden[self.houses.query(rays, predicate="intersects")[0]] = True
            is_visible |= ~hidden
        return [thing for thing, visible in zip(things, is_visible, strict=True) if visible]

    def boxes(self, time_s: float) -> Boxes:
        """The boxes of all traffic that is near and not hidden behind houses, in the world's frame."""
        return self.boxes_of(self.annotated(time_s))

    def boxes_of(self, things: Sequence[Thing]) -> Boxes:
        """The boxes of these things, in the world's frame."""
        move = self.world_from_local
        count = len(things)
        centre = np.array([thing.position for thing in things]).reshape(count, 3)
        return Boxes(
            center=centre @ move[:3, :3].T + move[:3, 3],
            size=np.array([thing.kind.size for thing in things]).reshape(count, 3),
            rotation=move[:3, :3] @ rotation_z(np.array([thing.yaw for thing in things])).reshape(count, 3, 3),
            category=tuple(thing.kind.category for thing in things),
            instance=tuple(thing.instance for thing in things),
        )

    def caption(self, time_s: float = 0.0, view: str = "CAM_FRONT") -> Caption:
        """What is said about the scene: the same at every instant and in every view."""
        return self.plain_caption

    def picture(
        self, time_s: float, view: str, size: tuple[int, int] | None = None, hidden: Sequence[str] = ()
    ) -> UInt8[np.ndarray, "h w 3"]:
        """What the camera `view` sees at an instant, in `size` (width, height); things named in `hidden` are left out."""
        number = self.rig.index(view)
        full = self.rig.size_of(number)
        size = size or full
        scale = np.array([size[0] / full[0], size[1] / full[1], 1.0])
        graph, ego = self._graph_at(time_s, tuple(hidden))
        return graph.draw(size, self.rig.intrinsics[number] * scale[:, None], ego @ self.rig.ego_from_camera[number])

    def _graph_at(self, time_s: float, hidden: tuple[str, ...]) -> tuple[SceneGraph, Float[np.ndarray, "4 4"]]:
        graph = _graph(self.seed, self.index, self.options, os.getpid())
        ego = self.local_from_ego(time_s)
        if graph.shown != (time_s, hidden):
            things = [thing for thing in self.things(time_s) if thing.instance not in hidden]
            graph.put([Placed(thing.kind.name, thing.position, thing.yaw) for thing in things], ego)
            graph.shown = (time_s, hidden)
        return graph, ego

    def clip(
        self, start: float = 0.0, frames: int = 8, fps: float | None = None, views: Sequence[str] | None = None
    ) -> Clip:
        """`frames` instants from `start` seconds on, all sensors at the same instant; pictures are drawn, and sweeps cast, when
        asked for."""
        fps, views = fps or self.rate, tuple(views or NUSCENES_VIEWS)
        if missing := next((view for view in views if view not in self.views), None):
            raise DwmError(
                f"{self.name}: has no camera {missing}{nearest(missing, self.views)}; it has {', '.join(self.views)}"
            )
        last = start + (frames - 1) / fps
        if start < 0 or last > self.seconds:
            raise DwmError(
                f"{self.name}: frames from {start:g} to {last:g} s lie outside the scene's 0 to {self.seconds:g} s; "
                "choose an earlier start or fewer frames"
            )
        times = start + np.arange(frames) / fps
        poses = np.stack([self.world_from_ego(t) for t in times])
        count = len(views)
        boxes = [self.boxes(t) for t in times]
        stamps = self.start_us + np.round(times * 1e6).astype(np.int64)
        return Clip(
            scene=self.name,
            fps=fps,
            rig=self.rig.select(views),
            times=np.tile(stamps[:, None], (1, count)),
            world_from_ego=np.tile(poses[:, None], (1, count, 1, 1)),
            pictures=TownPictures(self, tuple(times.tolist()), tuple(views)),
            boxes=tuple((one,) * count for one in boxes),
            map=self.map,
            captions=tuple(tuple(self.caption(t, view) for view in views) for t in times),
            lidar=LidarTrack(stamps, poses, EGO_FROM_LIDAR, TownSweeps(self, tuple(times.tolist()))),
            description=self.plain_caption.text(),
        )


@dataclass(frozen=True)
class TownPictures:
    """A clip's pictures, rendered when asked for."""

    scene: TownScene
    times_s: tuple[float, ...]
    views: tuple[str, ...]

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        return self.scene.picture(self.times_s[frame], self.views[view], size)


def _heading(yaw: float) -> Float[np.ndarray, "2"]:
    return np.array([np.cos(yaw), np.sin(yaw)])


def _generator(seed: int, index: int, what: int) -> np.random.Generator:
    return np.random.default_rng((seed, index, what))


@lru_cache(maxsize=8)
def town_scene(seed: int, index: int, options: TownOptions = TownOptions()) -> TownScene:
    """The scene with this number in the town of this seed. Same arguments, same scene."""
    rng = _generator(seed, index, 0)
    style = draw_style(
        rng,
        {
            "time": options.times,
            "weather": options.weathers,
            "wall": options.walls,
            "height": options.heights,
            "trees": options.trees,
            "ground": options.grounds,
            "traffic": options.traffic,
        },
    )
    streets = build_streets(rng, bool(rng.random() < options.junction_share), options.max_lanes)
    ways = tuple(routes(streets))
    population = populate(rng, streets, ways, style.traffic, options.duration)
    crew = Simulation(
        ways, streets.crossings, population.movers, population.walkers, population.green_order, population.green_offset
    )
    words = captions.caption(style, "junction" if streets.cross else "street", rng if options.synonyms else None)
    centre = np.array([CELL * (index % 8) + CELL / 2, CELL * (index // 8) + CELL / 2, 0.0])
    move = transform(rotation_z(float(rng.uniform(-np.pi, np.pi))), centre)
    return TownScene(seed, index, options, style, streets, ways, population, crew.run(options.duration), move, words)


@lru_cache(maxsize=3)
def _graph(seed: int, index: int, options: TownOptions, process: int) -> SceneGraph:
    scene = town_scene(seed, index, options)
    return stage(scene.streets, scene.style)
