"""OpenDWM's generation examples: a config with inputs (cameras and words) → one picture or video each, and their times."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from dwm.base_models import BaseModel
from dwm.clip import NUSCENES_VIEWS, Clip, Rig, ring_mask
from dwm.devices import pick_device, synchronize
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline, WeightsCard
from dwm.networks import UNetOptions
from dwm.opendwm.config import is_upstream, translate
from dwm.opendwm.fetch import require
from dwm.opendwm.runs import recipe_of
from dwm.opendwm.weights import load_published
from dwm.options import Options
from dwm.recipes import Recipe, from_values, read_json, save
from dwm.recipes.files import validated
from dwm.recipes.plain import plain_clip
from dwm.report import Video
from dwm.storage import atomic_write

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


class ExampleRun(Options):
    """An example: a network and what it generates."""

    verb: Literal["example"] = Field("example", description="what this file runs")
    run: Recipe = Field(..., description="network, weights, conditions and sampling")
    inputs: tuple[ExampleInput, ...] = Field(..., min_length=1, description="what is generated, one after another")


@dataclass(frozen=True)
class Timed:
    """One input's runs."""

    number: int
    video: Video
    seconds: tuple[float, ...]


def read_example(path: str | Path) -> ExampleRun:
    """An example of OpenDWM's or ours. Raises DwmError where the file holds no inputs."""
    values = read_json(path)
    if not is_upstream(values):
        if not isinstance(values, dict) or "inputs" not in values:
            raise DwmError(f"{path}: holds no inputs; examples with a data set are run by preview.py")
        run = from_values(values.get("run", {}), f"{path}: run")
        return validated(ExampleRun, {**values, "run": run.model_dump(mode="json")}, str(path))
    translation = translate(values, str(path))
    if not translation.inputs:
        raise DwmError(f"{path}: holds no inputs; examples with a data set are run by preview.py")
    run = recipe_of(translation.values, str(path))
    inputs = [input_values(item, f"{path}: inputs.{place}", run) for place, item in enumerate(translation.inputs)]
    return validated(ExampleRun, {"run": run.model_dump(mode="json"), "inputs": inputs}, str(path))


def input_values(given: Any, where: str, run: Recipe) -> dict[str, Any]:
    """One of OpenDWM's `inputs` in our terms. A rig that changes over time is not known here."""
    try:
        batch, shape = given["batch"], given["latent_shape"]
        _, frames, views, _, rows, columns = shape
        words = batch["clip_text"][0]
        matrices = [
            np.asarray(batch[key], float)[0] for key in ("camera_intrinsics", "camera_transforms", "image_size")
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DwmError(f"{where}: not an input as OpenDWM writes them ({type(error).__name__}: {error})") from None
    if any(not np.allclose(matrix, matrix[:1]) for matrix in matrices):
        raise DwmError(f"{where}.batch: cameras that change from frame to frame are not known here")
    intrinsics, poses, sizes = (matrix[0] for matrix in matrices)
    if {len(intrinsics), len(poses), len(sizes)} != {views}:
        raise DwmError(f"{where}: latent_shape has {views} views, the cameras are {len(intrinsics)}")
    names = _names(batch.get("crossview_mask"), views, where)
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
    }


def _names(mask: Any, views: int, where: str) -> tuple[str, ...]:
    """nuScenes' names where the mask is its ring of cameras; without names a mask must let every view see every other."""
    found = None if mask is None else np.asarray(mask, bool)[0]
    if views == len(NUSCENES_VIEWS) and found is not None and np.array_equal(found, ring_mask(views)):
        return NUSCENES_VIEWS
    if found is not None and not found.all():
        raise DwmError(f"{where}.batch.crossview_mask: only the ring of six views is known here")
    return tuple(f"view_{view}" for view in range(views))


