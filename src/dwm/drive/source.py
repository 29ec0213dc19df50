"""What a source of steering is to the session: a clock that stands until it is asked to go on, a car, all that is around it.

A source draws nothing that a network makes and knows no network. Frames of reference are those of `dwm.geometry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from dwm.clip import Boxes, Caption, Clip, LaneMap, Rig
from dwm.errors import DwmError


@dataclass(frozen=True)
class Action:
    """What the driver does during one tick.

    throttle and brake go from 0 to 1, steer from −1 (full left) to 1 (full right); `reverse`: the throttle drives backwards;
    `autopilot`: the source drives, and the rest is not asked. Raises DwmError for what is outside.
    """

    throttle: float = 0.0
    brake: float = 0.0
    steer: float = 0.0
    reverse: bool = False
    autopilot: bool = False

    def __post_init__(self) -> None:
        for name, low in (("throttle", 0.0), ("brake", 0.0), ("steer", -1.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= 1:
                raise DwmError(f"action: {name} is {value!r}; give a number from {low:g} to 1")
        for name in ("reverse", "autopilot"):
            if not isinstance(getattr(self, name), bool):
                raise DwmError(f"action: {name} is {getattr(self, name)!r}; give true or false")


@dataclass(frozen=True)
class Moment:
    """Everything that a source knows of one instant, in the world's frame.

    time: seconds since the reset; speed: m/s, negative backwards; steering: the front wheels' angle in radians, left positive;
    travelled: metres since the reset; boxes None: not annotated. `crash` names what the car ran into during this tick;
    `notes` are for people: a crash, the road left, a new street. `pictured_from`: the car's pose in the source's own pictures,
    where they were taken from another place than `world_from_ego`.
    """

    time: float
    world_from_ego: Float[np.ndarray, "4 4"]
    speed: float
    steering: float
    boxes: Boxes | None
    map: LaneMap | None
    caption: Caption
    travelled: float = 0.0
    crash: str = ""
    off_road: bool = False
    autopilot: bool = False
    notes: tuple[str, ...] = field(default=())
    pictured_from: Float[np.ndarray, "4 4"] | None = None


@runtime_checkable
class Source(Protocol):
    """One frame's worth of world at a time, in steps of 1 / `fps` seconds. The consumer drives the clock."""

    @property
    def name(self) -> str: ...

    @property
    def fps(self) -> float: ...

    @property
    def rig(self) -> Rig: ...

    def reset(self, seed: int) -> Moment:
        """Back to the start; the same seed and the same actions give the same moments."""

    def step(self, action: Action) -> Moment:
        """One tick later. Raises DwmError where there is nothing more: `reset` goes on."""

    def change(self, time: str | None = None, weather: str | None = None) -> None:
        """Another time of day or weather from the next tick on. Raises DwmError for a word that the source does not know."""

    def picture(self, view: str, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"] | None:
        """What is really there at this moment, as `view` sees it; None where the source has no eyes of its own."""

    def close(self) -> None:
        """Lets go of what it holds."""


def clip_of(moments: Sequence[Moment], source: Source) -> Clip:
    """Moments that follow one another as a clip of all of the rig's cameras, without pictures."""
    views = len(source.rig.names)
    times = np.array([round(moment.time * 1e6) for moment in moments], np.int64)
    poses = np.stack([moment.world_from_ego for moment in moments])
    return Clip(
        scene=source.name,
        fps=source.fps,
        rig=source.rig,
        times=np.tile(times[:, None], (1, views)),
        world_from_ego=np.tile(poses[:, None], (1, views, 1, 1)),
        boxes=tuple((moment.boxes,) * views for moment in moments),
        map=moments[-1].map,
        captions=tuple((moment.caption,) * views for moment in moments),
    )
