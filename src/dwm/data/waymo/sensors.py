"""Waymo's sensors by name, and the points of a LiDAR's range image. Opens no file."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from dwm.errors import DwmError
from dwm.geometry import apply, inverse

CAMERAS = {"CAM_FRONT": 1, "CAM_FRONT_LEFT": 2, "CAM_FRONT_RIGHT": 3, "CAM_SIDE_LEFT": 4, "CAM_SIDE_RIGHT": 5}
"""Numbers in the records, by the names that OpenDWM gave the cameras."""
LIDARS = {"LIDAR_TOP": 1, "LIDAR_FRONT": 2, "LIDAR_SIDE_LEFT": 3, "LIDAR_SIDE_RIGHT": 4, "LIDAR_REAR": 5}
RING = ("CAM_SIDE_LEFT", "CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_SIDE_RIGHT")
"""The cameras from left to right."""
CAMERA_FROM_SENSOR = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Waymo's cameras look along x, with z up; here they look along z, with y down."""
LARGEST_IMAGE = 64 << 20
"""Bytes of an unpacked range image; the largest is 64 × 2650 cells of six numbers, 4 MB."""


def matrix(values: Any, where: str) -> Float[np.ndarray, "4 4"]:
    """Sixteen numbers by rows. Raises DwmError for what is no rigid motion."""
    numbers = np.array(values, np.float64)
    if numbers.size != 16 or not np.isfinite(numbers).all():
        raise DwmError(f"{where}: is no matrix of 4×4 finite numbers; fetch the file again")
    result = numbers.reshape(4, 4)
    turn = result[:3, :3]
    if not np.allclose(result[3], (0, 0, 0, 1)) or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3):
        raise DwmError(f"{where}: is no rotation and shift; fetch the file again")
    return result


def sweep(frame: Any, lidar: str, name: str) -> Float32[np.ndarray, "n 5"]:
    """The first returns of a LiDAR, rows then columns of its range image: x, y, z in the car's frame, intensity, row.

    Raises DwmError where the frame has none, or a damaged one.
    """
    laser = next((item for item in frame.lasers if item.name == LIDARS[lidar]), None)
    calibration = next((item for item in frame.context.lidars if item.name == LIDARS[lidar]), None)
    if laser is None or calibration is None or not laser.first.ranges:
        raise DwmError(f"{name}: the record has no range image of {lidar}; fetch the file again")
    lens = LidarLens(
        np.array(calibration.beam_inclinations, np.float64),
        (calibration.beam_inclination_min, calibration.beam_inclination_max),
        matrix(calibration.extrinsic.transform, f"{name}: extrinsic of {lidar}"),
    )
    poses = _image(laser.first.poses, name) if laser.first.poses else None
    return points_of(_image(laser.first.ranges, name), lens, poses, matrix(frame.pose.transform, f"{name}: pose"), name)


@dataclass(frozen=True)
class LidarLens:
    """Angles over the horizon of each row, rising (empty: evenly from the lowest to the highest), and ego from LiDAR."""

    inclinations: Float[np.ndarray, "_"]
    reach: tuple[float, float]
    ego_from_lidar: Float[np.ndarray, "4 4"]


def points_of(
    ranges: Float32[np.ndarray, "h w c"],
    lens: LidarLens,
    poses: Float32[np.ndarray, "H W d"] | None,
    world_from_car: Float[np.ndarray, "4 4"],
    name: str,
) -> Float32[np.ndarray, "n 5"]:
    """The points of a range image (metres, intensity, …; nothing where 0 or less), rows then columns, where the frame's pose
    `world_from_car` has them. poses: the car's (roll, pitch, yaw, x, y, z) at each cell. Raises DwmError where shapes differ.
    """
    if ranges.shape[2] < 4 or (poses is not None and (poses.shape[2] < 6 or poses.shape[:2] != ranges.shape[:2])):
        shapes = ranges.shape if poses is None else f"{ranges.shape} with poses of {poses.shape}"
        raise DwmError(f"{name}: a range image has the shape {shapes}; fetch the file again")
    rows, columns = ranges.shape[:2]
    row, column = np.nonzero(ranges[..., 0] > 0)
    up = _inclinations(lens, rows, name)[row]
    around = _azimuths(columns, lens.ego_from_lidar)[column]
    distance = ranges[row, column, 0].astype(np.float64)
    flat = distance * np.cos(up)
    rays = np.stack([flat * np.cos(around), flat * np.sin(around), distance * np.sin(up)], 1)
    points = apply(lens.ego_from_lidar, rays)
    if poses is not None:
        points = _at_the_frames_time(points, poses[row, column].astype(np.float64), world_from_car)
    return np.column_stack([points, ranges[row, column, 1], row]).astype(np.float32)


def _image(packed: bytes, name: str) -> Float32[np.ndarray, "h w c"]:
    """A range image, or its poses: a `MatrixFloat` packed with zlib."""
    from google.protobuf.message import DecodeError

    from dwm.data.waymo.frame_pb2 import Matrix  # pyrefly: ignore[missing-module-attribute]

    unpacker, content = zlib.decompressobj(), Matrix()
    try:
        data = unpacker.decompress(packed, LARGEST_IMAGE)
        if not unpacker.eof:
            raise DwmError(
                f"{name}: a range image is cut off, or has over {LARGEST_IMAGE >> 20} MB; fetch the file again"
            )
        content.ParseFromString(data)
    except (zlib.error, DecodeError) as error:
        raise DwmError(f"{name}: a range image cannot be unpacked ({error}); fetch the file again") from error
    values, shape = np.array(content.data, np.float32), tuple(content.shape.dims)
    return shaped(values, shape, name)


def shaped(values: Float32[np.ndarray, "_"], shape: tuple[int, ...], name: str) -> Float32[np.ndarray, "h w c"]:
    """Numbers as the image that they are said to be. Raises DwmError where they are not so many."""
    if len(shape) != 3 or min(shape) < 1 or np.prod(shape, dtype=object) != values.size:
        raise DwmError(f"{name}: a range image has the shape {shape} and {values.size} numbers; fetch the file again")
    return values.reshape(shape)


def _inclinations(lens: LidarLens, rows: int, name: str) -> Float[np.ndarray, "h"]:
    """The angle over the horizon of each row, the top one first. Short-range LiDARs state the lowest and highest only."""
    listed, (low, high) = lens.inclinations, lens.reach
    if not listed.size:
        listed = low + (np.arange(rows) + 0.5) / rows * (high - low)
    if len(listed) != rows:
        raise DwmError(f"{name}: {len(listed)} beam inclinations for {rows} rows; fetch the file again")
    return listed[::-1]


def _azimuths(columns: int, extrinsic: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "w"]:
    """The angle of each column, from half a turn to the left on."""
    share = (columns - np.arange(columns) - 0.5) / columns
    return (2 * share - 1) * np.pi - np.arctan2(extrinsic[1, 0], extrinsic[0, 0])


def _at_the_frames_time(
    points: Float[np.ndarray, "n 3"], poses: Float[np.ndarray, "n 6"], world_from_car: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "n 3"]:
    """Points that were each seen at the car's pose (roll, pitch, yaw, x, y, z) of its cell, where the frame's pose has them."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(poses[:, :3].T), np.cos(poses[:, :3].T)
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    turned = np.stack([sum(factor * points[:, axis] for axis, factor in enumerate(row)) for row in rows], 1)
    return apply(inverse(world_from_car), turned + poses[:, 3:])
