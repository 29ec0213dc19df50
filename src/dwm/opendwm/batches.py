"""Batches in OpenDWM's terms (named tensors, nested prompts) → `ClipBatch`. Translates names; computes nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dwm.clip import ClipBatch
from dwm.conditions import ConditionOptions
from dwm.strict_json import parse_json

CONDITION_KEYS = frozenset(ConditionOptions.model_fields) - {"text", "boxes", "map"}


def clip_batch(tensors: Mapping[str, Tensor], prompts: Sequence | None) -> ClipBatch:
    """A batch under OpenDWM's names. Poses are the last ones of the sensor axis: the cameras', a LiDAR stands first.

    `prompts` is one per clip or nested by clip, frame and view. What the batch lacks becomes an identity that nothing reads.
    """
    pts = tensors["pts"]
    b, t = pts.shape[:2]
    v = next((tensors[key].shape[2] for key in VIEW_KEYS if key in tensors), pts.shape[2])
    eye = torch.eye(4).expand(b, t, v, 4, 4)
    return ClipBatch(
        fps=tensors["fps"].float(),
        times=pts[:, :, -v:].float(),
        intrinsics=tensors.get("camera_intrinsics", eye[..., :3, :3]),
        ego_from_camera=tensors.get("camera_transforms", eye),
        world_from_ego=tensors["ego_transforms"][:, :, -v:] if "ego_transforms" in tensors else eye,
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
    """The batch of a recorded case; pictures stored as bytes become floats in [0, 1]."""
    tensors = load_file(folder / "inputs.safetensors")
    for name in case["uint8_inputs"]:
        tensors[name] = tensors[name].float() / 255
    return clip_batch(
        tensors, parse_json((folder / "inputs.json").read_bytes(), str(folder / "inputs.json")).get("clip_text")
    )


def condition_options(common_config: Mapping[str, Any], layout: bool) -> ConditionOptions:
    """The conditions that a `common_config` switches on; `layout` where the network has an adapter for both pictures."""
    told = {key: value for key, value in common_config.items() if key in CONDITION_KEYS}
    # OpenDWM's default; a config that says nothing has a layout for the first frame alone.
    told.setdefault("condition_on_all_frames", False)
    return ConditionOptions(boxes=layout, map=layout, **told)
