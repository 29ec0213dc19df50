"""A 32-beam spinning LiDAR (HDL-32E angles) cast with numpy against the ground plane, boxes and ellipsoids.

A sweep is taken at one instant: the format calls its points motion-compensated. This module writes no file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dwm.data.sweep_places import ROOF
from dwm.geometry import apply, box_corners, inverse

BEAMS = 32
AZIMUTHS = 1084
ELEVATION = np.radians(-30.667 + 4 / 3 * np.arange(BEAMS))
"""Angle of each ring above the horizontal; ring 0 looks down most."""

RANGE = (1.0, 90.0)
RANGE_NOISE = 0.012
GROUND_REFLECTIVITY = 0.09

EGO_FROM_LIDAR = ROOF
"""Mounting as in nuScenes: the sensor's x points right, y forward, z up."""


@dataclass(frozen=True)
class Solids:
    """What light meets, in the world's frame: boxes, or ellipsoids that fill them where `round`.

    owner tells which annotated box a solid belongs to (-1: none); reflectivity is in [0, 1].
    """

    center: Float[np.ndarray, "n 3"]
    size: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 3 3"]
    reflectivity: Float[np.ndarray, "n"]
    round: Bool[np.ndarray, "n"]
    owner: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.center)

    def select(self, keep: np.ndarray) -> Solids:
        """Those that a mask or indices name."""
        return Solids(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    @staticmethod
    def join(*parts: Solids) -> Solids:
        """All of them, in order."""
        return Solids(*(np.concatenate([getattr(p, name) for p in parts]) for name in Solids.__dataclass_fields__))


def _directions() -> Float[np.ndarray, "a 32 3"]:
    """Unit directions in the LiDAR's frame, clockwise from the left as the real sensor turns."""
    azimuth = np.pi - 2 * np.pi * np.arange(AZIMUTHS)[:, None] / AZIMUTHS
    flat = np.cos(ELEVATION)[None]
    return np.stack(
        [flat * np.cos(azimuth), flat * np.sin(azimuth), np.broadcast_to(np.sin(ELEVATION), (AZIMUTHS, BEAMS))], -1
    )


DIRECTIONS = _directions()


def scan(
    solids: Solids, world_from_lidar: Float[np.ndarray, "4 4"], generator: np.random.Generator
) -> Float[np.ndarray, "k 5"]:
    """One sweep: x, y, z in metres in the LiDAR's frame, intensity 0…255, ring; rays without an echo are left out.

    The ground is the world's plane z = 0. Deterministic by `generator`.
    """
    origin = world_from_lidar[:3, 3]
    world = DIRECTIONS @ world_from_lidar[:3, :3].T
    down = world[..., 2]
    distance = np.where(down < -1e-6, -origin[2] / np.minimum(down, -1e-6), np.inf)
    reflectivity = np.full(distance.shape, GROUND_REFLECTIVITY)
    near = np.linalg.norm(solids.center - origin, axis=1) - np.linalg.norm(solids.size, axis=1) / 2 < RANGE[1]
    solids = solids.select(near)
    first, count = _azimuth_windows(solids, world_from_lidar)
    for i in range(len(solids)):
        rays = (first[i] + np.arange(count[i])) % AZIMUTHS
        hit = _hit(solids, i, origin, world[rays])
        closer = hit < distance[rays]
        distance[rays] = np.where(closer, hit, distance[rays])
        reflectivity[rays] = np.where(closer, solids.reflectivity[i], reflectivity[rays])
    return _points(distance, reflectivity, generator)


def _points(
    distance: Float[np.ndarray, "a 32"], reflectivity: Float[np.ndarray, "a 32"], generator: np.random.Generator
) -> Float[np.ndarray, "k 5"]:
    measured = distance + generator.normal(0, RANGE_NOISE, distance.shape)
    echo = (measured > RANGE[0]) & (measured < RANGE[1])
    shine = reflectivity[echo] * generator.uniform(0.7, 1.3, int(echo.sum())) * 255
    ring = np.broadcast_to(np.arange(BEAMS), distance.shape)[echo]
    points = DIRECTIONS[echo] * measured[echo][:, None]
    return np.column_stack([points, np.clip(np.round(shine), 0, 255), ring]).astype(np.float32)


def _azimuth_windows(
    solids: Solids, world_from_lidar: Float[np.ndarray, "4 4"]
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """The first azimuth step and the number of steps in which each solid can be met."""
    if not len(solids):
        return np.zeros(0, int), np.zeros(0, int)
    lidar_from_world = inverse(world_from_lidar)
    corners = apply(lidar_from_world, box_corners(solids.center, solids.size, solids.rotation))
    middle = apply(lidar_from_world, solids.center)
    bearing = np.arctan2(middle[:, 1], middle[:, 0])[:, None]
    offset = np.arctan2(corners[..., 1], corners[..., 0]) - bearing
    offset = (offset + np.pi) % (2 * np.pi) - np.pi
    low, high = offset.min(1), offset.max(1)
    around = high - low > 0.95 * np.pi
    step = 2 * np.pi / AZIMUTHS
    first = np.floor((np.pi - (bearing[:, 0] + high)) / step).astype(int) - 1
    count = np.where(around, AZIMUTHS, np.ceil((high - low) / step).astype(int) + 3)
    return first, np.minimum(count, AZIMUTHS)


def _hit(
    solids: Solids, i: int, origin: Float[np.ndarray, "3"], directions: Float[np.ndarray, "*r 3"]
) -> Float[np.ndarray, "*r"]:
    """Distance along each ray to solid `i` (inf: missed, or the ray starts inside)."""
    half = solids.size[i] / 2
    start = ((origin - solids.center[i]) @ solids.rotation[i]) / half
    along = (directions @ solids.rotation[i]) / half
    return enter_ellipsoid(start, along) if solids.round[i] else enter_box(start, along)


def enter_box(start: Float[np.ndarray, "*#r 3"], along: Float[np.ndarray, "*r 3"]) -> Float[np.ndarray, "*r"]:
    """Where rays enter the cube [-1, 1]³, in units of `along` (inf: never, or from inside)."""
    along = np.where(np.abs(along) < 1e-12, 1e-12, along)
    one, two = (-1 - start) / along, (1 - start) / along
    enter, leave = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def enter_ellipsoid(start: Float[np.ndarray, "*#r 3"], along: Float[np.ndarray, "*r 3"]) -> Float[np.ndarray, "*r"]:
    """Where rays enter the unit ball, in units of `along` (inf: never, or from inside)."""
    a, b, c = (along * along).sum(-1), (start * along).sum(-1), (start * start).sum(-1) - 1
    root = b * b - a * c
    enter = (-b - np.sqrt(np.maximum(root, 0))) / np.maximum(a, 1e-12)
    return np.where((root >= 0) & (enter > 0), enter, np.inf)
