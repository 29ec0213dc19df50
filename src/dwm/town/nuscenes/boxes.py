"""What is annotated about a box at a key frame: pose, attribute, how much of it the cameras see, how many LiDAR points hit it."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int

from dwm.clip import Boxes, Rig
from dwm.data.nuscenes.write.names import Row
from dwm.geometry import NEAR, apply, in_picture, inverse, project, quaternion_from_rotation
from dwm.town.drawing.lidar import Solids, enter_box

MOVING = 0.3
"""Speed in m/s from which a thing moves."""

FACE_POINTS = np.array(
    [
        np.roll((side, u, v), axis)
        for axis, side, u, v in itertools.product(range(3), (-1, 1), (-0.66, 0, 0.66), (-0.66, 0, 0.66))
    ]
)
FACE_NORMALS = np.array(
    [np.roll((side, 0, 0), axis) for axis, side, *_ in itertools.product(range(3), (-1, 1), range(9))]
)
"""Nine points on each face of the cube [-1, 1]³ and the normals of their faces."""


def box_row(boxes: Boxes, i: int) -> Row:
    """Translation, size (width, length, height: the format's order) and rotation of one box."""
    length, width, height = boxes.size[i].tolist()
    return {
        "translation": boxes.center[i].tolist(),
        "size": [width, length, height],
        "rotation": quaternion_from_rotation(boxes.rotation[i]).tolist(),
    }


def attribute(category: str, speed: float, ever_moves: bool) -> str | None:
    """The attribute of a thing by its category and how it moves now (m/s) and over the scene; None where none fits."""
    if category.startswith("human."):
        return "pedestrian.moving" if speed >= MOVING else "pedestrian.standing"
    if category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.with_rider"
    if category.startswith("vehicle."):
        if speed >= MOVING:
            return "vehicle.moving"
        return "vehicle.stopped" if ever_moves else "vehicle.parked"
    return None


def visibility_level(share: float) -> str:
    """The token of the visibility table for a share in [0, 1]."""
    return "1234"[int(np.searchsorted((0.4, 0.6, 0.8), share, side="right"))]


def visible_share(
    boxes: Boxes, solids: Solids, rig: Rig, world_from_ego: Float[np.ndarray, "v 4 4"]
) -> Float[np.ndarray, "n"]:
    """Which share of the box points that face the car some camera sees: in its picture, and not hidden behind a solid."""
    n = len(boxes)
    points = boxes.center[:, None] + (FACE_POINTS * boxes.size[:, None] / 2) @ np.swapaxes(boxes.rotation, 1, 2)
    normals = FACE_NORMALS @ np.swapaxes(boxes.rotation, 1, 2)
    facing = np.zeros((n, len(FACE_POINTS)), bool)
    visible = np.zeros_like(facing)
    for view in range(len(rig.names)):
        world_from_camera = world_from_ego[view] @ rig.ego_from_camera[view]
        eye = world_from_camera[:3, 3]
        front = ((eye - points) * normals).sum(-1) > 0
        facing |= front
        pixels, depth = project(rig.intrinsics[view], apply(inverse(world_from_camera), points.reshape(-1, 3)))
        width, height = rig.image_size[view].tolist()
        candidate = in_picture(pixels, depth, (width, height)).reshape(n, -1) & front & (depth.reshape(n, -1) > NEAR)
        owner, _ = np.nonzero(candidate)
        if len(owner):
            visible[candidate] |= ~hidden(eye, points[candidate], owner, solids)
    return visible.sum(1) / np.maximum(facing.sum(1), 1)


def hidden(
    eye: Float[np.ndarray, "3"], points: Float[np.ndarray, "k 3"], owner: Int[np.ndarray, "k"], solids: Solids
) -> np.ndarray:
    """Which points have a solid of another owner between them and the eye. Ellipsoids (tree crowns) hide nothing."""
    solids = solids.select(~solids.round)
    half = solids.size[:, None] / 2
    start = np.einsum("nc,ncd->nd", eye - solids.center, solids.rotation)[:, None] / half
    along = ((points - eye) @ solids.rotation) / half
    enters = enter_box(np.broadcast_to(start, along.shape), along)
    return ((enters < 0.995) & (solids.owner[:, None] != owner)).any(0)


def count_points(
    points: Float[np.ndarray, "k 5"], world_from_lidar: Float[np.ndarray, "4 4"], boxes: Boxes
) -> Int[np.ndarray, "n"]:
    """How many points of a sweep lie in each box."""
    world = apply(world_from_lidar, points[:, :3].astype(np.float64))
    world = world[np.argsort(world[:, 0])]
    reach = np.linalg.norm(boxes.size, axis=1) / 2
    first = np.searchsorted(world[:, 0], boxes.center[:, 0] - reach)
    last = np.searchsorted(world[:, 0], boxes.center[:, 0] + reach, side="right")
    counts = np.zeros(len(boxes), int)
    for i in range(len(boxes)):
        local = (world[first[i] : last[i]] - boxes.center[i]) @ boxes.rotation[i]
        counts[i] = int((np.abs(local) <= boxes.size[i] / 2).all(1).sum())
    return counts