def pipeline(run: Recipe, source: str) -> DrivingPipeline:
    """The network of a run with its published weights. Raises DwmError naming what to fetch, from where, to which place."""
    base_folder = require(Path(run.base_model or ""), "base model", source)
    weights = require(Path(run.weights or ""), "weights", source)
    network, report = load_published(run.network, weights, getattr(torch, run.weights_dtype))
    base = BaseModel.load(
        base_folder,
        autoencoder_folder=run.autoencoder_folder,
        text_dtype=getattr(torch, run.text_dtype),
        piece=run.autoencoder_piece,
    )
    flow = not isinstance(run.network, UNetOptions)
    card = WeightsCard(
        name=f"{weights.name} ({report})",
        lengths=(run.preview.window,) if run.preview.window else (),
        conditions=run.conditions,
        sampling=run.sampling,
        prediction="flow" if flow else base.scheduler.get("prediction_type", "epsilon"),
        compatibility=run.compatibility,
    )
    return DrivingPipeline(network.eval().requires_grad_(False), base, card)


def clip_of(given: ExampleInput) -> tuple[Clip, list[list[str]]]:
    """The cameras of an input as a clip, and its words for each frame and view."""
    fps = given.fps or 1.0
    if given.cameras:
        names = tuple(camera.name for camera in given.cameras)
        plain = plain_clip(("CAM_FRONT",), given.frames, fps)
        rig = Rig(
            names,
            np.array([camera.intrinsics for camera in given.cameras]),
            np.array([camera.ego_from_camera for camera in given.cameras]),
            np.array([camera.image_size for camera in given.cameras]),
        )
        views = len(names)
        times, poses = np.repeat(plain.times, views, 1), np.repeat(plain.world_from_ego, views, 1)
        clip = Clip(scene="", fps=given.fps, rig=rig, times=times, world_from_ego=poses)
    else:
        clip = plain_clip(NUSCENES_VIEWS, given.frames, fps)
    rows = [given.prompts] if isinstance(given.prompts[0], str) else given.prompts
    if len(rows) not in (1, given.frames):
        raise DwmError(f"prompts: {len(rows)} rows for {given.frames} frames; give one row, or one for each frame")
    return clip, [list(rows[min(frame, len(rows) - 1)]) for frame in range(given.frames)]


def run_example(
    example: ExampleRun,
    output: Path,
    repeat: int = 1,
    tiny: bool = False,
    source: str = "config",
    say: Callable[[str], None] = print,
) -> list[Timed]:
    """Generates every input into `output`/{i}.png or .mp4, and writes `inference_stats.json`. `tiny`: the built-in weights."""
    device = pick_device("auto" if tiny else example.run.device)
    pipe = (DrivingPipeline.from_pretrained("town") if tiny else pipeline(example.run, source)).to(device)
    if repeat > 1:
        _once(pipe, example.inputs[0], tiny, device, 0)
    results = []
    for number, given in enumerate(example.inputs):
        runs = [_once(pipe, given, tiny, device, example.run.training.seed) for _ in range(repeat)]
        seconds = tuple(spent for _, spent in runs)
        video = runs[0][0]
        for count, spent in enumerate(seconds, 1):
            say(f"Sample {number} - Run {count}/{repeat}: {spent:.4f} seconds | Shape: {tuple(video.frames.shape)}")
        video.save(output / f"{number}.{'png' if video.length == 1 else 'mp4'}")
        results.append(Timed(number, video, seconds))
    save(example, output)
    _write_statistics(example, results, output)
    return results


def _once(
    pipe: DrivingPipeline, given: ExampleInput, tiny: bool, device: torch.device, seed: int
) -> tuple[Video, float]:
    clip, words = clip_of(given)
    started = time.perf_counter()
    video = pipe(clip, prompt=words, seed=seed, size=None if tiny else given.size, force=True)
    synchronize(device)
    return video, time.perf_counter() - started


def _write_statistics(example: ExampleRun, results: Sequence[Timed], output: Path) -> None:
    every = [spent for result in results for spent in result.seconds]
    told = {
        "total_samples": len(results),
        "total_runs": len(every),
        "total_time": sum(every),
        **_summary(every, "avg_time", "std_time"),
        "samples": [
            {
                "id": result.number,
                "times": result.seconds,
                **_summary(result.seconds, "mean_time", "std_time"),
                "shape": list(result.video.frames.shape),
                "fps": given.fps or None,
            }
            for result, given in zip(results, example.inputs, strict=True)
        ],
    }
    with atomic_write(output / "inference_stats.json") as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _summary(times: Sequence[float], mean: str, deviation: str) -> dict[str, float]:
    return {
        mean: statistics.fmean(times),
        deviation: statistics.pstdev(times),
        "min_time": min(times),
        "max_time": max(times),
    }
