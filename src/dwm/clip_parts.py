"""What a clip is made of: `Rig`, `Boxes`, `LaneMap`, `Caption`, pictures and `LidarTrack`, in numpy.

This module only holds and checks them: it reads no file, draws nothing and knows no network.
Letters of shapes: t frames, v views, n things, h w rows and columns of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Protocol, overload, runtime_checkable

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int, Num, UInt8
from shapely import STRtree
from shapely.geometry import LineString, Polygon

from dwm.conventions import CAPTION_KEYS


@dataclass(frozen=True)
class Rig:
    """A car's cameras: names, calibration and mounting.

    intrinsics are in pixels of the original picture, whose size (width, height) is `image_size`. Arrays are (v, …) where a
    clip's cameras stay as they are, and (t, v, …) where one is calibrated anew on the way: ask `at` for those of a frame.
    """

    names: tuple[str, ...]
    intrinsics: Float[np.ndarray, "*t v 3 3"]
    ego_from_camera: Float[np.ndarray, "*t v 4 4"]
    image_size: Int[np.ndarray, "*t v 2"]

    @property
    def changes(self) -> bool:
        """Whether the arrays have a frame axis."""
        return self.image_size.ndim == 3

    def index(self, name: str) -> int:
        return self.names.index(name)

    def at(self, frame: int) -> Rig:
        """The cameras of one frame: arrays of (v, …)."""
        return self._each(lambda values: values[frame]) if self.changes else self

    def frames(self, part: slice) -> Rig:
        """The cameras of some frames."""
        return self._each(lambda values: values[part]) if self.changes else self

    def size_of(self, view: int) -> tuple[int, int]:
        """(width, height) of a view's pictures, in the first frame where cameras change."""
        width, height = self.at(0).image_size[view].tolist()
        return width, height

    def select(self, names: Sequence[str]) -> Rig:
        """The same rig with only these views, in this order."""
        keep = [self.index(name) for name in names]
        return replace(self._each(lambda values: values[:, keep] if self.changes else values[keep]), names=tuple(names))

    def _each(self, change: Callable[[np.ndarray], np.ndarray]) -> Rig:
        return Rig(self.names, change(self.intrinsics), change(self.ego_from_camera), change(self.image_size))


@dataclass(frozen=True)
class Boxes:
    """Traffic at one instant, in the world's frame. size is (length, width, height) in metres, length along the box's x.

    category holds full nuScenes names (`vehicle.car`, `human.pedestrian.adult`); instance names a thing over time.
    """

    center: Float[np.ndarray, "n 3"]
    size: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 3 3"]
    category: tuple[str, ...]
    instance: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.category)

    def named(self, name: str) -> Bool[np.ndarray, "n"]:
        """Which boxes a name means: an instance, or a category with all below it (`vehicle` has `vehicle.car`)."""
        pairs = zip(self.category, self.instance, strict=True)
        return np.array([f"{kind}.".startswith(f"{name}.") or thing == name for kind, thing in pairs], bool)

    def select(self, keep: Bool[np.ndarray, "n"]) -> Boxes:
        """Only these boxes."""
        names, things = (
            tuple(text for text, one in zip(texts, keep, strict=True) if one)
            for texts in (self.category, self.instance)
        )
        return Boxes(self.center[keep], self.size[keep], self.rotation[keep], names, things)

    def joined(self, other: Boxes) -> Boxes:
        """These boxes and the other ones behind them."""
        pairs = ((self.center, other.center), (self.size, other.size), (self.rotation, other.rotation))
        center, size, rotation = (np.concatenate(pair) for pair in pairs)
        return Boxes(center, size, rotation, self.category + other.category, self.instance + other.instance)


NO_BOXES = Boxes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3, 3)), (), ())
"""Boxes of an instant at which nothing stands."""


def outlines(shapes: Sequence[Polygon | LineString]) -> np.ndarray:
    """The rings of polygons, and lines as they are, in their order."""
    whole = np.asarray(shapes, object)
    if not len(whole) or not (shapely.get_type_id(whole) == shapely.GeometryType.LINESTRING).any():
        return shapely.get_rings(whole)
    parts = [[shape] if isinstance(shape, LineString) else shapely.get_rings(shape) for shape in shapes]
    return np.array([ring for part in parts for ring in part], object)


