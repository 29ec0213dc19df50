"""Example runs: a network, and inputs (cameras and words) that it makes pictures or videos of. Reads configs, generates nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import Field, model_validator

from dwm.clip import Clip, Rig, ring_mask
from dwm.config import Recipe, from_values
from dwm.config.files import validated
from dwm.conventions import NUSCENES_VIEWS
from dwm.errors import DwmError
from dwm.options import Options
from dwm.runs.blank_clip import plain_clip

Matrix = tuple[tuple[float, ...], ...]


class CameraOptions(Options):
    """One camera of an example."""

    name: str = Field(..., description="what it is called")
    intrinsics: Matrix = Field(..., description="3×3, in pixels of the original picture")
    ego_from_camera: Matrix = Field(..., description="4×4, metres")
    image_size: tuple[int, int] = Field(..., description="width and height of the original picture in pixels")


class ExampleInput(Options):
    """One thing to generate."""

    frames: int = Field(1, ge=1, le=4096, description="frames; 1: pictures")
    fps: float = Field(10.0, ge=0, description="frames a second that the network is told; 0: single pictures")
    size: tuple[int, int] = Field((448, 256), description="width and height of a picture in pixels")
    prompts: tuple[str, ...] | tuple[tuple[str, ...], ...] = Field(
        ..., description="words: one for each view, or a list of such for each frame"
    )
    cameras: tuple[CameraOptions, ...] = Field((), description="the rig; none: six cameras like those of nuScenes")
    crossview_mask: tuple[tuple[bool, ...], ...] | None = Field(
        None, description="which views see each other; none: as the cameras stand and look"
    )

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The words of each frame: one row for all, or one for each."""
        return (self.prompts,) if isinstance(self.prompts[0], str) else self.prompts

    @model_validator(mode="after")
    def _words_fit(self) -> ExampleInput:
        views = len(self.cameras) or len(NUSCENES_VIEWS)
        if not self.prompts or len(self.rows) not in (1, self.frames):
            raise ValueError(
                f"prompts has {len(self.prompts)} rows for {self.frames} frames; give one, or one for each frame"
            )
        for frame, row in enumerate(self.rows):
            if len(row) != views:
                raise ValueError(
                    f"prompts of frame {frame} are {len(row)} texts for {views} views; give one for each view"
                )
        if (mask := self.crossview_mask) is not None and [len(row) for row in mask] != [views] * views:
            raise ValueError(f"crossview_mask is not {views}×{views}, one row and column for each view")
        return self


class ExampleRun(Options):
    """An example: a network and what it generates."""

    verb: Literal["example"] = Field("example", description="what this file runs")
    run: Recipe = Field(..., description="network, weights, conditions and sampling")
    inputs: tuple[ExampleInput, ...] = Field(..., min_length=1, description="what is generated, one after another")


def own_example(values: dict[str, Any], source: str) -> ExampleRun:
    """An example in our terms; its `run` may name a recipe and say what differs."""
    run = from_values(values.get("run", {}), f"{source}: run")
    return validated(ExampleRun, {**values, "run": run.model_dump(mode="json")}, source)


def translated_example(run: Recipe, inputs: Sequence[Any], source: str) -> ExampleRun:
    """An example of OpenDWM's: its translated run, and its `inputs` as they stood in the file."""
    translated = [input_values(item, f"{source}: inputs.{index}") for index, item in enumerate(inputs)]
    return validated(ExampleRun, {"run": run.model_dump(mode="json"), "inputs": translated}, source)


def input_values(item: Any, where: str) -> dict[str, Any]:
    """One of OpenDWM's `inputs` in our terms. A rig that changes over time is not known here."""
    try:
        batch, shape = item["batch"], item["latent_shape"]
        clips, frames, views, _, rows, columns = shape
        words = batch["clip_text"][0]
        matrices = [
            np.asarray(batch[key], float)[0] for key in ("camera_intrinsics", "camera_transforms", "image_size")
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DwmError(f"{where}: not an input as OpenDWM writes them ({type(error).__name__}: {error})") from None
    if clips != 1:
        raise DwmError(f"{where}.latent_shape: {clips} clips in one input; give each an input of its own")
    if any(not np.allclose(matrix, matrix[:1]) for matrix in matrices):
        raise DwmError(f"{where}.batch: cameras that change from frame to frame are not known here")
    intrinsics, poses, sizes = (matrix[0] for matrix in matrices)
    if {len(intrinsics), len(poses), len(sizes)} != {views}:
        raise DwmError(f"{where}: latent_shape has {views} views, the cameras are {len(intrinsics)}")
    mask = _mask(batch.get("crossview_mask"), views, where)
    ring = views == len(NUSCENES_VIEWS) and np.array_equal(mask, ring_mask(views))
    names = NUSCENES_VIEWS if ring else tuple(f"view_{view}" for view in range(views))
    cameras = [
        {
            "name": name,
            "intrinsics": k.tolist(),
            "ego_from_camera": pose.tolist(),
            "image_size": size.astype(int).tolist(),
        }
        for name, k, pose, size in zip(names, intrinsics, poses, sizes, strict=True)
    ]
    return {
        "frames": frames,
        "fps": float(batch["fps"][0]),
        "size": [columns * 8, rows * 8],
        "prompts": [list(row) for row in words],
        "cameras": cameras,
        "crossview_mask": mask.tolist(),
    }


def _mask(mask: Any, views: int, where: str) -> Bool[np.ndarray, "v v"]:
    """Which views see each other; without a mask all do."""
    if mask is None:
        return np.ones((views, views), bool)
    first = np.asarray(mask, bool)[0]
    if first.shape != (views, views):
        raise DwmError(f"{where}.batch.crossview_mask: is of shape {first.shape} for {views} views")
    return first


def clip_of(item: ExampleInput) -> tuple[Clip, list[list[str]]]:
    """The cameras of an input as a clip, and its words for each frame and view."""
    fps = item.fps or 1.0
    if item.cameras:
        names = tuple(camera.name for camera in item.cameras)
        plain = plain_clip(("CAM_FRONT",), item.frames, fps)
        rig = Rig(
            names,
            np.array([camera.intrinsics for camera in item.cameras]),
            np.array([camera.ego_from_camera for camera in item.cameras]),
            np.array([camera.image_size for camera in item.cameras]),
        )
        views = len(names)
        times, poses = np.repeat(plain.times, views, 1), np.repeat(plain.world_from_ego, views, 1)
        clip = Clip(scene="", fps=item.fps, rig=rig, times=times, world_from_ego=poses)
    else:
        clip = replace(plain_clip(NUSCENES_VIEWS, item.frames, fps), fps=item.fps)
    if item.crossview_mask is not None:
        clip = replace(clip, crossview_mask=np.array(item.crossview_mask))
    return clip, [list(item.rows[min(frame, len(item.rows) - 1)]) for frame in range(item.frames)]
