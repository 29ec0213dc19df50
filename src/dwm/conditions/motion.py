"""The car's motion: speed and steering at each picture. Guidance leaves it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.conditions.camera import solved
from dwm.conditions.condition import Fields, Request, doubled
from dwm.conditions.options import ConditionOptions
from dwm.devices import send

UNKNOWN = -1000.0
"""What stands for speed and steering where they are not known."""
KMH_PER_MS = 3.6
WHEEL_BASE = 2.7
STEERING_RATIO = 14.0
STANDING = 0.01
"""Metres between two frames below which no steering angle can be told."""
NO_MOTION_KNOWN = 1e-3
"""A clip whose poses differ from identity by less than this in sum has none."""


class Action:
    """Speed and steering as numbers, behind those of the camera."""

    name: ClassVar[str] = "action"
    dropped_with_all: ClassVar[bool] = False
    fields: ClassVar[Mapping[str, int]] = {"added_ids": -1}

    def is_used(self, options: ConditionOptions) -> bool:
        return options.action

    def is_drawn(self, options: ConditionOptions) -> bool:
        return True

    def encode(self, request: Request) -> Fields:
        ids = action_ids(request.batch, request.keep.get(self.name), request.pose_before)
        return {"added_ids": doubled(request.at_latents(ids), UNKNOWN, request)}


def action_ids(
    batch: ClipBatch,
    keep: Bool[Tensor, "b"] | None = None,
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
    motion = solved(*torch.linalg.solve_ex(poses[:, :-1], poses[:, 1:]))
    if before is None:
        motion = torch.cat([motion[:, :1], motion], 1)
    distance = motion[..., :3, 3].norm(dim=-1)
    speed = KMH_PER_MS * distance * batch.fps[:, None, None]
    angle = torch.atan2(motion[..., 1, 0] - motion[..., 0, 1], motion[..., 0, 0] + motion[..., 1, 1])
    steering = angle / distance.clamp(min=STANDING) * WHEEL_BASE * STEERING_RATIO
    steering = torch.where(distance > STANDING, steering, UNKNOWN)
    has_motion = (poses - torch.eye(4, dtype=poses.dtype, device=poses.device)).sum(
        (1, 2, 3, 4)
    ).abs() > NO_MOTION_KNOWN
    if keep is not None:
        has_motion = has_motion & send(keep, has_motion.device)
    ids = torch.stack([speed, steering], -1)
    return torch.where(has_motion[:, None, None, None], ids, UNKNOWN).float()