@dataclass(frozen=True)
class EdgeIndex:
    """All outline edges of a map layer in runs of at most `RUN` that follow one another, found by the box around each run.

    One polygon may span a town, so that polygons are no use as the unit of a search; short runs of edges are.
    """

    RUN: ClassVar[int] = 16
    start: Float[np.ndarray, "m 3"]
    stop: Float[np.ndarray, "m 3"]
    first: Int[np.ndarray, "runs"]
    count: Int[np.ndarray, "runs"]
    tree: STRtree

    @classmethod
    def of(cls, shapes: Sequence[Polygon | LineString]) -> EdgeIndex:
        points, ring = shapely.get_coordinates(outlines(shapes), include_z=True, return_index=True)
        points[:, 2] = np.nan_to_num(points[:, 2])
        same = ring[1:] == ring[:-1]
        start, stop, ring = points[:-1][same], points[1:][same], ring[1:][same]
        index_in_ring = np.arange(len(ring)) - np.searchsorted(ring, ring)
        first = np.flatnonzero(index_in_ring % cls.RUN == 0)
        count = np.diff(np.append(first, len(start)))
        if len(first) == 0:
            return cls(start, stop, first, count, STRtree([]))
        low = np.minimum.reduceat(np.minimum(start, stop), first)
        high = np.maximum.reduceat(np.maximum(start, stop), first)
        return cls(start, stop, first, count, STRtree(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])))

    def near(self, area: Polygon) -> tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"]]:
        """Starts and ends, in drawing order, of the edges whose run touches `area`; others may come along."""
        runs = np.sort(self.tree.query(area, predicate="intersects"))
        count = self.count[runs]
        keep = np.repeat(self.first[runs] - np.cumsum(count) + count, count) + np.arange(count.sum())
        return self.start[keep], self.stop[keep]


@dataclass(frozen=True)
class LaneMap:
    """Polygons, and lines, of a map in the world's x, y (metres) by layer name (`MAP_LAYERS`).

    Their height is their z where they have one; else it is 0, as in nuScenes.
    """

    layers: Mapping[str, tuple[Polygon | LineString, ...]]

    @cached_property
    def trees(self) -> Mapping[str, STRtree]:
        """A spatial index of each layer, built once."""
        return {name: STRtree(polygons) for name, polygons in self.layers.items()}

    @cached_property
    def edges(self) -> Mapping[str, EdgeIndex]:
        """The outlines of each layer, findable by place; built once."""
        return {name: EdgeIndex.of(polygons) for name, polygons in self.layers.items()}


@dataclass(frozen=True)
class Caption:
    """What is written about one view at one instant; empty strings where nothing is."""

    time: str = ""
    weather: str = ""
    environment: str = ""
    objects: str = ""
    image_description: str = ""

    def text(self, keys: Sequence[str] = CAPTION_KEYS) -> str:
        """The non-empty parts in the order of `keys`, joined by ". "."""
        return ". ".join(part for part in (getattr(self, key) for key in keys) if part)


@runtime_checkable
class Pictures(Protocol):
    """The photographs of a clip, read or rendered when asked for; picklable and safe over fork."""

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """One RGB picture, at its original size or at `size` (width, height). Raises DwmError naming a broken file."""
        ...


@dataclass(frozen=True)
class PartOfPictures:
    """Some frames and views of other pictures."""

    whole: Pictures
    frames: tuple[int, ...]
    views: tuple[int, ...]

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        return self.whole.load(self.frames[frame], self.views[view], size)


@runtime_checkable
class Sweeps(Protocol):
    """Sweeps by number: n points (x, y, z, intensity, ring) each, read when asked for."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, index: int) -> Float[np.ndarray, "n 5"]: ...
    @overload
    def __getitem__(self, index: slice) -> Sweeps: ...


@dataclass(frozen=True)
class LidarTrack:
    """The LiDAR of a clip: its own times (µs) and poses; `points` gives a sweep in the LiDAR's frame (x, y, z, intensity, ring).

    Its mounting has a frame axis where the LiDAR is calibrated anew within the clip, as a `Rig`'s cameras have. boxes: those at
    each sweep, in a clip that has no views whose pictures could have them.
    """

    times: Num[np.ndarray, "t"]
    world_from_ego: Float[np.ndarray, "t 4 4"]
    ego_from_lidar: Float[np.ndarray, "*t 4 4"]
    points: Sweeps
    boxes: tuple[Boxes | None, ...] | None = None

    def world_from_lidar(self, frame: int) -> Float[np.ndarray, "4 4"]:
        """Where the LiDAR stands in the world at a frame."""
        return self.world_from_ego[frame] @ self.mounting(frame)

    def mounting(self, frame: int) -> Float[np.ndarray, "4 4"]:
        """The vehicle's frame from the LiDAR's at a frame."""
        return self.ego_from_lidar if self.ego_from_lidar.ndim == 2 else self.ego_from_lidar[frame]


def means(name: str, things: Mapping[str, str]) -> bool:
    """Whether a name is one of these things, or a category that has one below it."""
    return any(name == thing or f"{kind}.".startswith(f"{name}.") for thing, kind in things.items())
