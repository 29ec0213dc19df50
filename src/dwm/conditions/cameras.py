"""Cameras and the car's motion as numbers and matrices. Reads no file and knows no network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from dwm.clip import ClipBatch
from dwm.conditions.options import ConditionOptions
from dwm.devices import send
from dwm.errors import DwmError

UNKNOWN = -1000.0
"""What stands for speed and steering where they are not known."""
KMH_PER_MS = 3.6
WHEEL_BASE = 2.7
STEERING_RATIO = 14.0
STANDING = 0.01
"""Metres between two frames below which no steering angle can be told."""
NO_MOTION_KNOWN = 1e-3
"""A clip whose poses differ from identity by less than this in sum has none."""


def camera_ids(batch: ClipBatch, options: ConditionOptions) -> Float[Tensor, "b t v i"]:
    """Frame rate, intrinsics relative to the picture's size, view direction and position of each picture."""
    numbers = _entries(batch.intrinsics.flatten(-2), options.camera_intrinsic_embedding_indices)
    sizes = _entries(batch.image_size, options.camera_intrinsic_denom_embedding_indices)
    places = _entries(batch.ego_from_camera.flatten(-2), options.camera_transform_embedding_indices)
    fps = batch.fps[:, None, None, None].expand(*batch.shape, 1)
    return torch.cat([fps, numbers / sizes, places], -1).float()


def action_ids(
    batch: ClipBatch,
    kept: Bool[Tensor, "b"] | None = None,
    before: Float[Tensor, "b v 4 4"] | None = None,
) -> Float[Tensor, "b t v 2"]:
    """Speed in km/h and the steering wheel's angle in radians (positive to the left) at each picture; UNKNOWN where not known.

    The first frame repeats the second one's motion, unless the pose `before` it is given. A single frame has no motion.
    """
    poses = batch.world_from_ego
    if before is not None:
        poses = torch.cat([before[:, None], poses], 1)
    if poses.shape[1] < 2:
        return batch.world_from_ego.new_full((*batch.shape, 2), UNKNOWN, dtype=torch.float32)
    motion = _checked(*torch.linalg.solve_ex(poses[:, :-1], poses[:, 1:]))
    if before is None:
        motion = torch.cat([motion[:, :1], motion], 1)
    distance = motion[..., :3, 3].norm(dim=-1)
    speed = KMH_PER_MS * distance * batch.fps[:, None, None]
    angle = torch.atan2(motion[..., 1, 0] - motion[..., 0, 1], motion[..., 0, 0] + motion[..., 1, 1])
    steering = angle / distance.clamp(min=STANDING) * WHEEL_BASE * STEERING_RATIO
    steering = torch.where(distance > STANDING, steering, UNKNOWN)
    known = (poses - torch.eye(4, dtype=poses.dtype, device=poses.device)).sum((1, 2, 3, 4)).abs() > NO_MOTION_KNOWN
    if kept is not None:
        known = known & send(kept, known.device)
    ids = torch.stack([speed, steering], -1)
    return torch.where(known[:, None, None, None], ids, UNKNOWN).float()


def view_matrices(
    batch: ClipBatch, kept: Bool[Tensor, "b"] | None = None
) -> tuple[Float[Tensor, "b t v 3 3"], Float[Tensor, "b t v 4 4"]]:
    """Intrinsics relative to the picture's size, and each camera in the ego frame of the first frame and first view.

    Identities for clips that are uncalibrated or not `kept`.
    """
    poses = batch.world_from_ego
    # In this order: a network turns these metres into angles 400 times as large, and published ones learned its rounding.
    ego0_from_camera = _checked(*torch.linalg.inv_ex(poses[:, :1, :1])) @ (poses @ batch.ego_from_camera)
    intrinsics = batch.intrinsics.clone()
    for row in (0, 1):
        for column in (row, 2):
            intrinsics[..., row, column] /= batch.image_size[..., row]
    unknown = torch.zeros(len(poses), dtype=torch.bool, device=poses.device)
    if batch.is_uncalibrated is not None:
        unknown = unknown | batch.is_uncalibrated
    if kept is not None:
        unknown = unknown | ~send(kept, unknown.device)
    unknown = unknown[:, None, None, None, None]
    eye = torch.eye(4, device=poses.device)
    return torch.where(unknown, eye[:3, :3], intrinsics), torch.where(unknown, eye, ego0_from_camera)


def _entries(numbers: Num[Tensor, "*n k"], indices: Sequence[int]) -> Num[Tensor, "*n i"]:
    """Some entries of the last axis, one by one: a list of indices would be copied to the device, which waits."""
    return torch.stack([numbers[..., index] for index in indices], -1)


def _checked(result: Tensor, fault: Int[Tensor, "..."]) -> Tensor:
    """The result of `linalg.*_ex`, which does not wait to see whether there is one; a processor has it at once."""
    if fault.device.type == "cpu" and bool(fault.any()):
        raise DwmError("a pose of the car (ego_transforms) has no inverse: it is not a rotation and a place")
    return result
