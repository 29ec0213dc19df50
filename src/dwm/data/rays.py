"""What a spinning LiDAR's rays meet: sweeps as range images, and boxes, ground and map as its rays would meet them.

Images have a row for each beam, the lowest first, and columns clockwise from behind the vehicle, so that ahead is in the middle.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, UInt8
from pydantic import Field

from dwm.clip import Boxes, Clip
from dwm.data.birdseye import BirdseyeOptions, draw_map_birdseye
from dwm.data.layout import color_of
from dwm.data.options import BOX_COLORS
from dwm.geometry import apply, inverse
from dwm.options import Options

NOWHERE = 1e4
"""Metres that stand for: this ray meets nothing."""


class RayOptions(Options):
    """A LiDAR's beams, and into how many columns a turn is cut."""

    beams: int = Field(32, ge=2, le=256, description="rows of an image")
    lowest: float = Field(-30.667, ge=-90, lt=90, description="degrees of the lowest beam above the horizontal")
    step: float = Field(4 / 3, gt=0, le=45, description="degrees from a beam to the next")
    columns: int = Field(512, ge=8, le=8192, description="columns of an image")
    nearest: float = Field(1.0, ge=0, description="metres below which nothing is measured")
    farthest: float = Field(80.0, gt=0, le=1000, description="metres beyond which nothing is measured")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.beams, self.columns


@lru_cache(maxsize=8)
def directions(options: RayOptions) -> Float[np.ndarray, "R C 3"]:
    """Unit vectors in the LiDAR's frame (x right, y forward, z up), through the middle of each pixel."""
    azimuth = 1.5 * np.pi - 2 * np.pi * (np.arange(options.columns) + 0.5) / options.columns
    elevation = np.radians(options.lowest + options.step * np.arange(options.beams))[:, None]
    flat = np.cos(elevation)
    rays = [flat * np.cos(azimuth), flat * np.sin(azimuth), np.broadcast_to(np.sin(elevation), options.shape)]
    return np.stack(rays, -1)


def range_image(points: Float[np.ndarray, "n _"], options: RayOptions) -> Float32[np.ndarray, "2 R C"]:
    """A sweep (x, y, z, intensity … in the LiDAR's frame) as range in metres (`NOWHERE`: no echo) and intensity (0 … 255).

    Of several points of a pixel the nearest counts. What is not finite, beside the beams or out of range is left out.
    """
    image = np.zeros((2, *options.shape), np.float32)
    image[0] = NOWHERE
    points = np.asarray(points, np.float64)
    points = points[np.isfinite(points[:, :3]).all(1)]
    distance = np.linalg.norm(points[:, :3], axis=1)
    inside = (distance >= max(options.nearest, 1e-3)) & (distance < options.farthest)
    points, distance = points[inside], distance[inside]
    elevation = np.degrees(np.arcsin(np.clip(points[:, 2] / distance, -1, 1)))
    row = np.round((elevation - options.lowest) / options.step).astype(int)
    turn = (1.5 * np.pi - np.arctan2(points[:, 1], points[:, 0])) / (2 * np.pi) % 1
    column = np.minimum((turn * options.columns).astype(int), options.columns - 1)
    order = np.argsort(-distance, kind="stable")  # the nearest is written last
    order = order[(row[order] >= 0) & (row[order] < options.beams)]
    shine = points[:, 3] if points.shape[1] > 3 else np.zeros(len(points))
    image[0, row[order], column[order]] = distance[order]
    image[1, row[order], column[order]] = np.clip(np.nan_to_num(shine[order]), 0, 255)
    return image


def boxes_of(clip: Clip, frame: int) -> Boxes | None:
    """What is annotated at a sweep: the boxes of the LiDAR itself in a clip without views, else of the first view that has some."""
    if not clip.views and clip.lidar is not None and clip.lidar.boxes is not None:
        return clip.lidar.boxes[frame]
    return None if clip.boxes is None else next((boxes for boxes in clip.boxes[frame] if boxes is not None), None)


