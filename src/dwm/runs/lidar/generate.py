"""Generates the sweeps of held-out clips: points as nuScenes stores them, a picture from above beside each clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm import progress
from dwm.clip_batch import ClipBatch
from dwm.config.files import CONFIG_NAME, check_own, save
from dwm.config.lidar import LidarRecipe
from dwm.data.points import moved
from dwm.data.sweep_package import PackageSweeps
from dwm.data.sweep_places import save_points
from dwm.data.sweeps import SweepReader
from dwm.devices import pick_device
from dwm.errors import DwmError
from dwm.generation.sweep_rays import RayPipeline
from dwm.generation.sweeps import GeneratedSweeps, SweepPipeline
from dwm.networks.lidar.options import RayCodecOptions
from dwm.report.sweeps import save_picture, sheet
from dwm.runs.lidar.parts import held_out_sweeps, pipeline_of, start_autoencoder, start_generator
from dwm.runs.precision import chosen_dtype
from dwm.runs.sensors import save_rows, sweep_row
from dwm.storage import check_folder
from dwm.training.loop.step import step_generator

LIST_NAME = "sweeps.json"
FILES = (CONFIG_NAME, LIST_NAME)


@dataclass(frozen=True)
class MadeClip:
    """A held-out clip, its true cells by frame, and what was generated for it."""

    number: int
    batch: ClipBatch
    truth: list[Tensor]
    made: GeneratedSweeps


def generate_lidar(run: LidarRecipe, output: Path, clips: int = 1) -> list[Path]:
    """Writes `clips` held-out clips, spread over the sets, into `output`; returns the files.

    Each clip is a folder of `.bin` files (x, y, z, 0, 0 as float32, in the LiDAR's frame, metres) and a PNG; `sweeps.json` says
    scene, times and poses of each file.
    """
    check_folder(output, FILES)
    check_own(output)
    pipe, files, rows = loaded(run), [], []
    for clip in made_clips(run, pipe, clips, run.scores.seed):
        written = _written(clip, output)
        rows += written
        files += [output / row["file"] for row in written]
        assert clip.batch.lidar is not None
        picture = sheet(clip.batch.lidar, 0, clip.truth, clip.made.cells[0], clip.made.ranges)
        files.append(save_picture(picture, output / f"{clip.number:04d}.png"))
    files.append(save_rows(output / LIST_NAME, rows))
    files.append(save(run, output))
    return files


def loaded(run: LidarRecipe) -> SweepPipeline | RayPipeline:
    """The run's pipeline with its weights. Raises DwmError where it names none."""
    check_weights(run)
    device = pick_device(run.device)
    autoencoder = start_autoencoder(run).eval().requires_grad_(False).to(device)
    network = None
    if run.generator is not None:
        network = start_generator(run).eval().requires_grad_(False).to(device)
    return pipeline_of(run, autoencoder, network, device, chosen_dtype(run.autocast, device))


def check_weights(run: LidarRecipe) -> None:
    """Raises DwmError where a network would make sweeps with weights of chance."""
    missing = []
    if run.autoencoder_weights is None and not isinstance(run.autoencoder, RayCodecOptions):
        missing.append("autoencoder_weights")
    if run.generator is not None and run.weights is None:
        missing.append("weights")
    if missing:
        raise DwmError(
            f"{run.name or 'config'}: names no {' and no '.join(missing)}; train the run first (dwm train -c), and give its "
            "folder: --weights FOLDER/weights"
        )


def made_clips(run: LidarRecipe, pipe: SweepPipeline | RayPipeline, count: int, seed: int) -> Iterator[MadeClip]:
    """Clips spread over the held-out sets, each with noise of its own."""
    places = [(reader, index) for reader in held_out_sweeps(run) for index in range(len(reader))]
    count = min(count, len(places))
    chosen = [places[number * len(places) // count] for number in range(count)]
    for number, (reader, index) in enumerate(progress.track(chosen, "sweeps", unit="clips")):
        yield _made(number, reader, index, pipe, seed)


def _made(
    number: int, reader: SweepReader | PackageSweeps, index: int, pipe: SweepPipeline | RayPipeline, seed: int
) -> MadeClip:
    batch = reader.read(index, generator=step_generator(seed + 1, number))
    assert batch.lidar is not None
    cells = list(pipe.grid.stack(batch.lidar.points)[0])
    return MadeClip(number, batch, cells, pipe(batch, step_generator(seed, number)))


def _written(clip: MadeClip, output: Path) -> list[dict[str, Any]]:
    sweeps, rows = clip.batch.lidar, []
    assert sweeps is not None
    for frame, points in enumerate(clip.made.points[0]):
        ego_from_lidar = sweeps.ego_from_lidar[0, frame]
        in_lidar = moved(points[:, :3].float().cpu(), torch.linalg.inv(ego_from_lidar))
        rest = points[:, 3:].float().cpu().numpy() if points.shape[1] > 3 else np.zeros((len(points), 2))
        path = output / f"{clip.number:04d}" / f"{frame:04d}.bin"
        save_points(path, np.column_stack([in_lidar.numpy(), rest]))
        place, milliseconds = path.relative_to(output), float(sweeps.times[0, frame])
        poses = ego_from_lidar.numpy(), sweeps.world_from_ego[0, frame].numpy()
        rows.append(sweep_row(place, clip.batch.scenes[0], frame, milliseconds, len(points), *poses))
    return rows
