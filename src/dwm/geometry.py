"""Rigid transforms and the pinhole projection. Pure functions of arrays; imports no other room.

Rotations are NumPy's work: SciPy's agree to 1e-15, but would add 140 MB and 0.25 s of import to every command that knows a camera.

Names read `target_from_source`. Frames of reference: world (map; metres, x east, y north, z up), ego (x forward, y left,
z up, origin on the ground below the rear axle), camera (x right, y down, z forward), box (x along the length, y left, z up).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num

NEAR = 0.05
"""Depth in metres below which nothing is drawn."""

UNIT_CUBE_CORNERS: Float[np.ndarray, "8 3"] = np.array(
    [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
)
"""Corner 4·[x+] + 2·[y+] + [z+] of a box of size one."""


def rotation_from_quaternion(wxyz: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z); they are normalised first. Raises ValueError for a zero or NaN one."""
    q = np.asarray(wxyz, dtype=np.float64)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    if not np.all(length > 1e-12):
        raise ValueError("a quaternion is zero or not a number")
    w, x, y, z = np.moveaxis(q / length, -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def quaternion_from_rotation(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """The unit quaternion (w, x, y, z), w ≥ 0, of a rotation matrix (Bar-Itzhack's eigenvector method)."""
    m = np.asarray(rotation, dtype=np.float64)
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    q = np.linalg.eigh(k)[1][:, -1]
    return q if q[0] >= 0 else -q


def rotation_z(yaw: Num[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n 3 3"]:
    """Rotation by `yaw` radians about the z axis, counter-clockwise seen from above."""
    yaw = np.asarray(yaw, dtype=np.float64)
    c, s, o, i = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    return np.stack([np.stack([c, -s, o], -1), np.stack([s, c, o], -1), np.stack([o, o, i], -1)], -2)


def transform(
    rotation: Num[np.ndarray, "*n 3 3"], translation: Num[np.ndarray, "*n 3"] | Sequence[float]
) -> Float[np.ndarray, "*n 4 4"]:
    """4×4 matrices from rotations and translations in metres."""
    rotation, translation = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
    result = np.zeros((*np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1]), 4, 4))
    result[..., :3, :3], result[..., :3, 3], result[..., 3, 3] = rotation, translation, 1
    return result


def points_inside(
    points: Float[np.ndarray, "k 3"],
    center: Float[np.ndarray, "n 3"],
    size: Float[np.ndarray, "n 3"],
    rotation: Float[np.ndarray, "n 3 3"],
) -> Int[np.ndarray, "n"]:
    """How many of the points lie in each box (its size along its own axes), all in one frame of reference."""
    counts = [
        int((np.abs((points - middle) @ turn) <= edges / 2).all(1).sum())
        for middle, edges, turn in zip(center, size, rotation, strict=True)
    ]
    return np.array(counts, np.int64)


def inverse(rigid: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
    """The inverse of rigid transforms, by transposing the rotation."""
    rotation = np.swapaxes(rigid[..., :3, :3], -1, -2)
    return transform(rotation, -(rotation @ rigid[..., :3, 3:])[..., 0])


def apply(matrix: Float[np.ndarray, "*m 4 4"], points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Points moved by rigid transforms; leading shapes broadcast as (m, 4, 4) with (m, n, 3)."""
    return points @ np.swapaxes(matrix[..., :3, :3], -1, -2) + matrix[..., None, :3, 3]


def box_corners(
    center: Float[np.ndarray, "n 3"], size: Float[np.ndarray, "n 3"], rotation: Float[np.ndarray, "n 3 3"]
) -> Float[np.ndarray, "n 8 3"]:
    """Corners of boxes in the frame of their centres; size is (length, width, height) in metres, order as `UNIT_CUBE_CORNERS`."""
    return (UNIT_CUBE_CORNERS * size[:, None, :]) @ np.swapaxes(rotation, -1, -2) + center[:, None, :]


def project(
    intrinsics: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "*n 3"]
) -> tuple[Float[np.ndarray, "*n 2"], Float[np.ndarray, "*n"]]:
    """Pixels (x right, y down, origin at the picture's top left corner) and depths in metres of points in the camera frame.

    Pixels mean something only where the depth is at least `NEAR`.
    """
    depth = points[..., 2]
    pixels = points @ intrinsics.T
    return pixels[..., :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[..., None], depth


def in_picture(
    pixels: Float[np.ndarray, "*n 2"], depth: Float[np.ndarray, "*n"], size: tuple[int, int]
) -> Bool[np.ndarray, "*n"]:
    """Which projected points lie in front of the camera and inside a picture of `size` (width, height)."""
    x, y = pixels[..., 0], pixels[..., 1]
    return (depth >= NEAR) & (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
