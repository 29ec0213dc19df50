"""Batches in OpenDWM's terms (named tensors, nested prompts) → `ClipBatch`. Translates names; computes nothing else."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.conditions import ConditionOptions
from dwm.errors import DwmError
from dwm.opendwm.parity.cases import read_tensors, read_words

CONDITION_KEYS = frozenset(ConditionOptions.model_fields) - {"text", "boxes", "map"}
ADDED_IDS = ("fps_camera_transforms", "fps_camera_transforms_action")


def clip_batch(
    tensors: Mapping[str, Tensor], prompts: Sequence | None, sensors: Sequence[int] | None = None
) -> ClipBatch:
    """A batch under OpenDWM's names. Poses are those of `sensors`, or the last ones: the cameras', a LiDAR stands first.

    `prompts` is one per clip or nested by clip, frame and view. What the batch lacks becomes an identity that nothing reads.
    """
    pts = tensors["pts"]
    b, t = pts.shape[:2]
    v = next((tensors[key].shape[2] for key in VIEW_KEYS if key in tensors), pts.shape[2])
    eye = torch.eye(4).expand(b, t, v, 4, 4)
    poses = slice(-v, None) if sensors is None else list(sensors)
    return ClipBatch(
        fps=tensors["fps"].float(),
        times=pts[:, :, -v:].float(),
        intrinsics=tensors.get("camera_intrinsics", eye[..., :3, :3]),
        ego_from_camera=tensors.get("camera_transforms", eye),
        world_from_ego=tensors["ego_transforms"][:, :, poses] if "ego_transforms" in tensors else eye,
        image_size=tensors.get("image_size", torch.ones(b, t, v, 2)),
        frames=tensors.get("vae_images"),
        layout_boxes=tensors.get("3dbox_images"),
        layout_map=tensors.get("hdmap_images"),
        captions=None if prompts is None else nested_prompts(prompts, t, v),
        crossview_mask=tensors.get("crossview_mask"),
        is_uncalibrated=tensors.get("is_uncalibrated"),
    )


VIEW_KEYS = ("vae_images", "3dbox_images", "hdmap_images", "camera_intrinsics")


def nested_prompts(prompts: Sequence, frames: int, views: int) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Prompts by clip, frame and view, from the same or from one per clip."""
    return tuple(
        ((clip,) * views,) * frames if isinstance(clip, str) else tuple(tuple(frame) for frame in clip)
        for clip in prompts
    )


def read_case_batch(folder: Path, case: Mapping[str, Any]) -> ClipBatch:
    """The batch of a recorded generation; pictures stored as bytes become floats in [0, 1]."""
    words = read_words(folder)
    common = case["config"]["pipeline"]["common_config"]
    return case_batch(read_tensors(folder / "inputs.safetensors"), words, case.get("uint8_inputs", ()), common)


def case_batch(
    tensors: Mapping[str, Tensor], words: Mapping[str, Any], of_bytes: Sequence[str], common_config: Mapping[str, Any]
) -> ClipBatch:
    """A batch under a `common_config`; the tensors named in `of_bytes` are pictures of bytes and become floats in [0, 1]."""
    floats = {name: tensors[name].float() / 255 for name in of_bytes if name in tensors}
    return clip_batch({**tensors, **floats}, words.get("clip_text"), _sensors(tensors, common_config))


def condition_options(common_config: Mapping[str, Any], inputs: Container[str]) -> ConditionOptions:
    """The conditions that a `common_config` switches on for a batch that has the tensors `given`."""
    values = {key: value for key, value in common_config.items() if key in CONDITION_KEYS}
    if values.get("added_time_ids") not in ADDED_IDS:
        # OpenDWM takes any other word for "none".
        values.pop("added_time_ids", None)
    # OpenDWM's default; a config that says nothing has a layout for the first frame alone.
    values.setdefault("condition_on_all_frames", False)
    return ConditionOptions(boxes="3dbox_images" in inputs, map="hdmap_images" in inputs, **values)


def _sensors(tensors: Mapping[str, Tensor], common_config: Mapping[str, Any]) -> Sequence[int] | None:
    """The places of the sensors whose motion is told, which OpenDWM goes by; rays are always those of the last ones."""
    sensors = common_config.get("camera_ego_sensor_indices")
    if sensors is None or not str(common_config.get("added_time_ids")).endswith("_action"):
        return None
    count = tensors["ego_transforms"].shape[2] if "ego_transforms" in tensors else 0
    if common_config.get("explicit_view_modeling") and list(sensors) != list(range(count))[-len(sensors) :]:
        raise DwmError(
            "common_config.camera_ego_sensor_indices: a driving action of other sensors than those of the explicit views "
            "cannot be computed"
        )
    return sensors
