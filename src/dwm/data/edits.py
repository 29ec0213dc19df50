"""`Edits`: what is to be different in a clip, as values that a file can say: boxes, the own car, map and words. Reads no file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from dwm.clip import Boxes, Clip
from dwm.clip_parts import means
from dwm.conventions import CAPTION_KEYS
from dwm.data.edit_checks import ground_at
from dwm.data.nuscenes.write.names import CATEGORIES
from dwm.errors import nearest
from dwm.geometry import apply, rotation_z
from dwm.options import Names, Options

METRES, DEGREES = 1000.0, 360.0
"""How far one edit moves or turns a thing at most."""


class Move(Options):
    """Boxes that are moved along their own axes, in every frame alike."""

    name: str = Field(..., max_length=200, description="an instance, or a category with all below it")
    forward: float = Field(0.0, ge=-METRES, le=METRES, description="metres")
    left: float = Field(0.0, ge=-METRES, le=METRES, description="metres")
    up: float = Field(0.0, ge=-METRES, le=METRES, description="metres")
    turn: float = Field(0.0, ge=-DEGREES, le=DEGREES, description="degrees counter-clockwise")


class Waypoint(Options):
    """Where a new box is at a time."""

    seconds: float = Field(0.0, ge=0, le=1e5, description="since the clip's first picture")
    x: float = Field(..., ge=-1e7, le=1e7, description="metres; of the own car: forward")
    y: float = Field(..., ge=-1e7, le=1e7, description="metres; of the own car: to the left")
    z: float | None = Field(
        None, ge=-1e5, le=1e5, description="metres to the box's centre; null: it stands on the road"
    )
    heading: float = Field(0.0, ge=-3600, le=3600, description="degrees counter-clockwise from x")


class Addition(Options):
    """A box that is not in the data: it goes straight between waypoints, and stands before the first and behind the last."""

    category: str = Field(..., max_length=100, description="nuScenes' whole name, such as vehicle.car")
    instance: str = Field("", max_length=200, description="its name; empty: added-1, added-2, …")
    size: tuple[float, float, float] = Field(..., description="length, width, height in metres")
    frame: str = Field(
        "ego",
        pattern="^(ego|world)$",
        description="what waypoints are measured from: ego, the own car at the clip's first picture, or world",
    )
    track: tuple[Waypoint, ...] = Field(..., min_length=1, max_length=10_000, description="waypoints, in order of time")

    @model_validator(mode="after")
    def _can_be(self) -> Addition:
        if self.category not in CATEGORIES:
            raise ValueError(f"category: nuScenes knows no {self.category!r}{nearest(self.category, CATEGORIES)}")
        if not all(0.01 <= edge <= 200 for edge in self.size):
            raise ValueError("size: each edge must be 0.01 to 200 metres")
        seconds = [point.seconds for point in self.track]
        if any(later <= earlier for earlier, later in pairwise(seconds)):
            raise ValueError("track: the seconds of its waypoints must rise")
        return self


class Edits(Options):
    """What is different from the data. Everything else stays as it is there; what is empty changes nothing."""

    time: str = Field("", max_length=2000, description="word for the time of day in all captions")
    weather: str = Field("", max_length=2000, description="word for the weather in all captions")
    environment: str = Field("", max_length=2000, description="words for the surroundings in all captions")
    objects: str = Field("", max_length=2000, description="words for what is there in all captions")
    image_description: str = Field("", max_length=20_000, description="the whole description in all captions")
    remove: Names = Field((), description="boxes that are left out: categories with all below them, or instances")
    move: tuple[Move, ...] = Field((), max_length=1000, description="boxes that are moved")
    add: tuple[Addition, ...] = Field((), max_length=500, description="boxes that are added")
    without_map: Names = Field((), description="layers of the map that are left out")
    ego_left: float = Field(0.0, ge=-METRES, le=METRES, description="metres by which the own car is moved to its left")
    ego_forward: float = Field(0.0, ge=-METRES, le=METRES, description="metres by which it is moved ahead")
    ego_turn: float = Field(0.0, ge=-DEGREES, le=DEGREES, description="degrees by which it is turned to its left")

    @property
    def words(self) -> dict[str, str]:
        """The parts of captions that are replaced."""
        return {name: getattr(self, name) for name in CAPTION_KEYS if getattr(self, name)}

    @property
    def scenery(self) -> tuple[str, ...]:
        """The fields that change what stands where, of which recorded pictures and sweeps know nothing."""
        return tuple(name for name in type(self).model_fields if name not in CAPTION_KEYS and getattr(self, name))

    @property
    def names(self) -> tuple[str, ...]:
        """All fields that change anything."""
        return (*self.words, *self.scenery)

    def fitting(self, things: Mapping[str, str]) -> Edits:
        """The same without what is removed or moved and is none of these things (instance → category): of one scene of many."""
        moves = tuple(move for move in self.move if means(move.name, things))
        return self.with_(remove=tuple(name for name in self.remove if means(name, things)), move=moves)

    def edit(self, clip: Clip) -> Clip:
        """The clip with all of this: boxes left out, moved and added, then the own car, the map, the words.

        Raises DwmError for a name that means no box, a taken one, a layer that the map has not.
        """
        before = clip
        clip = clip.without(*self.remove) if self.remove else clip
        for move in self.move:
            clip = clip.moving(**move.model_dump())
        for number, addition in enumerate(self.add, 1):
            clip = clip.adding(*placed(addition, addition.instance or f"added-{number}", before))
        if self.ego_left or self.ego_forward or self.ego_turn:
            clip = clip.shifted(self.ego_left, self.ego_forward, ego_turn=self.ego_turn)
        clip = clip.without_map(*self.without_map) if self.without_map else clip
        return clip.with_words(**self.words) if self.words else clip


def placed(addition: Addition, instance: str, clip: Clip) -> tuple[Boxes, Float[np.ndarray, "k 5"]]:
    """A new box and its track in the world's frame."""
    height = addition.size[2]
    points = np.array([[point.x, point.y, point.z or 0.0] for point in addition.track])
    headings = np.deg2rad([point.heading for point in addition.track])
    if addition.frame == "ego":
        own = clip.world_from_ego.reshape(-1, 4, 4)[int(clip.times.argmin())]
        points, headings = apply(own, points), headings + np.arctan2(own[1, 0], own[0, 0])
    for point, waypoint in zip(points, addition.track, strict=True):
        if waypoint.z is None:
            point[2] = ground_at(clip, point[:2]) + height / 2
    track = np.column_stack([[point.seconds for point in addition.track], points, headings])
    size, rotation = np.array([addition.size]), rotation_z(float(headings[0]))[None]
    return Boxes(points[:1], size, rotation, (addition.category,), (instance,)), track


def edits_schema() -> str:
    """The JSON Schema of a file of edits, as it stands in docs/edits.schema.json."""
    return json.dumps(Edits.model_json_schema(), indent=1, ensure_ascii=False) + "\n"
