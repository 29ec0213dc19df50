"""A recorded drive as a source of steering: real boxes, the real map; the car goes where it is steered, others keep their tracks.

The ground is where the recorded car drove: off its way the driven car has the height and slope of the nearest recorded pose.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8
from shapely import STRtree

from dwm.clip import Boxes, Caption, Clip, LaneMap, Rig
from dwm.data.dataset import Scene
from dwm.drive.bicycle import Bicycle, outside, touched, wheel_towards
from dwm.drive.source import Action, Moment
from dwm.errors import DwmError
from dwm.geometry import inverse, rotation_z, transform

LONGEST = 20_000
"""Frames of a drive that are read at once: boxes and poses, no pictures."""
AHEAD = (3.0, 0.6)
"""Metres, and seconds at the car's speed, by which the autopilot looks ahead on the recorded way."""


class ReplaySource:
    """A scene of any data set from `start` seconds on, `fps` times a second. It ends where the recording ends."""

    def __init__(
        self, scene: Scene, fps: float = 4.0, start: float = 0.0, views: tuple[str, ...] | None = None
    ) -> None:
        frames = math.floor((scene.seconds - start) * fps + 1e-6) + 1
        if frames < 2:
            raise DwmError(
                f"{scene.name}: {scene.seconds:g} s, of which nothing is left from {start:g} s on to drive in"
            )
        self.clip: Clip = scene.clip(start, min(frames, LONGEST), fps, views)
        if self.clip.boxes is None and self.clip.map is None:
            raise DwmError(f"{scene.name}: has neither boxes nor a map; there would be nothing to drive through")
        self._fps, self._name = fps, scene.name
        self.recorded = self.clip.world_from_ego[:, 0]
        layer = () if self.clip.map is None else self.clip.map.layers.get("drivable_area", ())
        self.road = tuple(area for area in layer if area.area > 0)
        self.areas = STRtree(self.road)
        if self._recorded_off_road():
            # Some sets have the edges of roads only, or a part of their areas: then nobody knows where the road is.
            self.road = ()
        self.spoken: dict[str, str] = {}
        self.reset(0)

    @property
    def name(self) -> str:
        return self._name

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def rig(self) -> Rig:
        return self.clip.rig.at(self.frame)

    def reset(self, seed: int) -> Moment:
        """The beginning. Nothing happens by chance: every seed is the same drive."""
        self.frame, self.travelled = 0, 0.0
        self.spoken.clear()
        self.crash, self.off_road, self.autopilot = "", False, False
        self.notes: tuple[str, ...] = ()
        self.car = Bicycle.at(self.recorded[0], self._recorded_speed(0))
        return self._moment()

    def step(self, action: Action) -> Moment:
        if self.frame + 1 >= self.clip.length:
            seconds = (self.clip.length - 1) / self.fps
            raise DwmError(f"{self.name}: the recorded drive ends after {seconds:g} s; reset it to drive again")
        self.frame += 1
        car = self._as_recorded() if action.autopilot else self.car.driven(action, 1 / self.fps)
        boxes = self._boxes()
        hit = touched(car.footprint, boxes) - touched(self.car.footprint, boxes)
        notes = []
        if (
            hit and not action.autopilot
        ):  # the recorded car touched nothing, whatever boxes say that are a hand too large
            self.crash = sorted(hit)[0]
            kind = boxes.category[boxes.instance.index(self.crash)] if boxes is not None else ""
            notes.append(f"crash: {kind}")
            car = self.car.standing()
        else:
            self.crash = ""
        self.travelled += math.hypot(car.x - self.car.x, car.y - self.car.y)
        self.car, self.autopilot = car, action.autopilot
        off = self._is_off_road(self.car)
        if off != self.off_road:
            notes.append("off the road" if off else "back on the road")
        self.off_road, self.notes = off, tuple(notes)
        return self._moment()

    def change(self, time: str | None = None, weather: str | None = None) -> None:
        """Any words: what a recorded scene's captions may say is not ours to know."""
        self.spoken |= {name: word for name, word in (("time", time), ("weather", weather)) if word is not None}

    def picture(self, view: str, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"] | None:
        """The recorded photograph of this moment: what was there where the recorded car was."""
        if self.clip.pictures is None:
            return None
        return self.clip.pictures.load(self.frame, self.clip.rig.index(view), size)

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def map(self) -> LaneMap | None:
        return self.clip.map

    def _boxes(self) -> Boxes | None:
        if self.clip.boxes is None:
            return None
        return next((boxes for boxes in self.clip.boxes[self.frame] if boxes is not None), None)

    def _caption(self) -> Caption:
        clip = self.clip if not self.spoken else self.clip.with_words(**self.spoken)
        return clip.captions[self.frame][0] if clip.captions is not None else Caption()

    def _moment(self) -> Moment:
        return Moment(
            time=self.frame / self.fps,
            world_from_ego=self._on_the_ground(self.car),
            speed=self.car.speed,
            steering=self.car.wheel,
            boxes=self._boxes(),
            map=self.map,
            caption=self._caption(),
            travelled=self.travelled,
            crash=self.crash,
            off_road=self.off_road,
            autopilot=self.autopilot,
            notes=self.notes,
            pictured_from=self.recorded[self.frame],
        )

    def _on_the_ground(self, car: Bicycle) -> Float[np.ndarray, "4 4"]:
        """The car's place on the plane of the nearest recorded pose."""
        steps = self.recorded[:, :2, 3] - (car.x, car.y)
        near = self.recorded[int((steps**2).sum(1).argmin())]
        flat = Bicycle.at(near)
        offset = inverse(flat.pose) @ car.pose
        return near @ transform(rotation_z(car.yaw - flat.yaw), (offset[0, 3], offset[1, 3], 0.0))

    def _recorded_speed(self, frame: int) -> float:
        a, b = max(0, frame - 1), min(self.clip.length - 1, frame + 1)
        way = self.recorded[b, :2, 3] - self.recorded[a, :2, 3]
        ahead = self.recorded[frame, :2, 0]
        return float(way @ ahead) * self.fps / max(b - a, 1)

    def _as_recorded(self) -> Bicycle:
        """On the recorded pose where the car is on its way; else steered towards it."""
        there = Bicycle.at(self.recorded[self.frame], self._recorded_speed(self.frame))
        before = Bicycle.at(self.recorded[self.frame - 1])
        if math.hypot(before.x - self.car.x, before.y - self.car.y) < 0.05:
            return there
        away = np.hypot(*(self.recorded[:, :2, 3] - (self.car.x, self.car.y)).T)
        nearest = int(away.argmin())
        ahead = np.flatnonzero(away[nearest:] >= AHEAD[0] + AHEAD[1] * abs(self.car.speed))
        target = self.recorded[nearest + int(ahead[0]) if len(ahead) else -1, :2, 3]
        # As fast as the recording, and a little faster where it is ahead.
        lag = (self.frame - nearest) / self.fps
        push = (there.speed + min(2.0, max(-2.0, lag)) - self.car.speed) * 1.5
        return self.car.moved(max(push, 0.0), wheel_towards(self.car, target), 1 / self.fps, max(-push, 0.0))

    def _recorded_off_road(self) -> bool:
        """Whether the map says of much of the recorded drive itself that it was on no road."""
        poses = self.recorded[:: max(1, len(self.recorded) // 20)]
        return sum(self._is_off_road(Bicycle.at(pose)) for pose in poses) > 0.3 * len(poses)

    def _is_off_road(self, car: Bicycle) -> bool:
        """Whether a part of the car is on no drivable area; without a map nobody knows."""
        return bool(self.road) and outside(car.footprint, self.road, self.areas)


def replay_source(
    data: str,
    scene: str | None = None,
    start: float = 0.0,
    fps: float = 4.0,
    views: tuple[str, ...] | None = None,
    version: str | None = None,
) -> ReplaySource:
    """A scene (the first one by default) of whatever `open_dataset` reads."""
    from dwm.data import ReadOptions, open_dataset

    options = ReadOptions(missing_captions="empty", lidar=False)
    if views is not None:
        options = options.with_(views=views)
    dataset = open_dataset(data, version, options=options)
    return ReplaySource(dataset[scene] if scene is not None else dataset.scenes[0], fps, start, views)