def surfaces(
    boxes: Boxes | None,
    world_from_lidar: Float[np.ndarray, "4 4"],
    ego_from_lidar: Float[np.ndarray, "4 4"],
    options: RayOptions,
) -> tuple[Float32[np.ndarray, "3 R C"], UInt8[np.ndarray, "3 R C"]]:
    """Metres at which each ray enters the first box, leaves it, and meets the ground (z = 0 of the vehicle's frame), `NOWHERE`
    where it does not; and the boxes as a picture: how close the surface is, and red and green of the category's colour.
    """
    rays, lidar_from_world = directions(options), inverse(world_from_lidar)
    enter, leave = np.full((2, *options.shape), NOWHERE)
    picture = np.zeros((3, *options.shape), np.uint8)
    for i in range(0 if boxes is None else len(boxes)):
        assert boxes is not None
        color = color_of(boxes.category[i], BOX_COLORS)
        if color is None:
            continue
        centre = apply(lidar_from_world, boxes.center[i][None])[0]
        columns = _window(centre, float(np.linalg.norm(boxes.size[i])) / 2, options)
        rotation = lidar_from_world[:3, :3] @ boxes.rotation[i]
        first, last = _crossed(centre, boxes.size[i], rotation, rays[:, columns])
        closer = first < enter[:, columns]
        enter[:, columns] = np.where(closer, first, enter[:, columns])
        leave[:, columns] = np.where(closer, last, leave[:, columns])
        picture[1:, :, columns] = np.where(closer, np.array(color[:2]).reshape(2, 1, 1), picture[1:, :, columns])
    met = enter < options.farthest
    picture[0] = np.where(met, 1 + 254 * closeness(enter, options.farthest), 0)
    picture[1:] *= met
    reach = np.where(met, (enter, leave), NOWHERE)
    return np.stack([*reach, _ground(rays, ego_from_lidar, options)]).astype(np.float32), picture


def draw_map_rays(
    clip: Clip, frame: int, ego_from_lidar: Float[np.ndarray, "4 4"], options: RayOptions, birdseye: BirdseyeOptions
) -> UInt8[np.ndarray, "3 R C"]:
    """The colour that the map from above has where each ray meets the ground; black beyond the picture and above the horizon."""
    rays = directions(options)
    distance = _ground(rays, ego_from_lidar, options)
    hits = apply(ego_from_lidar, rays * distance[..., None])
    pixels = np.floor(apply(birdseye.picture_from_ego, hits)[..., :2]).astype(int)
    width, height = birdseye.size
    x, y = np.clip(pixels[..., 0], 0, width - 1), np.clip(pixels[..., 1], 0, height - 1)
    inside = (pixels[..., 0] == x) & (pixels[..., 1] == y) & (distance < NOWHERE)
    colors = draw_map_birdseye(clip, frame, birdseye)[y, x]
    return np.moveaxis(colors * inside[..., None], -1, 0).astype(np.uint8)


def closeness(distance: Float[np.ndarray, "*n"], farthest: float) -> Float[np.ndarray, "*n"]:
    """1 at the LiDAR, 0 at `farthest` and beyond, by the logarithm."""
    return 1 - np.log1p(np.minimum(distance, farthest)) / np.log1p(farthest)


def _window(centre: Float[np.ndarray, "3"], radius: float, options: RayOptions) -> np.ndarray:
    """The columns whose rays may come within `radius` of a point."""
    flat = float(np.hypot(centre[0], centre[1]))
    if flat <= radius * 1.01:
        return np.arange(options.columns)
    half = np.arcsin(radius / flat) / (2 * np.pi) * options.columns + 1
    middle = (1.5 * np.pi - np.arctan2(centre[1], centre[0])) / (2 * np.pi) * options.columns
    count = min(int(2 * half) + 2, options.columns)
    return (int(np.floor(middle - half)) + np.arange(count)) % options.columns


def _crossed(
    centre: Float[np.ndarray, "3"],
    size: Float[np.ndarray, "3"],
    rotation: Float[np.ndarray, "3 3"],
    rays: Float[np.ndarray, "R c 3"],
) -> tuple[Float[np.ndarray, "R c"], Float[np.ndarray, "R c"]]:
    """Where rays from the origin enter and leave a box, in metres (`NOWHERE`: never, or the origin lies inside)."""
    half = np.maximum(size, 1e-3) / 2
    start, along = (-centre @ rotation) / half, (rays @ rotation) / half
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    one, two = (-1 - start) / along, (1 - start) / along
    first, last = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
    meets = (first <= last) & (first > 0)
    return np.where(meets, first, NOWHERE), np.where(meets, last, NOWHERE)


def _ground(
    rays: Float[np.ndarray, "R C 3"], ego_from_lidar: Float[np.ndarray, "4 4"], options: RayOptions
) -> Float[np.ndarray, "R C"]:
    down = (rays @ ego_from_lidar[:3, :3].T)[..., 2]
    distance = -ego_from_lidar[2, 3] / np.minimum(down, -1e-6)
    return np.where((down < -1e-6) & (distance > 0) & (distance < options.farthest), distance, NOWHERE)
