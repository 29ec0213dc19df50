"""Cameras, as numbers of each picture and as matrices from which a network makes rays. Guidance leaves them as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.conditions.condition import Fields, Request, doubled
from dwm.conditions.options import ConditionOptions
from dwm.devices import send
from dwm.errors import DwmError


class Camera:
    """Frame rate, intrinsics, view direction and position of each picture as numbers; never dropped."""

    name: ClassVar[str] = "camera"
    dropped_with_all: ClassVar[bool] = False
    fields: ClassVar[Mapping[str, int]] = {"added_ids": -1}

    def is_used(self, options: ConditionOptions) -> bool:
        return options.added_time_ids is not None

    def is_drawn(self, options: ConditionOptions) -> bool:
        return False

    def encode(self, request: Request) -> Fields:
        ids = request.at_latents(camera_ids(request.batch, request.options))
        return {"added_ids": doubled(ids, None, request)}


class ExplicitView:
    """Intrinsics and mounting as matrices; identities for clips that are uncalibrated or do not keep them."""

    name: ClassVar[str] = "explicit_view"
    dropped_with_all: ClassVar[bool] = False
    fields: ClassVar[Mapping[str, int]] = {"intrinsics_norm": -1, "ego0_from_camera": -1}

    def is_used(self, options: ConditionOptions) -> bool:
        return options.explicit_view_modeling

    def is_drawn(self, options: ConditionOptions) -> bool:
        return options.explicit_view_modeling

    def encode(self, request: Request) -> Fields:
        matrices = view_matrices(request.batch, request.keep.get(self.name))
        encoded = (doubled(request.at_latents(value), None, request) for value in matrices)
        return dict(zip(self.fields, encoded, strict=True))


def camera_ids(batch: ClipBatch, options: ConditionOptions) -> Float[Tensor, "b t v i"]:
    """Frame rate, intrinsics relative to the picture's size, view direction and position of each picture."""
    numbers = _entries(batch.intrinsics.flatten(-2), options.camera_intrinsic_embedding_indices)
    sizes = _entries(batch.image_size, options.camera_intrinsic_denom_embedding_indices)
    position = _entries(batch.ego_from_camera.flatten(-2), options.camera_transform_embedding_indices)
    fps = batch.fps[:, None, None, None].expand(*batch.shape, 1)
    return torch.cat([fps, numbers / sizes, position], -1).float()


def view_matrices(
    batch: ClipBatch, keep: Bool[Tensor, "b"] | None = None
) -> tuple[Float[Tensor, "b t v 3 3"], Float[Tensor, "b t v 4 4"]]:
    """Intrinsics relative to the picture's size, and each camera in the ego frame of the first frame and first view.

    Identities for clips that are uncalibrated or not `kept`.
    """
    poses = batch.world_from_ego
    # In this order: a network turns these metres into angles 400 times as large, and published ones learned its rounding.
    ego0_from_camera = solved(*torch.linalg.inv_ex(poses[:, :1, :1])) @ (poses @ batch.ego_from_camera)
    intrinsics = batch.intrinsics.clone()
    for row in (0, 1):
        for column in (row, 2):
            intrinsics[..., row, column] /= batch.image_size[..., row]
    unknown = torch.zeros(len(poses), dtype=torch.bool, device=poses.device)
    if batch.is_uncalibrated is not None:
        unknown = unknown | batch.is_uncalibrated
    if keep is not None:
        unknown = unknown | ~send(keep, unknown.device)
    unknown = unknown[:, None, None, None, None]
    eye = torch.eye(4, device=poses.device)
    return torch.where(unknown, eye[:3, :3], intrinsics), torch.where(unknown, eye, ego0_from_camera)


def _entries(numbers: Num[Tensor, "*n k"], indices: Sequence[int]) -> Num[Tensor, "*n i"]:
    """Some entries of the last axis, one by one: a list of indices would be copied to the device, which waits."""
    return torch.stack([numbers[..., index] for index in indices], -1)


def solved(result: Tensor, fault: Int[Tensor, "..."]) -> Tensor:
    """The result of `linalg.*_ex`, which does not wait to see whether there is one; a processor has it at once."""
    if fault.device.type == "cpu" and bool(fault.any()):
        raise DwmError("a pose of the car (ego_transforms) has no inverse: it is not a rotation and a place")
    return result
