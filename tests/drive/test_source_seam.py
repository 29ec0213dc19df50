"""A source of steering from outside: a car on a roundabout. The world, its clips and the weights take it as they take ours."""

import math

import numpy as np
import pytest

from dwm.clip import NUSCENES_VIEWS, Caption, Rig
from dwm.drive import Action, DrivingWorld
from dwm.drive.source import Moment, Source, clip_of
from dwm.errors import DwmError
from dwm.geometry import rotation_z, transform

RADIUS = 20.0


class Roundabout:
    """Metres along a circle; the throttle is the speed, and the seed says where the car begins."""

    name, fps = "roundabout", 4.0

    def __init__(self):
        turns = [transform(rotation_z(2 * math.pi * number / 6), np.zeros(3)) for number in range(6)]
        lens = np.array([[0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
        pixels = np.tile(np.array([[16.0, 0, 16], [0, 16, 8], [0, 0, 1]]), (6, 1, 1))
        self.rig = Rig(NUSCENES_VIEWS, pixels, np.stack([turn @ lens for turn in turns]), np.tile([32, 16], (6, 1)))

    def reset(self, seed):
        self.start, self.travelled, self.ticks, self.weather = float(seed), 0.0, 0, "clear"
        return self.moment(0.0)

    def step(self, action):
        self.ticks, self.travelled = self.ticks + 1, self.travelled + 10 * action.throttle / self.fps
        return self.moment(10 * action.throttle)

    def moment(self, speed):
        angle = (self.start + self.travelled) / RADIUS
        place = np.array([RADIUS * math.cos(angle), RADIUS * math.sin(angle), 0.0])
        pose = transform(rotation_z(angle + math.pi / 2), place)
        caption = Caption(time="day", weather=self.weather)
        return Moment(self.ticks / self.fps, pose, speed, 1 / RADIUS, None, None, caption, self.travelled)

    def change(self, time=None, weather=None):
        if weather not in (None, "clear", "rain"):
            raise DwmError(f"the roundabout knows clear and rain, not {weather}")
        self.weather = weather or self.weather

    def picture(self, view, size):
        return np.full((size[1], size[0], 3), self.ticks, np.uint8)

    def close(self):
        pass


def test_the_world_draws_what_it_says(pipe):
    source = Roundabout()
    assert isinstance(source, Source)
    world = DrivingWorld(pipe, source, steps=1, guidance=1.0, with_real=True)
    world.change(weather="rain")
    pictures = [picture for _ in range(4) for picture in world.step(Action(throttle=1.0))[0]]
    assert [picture.moment.travelled for picture in pictures[:2]] == [2.5, 5.0]
    assert pictures[1].real is not None and (pictures[1].real == 2).all()
    assert pictures[0].moment.caption.weather == "rain" and pictures[0].views.shape == (6, 16, 32, 3)
    with pytest.raises(DwmError, match="knows clear and rain, not snow"):
        world.change(weather="snow")


def test_its_moments_are_a_clip():
    source = Roundabout()
    moments = [source.reset(3), *(source.step(Action(throttle=0.5)) for _ in range(3))]
    clip = clip_of(moments, source)
    assert (clip.scene, clip.length, clip.views) == ("roundabout", 4, NUSCENES_VIEWS)
    steps = np.linalg.norm(np.diff(clip.world_from_ego[:, 0, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps, 1.25, rtol=1e-3)
