"""A driving world as a `gymnasium.Env`: a policy can be tried in what the network draws, and scored by the source's truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from dwm.drive.source import Action
from dwm.drive.world import DrivingWorld
from dwm.errors import DwmError

try:
    import gymnasium
except ImportError:
    raise DwmError("the driving environment needs gymnasium: pip install 'dwm[gym]'") from None

PROGRESS, CRASH, OFF_ROAD = 1.0, -20.0, -0.5
"""Reward for a metre driven, for a crash, for a tick off the road."""

Observation = UInt8[np.ndarray, "v h w 3"]


class DrivingEnvironment(gymnasium.Env):
    """Observations are the newest pictures (v, h, w, 3) that the network drew, black before the first.

    Actions are (throttle less brake, steer), both from −1 to 1. `info` has the terms of the reward, the speed and the number
    of the frame that is shown. An episode ends with a crash or where the source ends, and is cut after `ticks`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  gymnasium's own attribute

    def __init__(self, world: DrivingWorld, ticks: int = 240) -> None:
        self.world, self.ticks, self.render_mode = world, ticks, "rgb_array"
        width, height = world.size
        self.shape = (len(world.views), height, width, 3)
        self.observation_space = gymnasium.spaces.Box(0, 255, self.shape, np.uint8)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.seen: Observation = np.zeros(self.shape, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new drive from noise and chance of `seed` (None: the next one)."""
        super().reset(seed=seed)
        moment = self.world.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        self.count, self.travelled, self.shown = 0, moment.travelled, -1
        self.seen = np.zeros(self.shape, np.uint8)
        return self.seen.copy(), {"speed": moment.speed, "frame": self.shown}

    def step(self, action: Float[np.ndarray, "2"]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        pedal, steer = (float(np.clip(value, -1, 1)) for value in action)
        try:
            pictures, moment = self.world.step(Action(max(pedal, 0.0), max(-pedal, 0.0), steer))
        except DwmError:  # a recorded drive is over
            return self.seen.copy(), 0.0, True, False, {"speed": 0.0, "frame": self.shown, "ended": True}
        self.count += 1
        if pictures:
            self.seen, self.shown = pictures[-1].views, pictures[-1].frame
        terms = {
            "progress": PROGRESS * (moment.travelled - self.travelled) * (1 if moment.speed >= 0 else -1),
            "crash": CRASH if moment.crash else 0.0,
            "off_road": OFF_ROAD if moment.off_road else 0.0,
        }
        self.travelled = moment.travelled
        info = {**terms, "speed": moment.speed, "frame": self.shown}
        return self.seen.copy(), float(sum(terms.values())), bool(moment.crash), self.count >= self.ticks, info

    def render(self) -> UInt8[np.ndarray, "h W 3"]:
        """All views of the newest pictures side by side."""
        return np.concatenate(list(self.seen), 1)

    def close(self) -> None:
        self.world.source.close()
