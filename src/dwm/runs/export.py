"""One export, as a run that processes share and that can be interrupted: scenes of a data set, generated anew as a nuScenes set."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from dwm import progress
from dwm.checkpoints import WeightsCard
from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import TOWN_LIDAR, resolve
from dwm.clip import Clip
from dwm.config.files import CONFIG_NAME, check_own, read_json, save, validated
from dwm.data import ReadOptions
from dwm.data.edited_set import ScenePart, check_names, part_of, save_pictures, write_tables_of
from dwm.data.edited_sweeps import SweepFiles, key_sweeps, save_sweeps
from dwm.data.edits import Edits
from dwm.data.tables.dataset import TableDataset
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.options import Names, Options
from dwm.report import Video
from dwm.runs.clips import opened_path
from dwm.runs.edits import edited
from dwm.runs.generate import CAMERAS, LIDAR, Sensor, loaded, stepping, sweep_pipeline
from dwm.runs.precision import DtypeChoice
from dwm.runs.steps import with_sampling
from dwm.screen import say
from dwm.storage import atomic_folder, atomic_write, check_folder, held, plain_name
from dwm.training.parallel.ranks import current_ranks, group

DONE = "scenes"
"""Folder of a line for each scene whose pictures are there."""
MAY_DIFFER = ("part", "device")
"""What need not be the same where an export goes on."""


class ExportRun(Options):
    """What `dwm export` does. A field that is null takes what the weights were trained with."""

    verb: Literal["export"] = Field("export", description="what this file runs")
    layout: Literal["nuscenes", "worldlens"] = Field("nuscenes", description="what is written: a data set, or films")
    weights: str = Field("town", description="folder of weights, or town for the built-in ones")
    base_model: str | None = Field(None, description="folder of the base model where it does not lie with the weights")
    data: str = Field(..., description="data set whose scenes are generated anew")
    version: str | None = Field(None, description="version of the data set; null: the one that is there")
    split: str | None = Field(None, description="scenes: val, train, mini_val, a file of names, …; null: all")
    scenes: tuple[str, ...] = Field((), max_length=100_000, description="names of scenes; none: those of the split")
    seconds: float | None = Field(None, ge=0, le=1e5, description="of each scene from its start; null: all of it")
    fps: float | None = Field(None, ge=0.1, le=1000, description="frames a second; null: key frames alone")
    views: Names | None = Field(None, description="cameras")
    size: tuple[int, int] | None = Field(None, description="width and height of a picture in pixels")
    edits: Edits = Field(Edits(), description="what is different from the data")
    lidar: bool = Field(False, description="whether the sweeps of the scenes are copied")
    sensors: tuple[Sensor, ...] = Field(
        (CAMERAS,), min_length=1, max_length=2, description="lidar: a sweep is generated for each key frame"
    )
    lidar_weights: str = Field(
        TOWN_LIDAR, description="folder of a LiDAR run's weights, or town_lidar for the built-in ones"
    )
    frames: int = Field(16, ge=1, le=4096, description="frames of a film (worldlens)")
    generations: int = Field(4, ge=1, le=1000, description="films of each scene (worldlens)")
    fast: bool = Field(False, description="the network for few steps, without guidance; the weights must have one")
    steps: int | None = Field(None, ge=1, le=10_000, description="sampling steps")
    guidance: float | None = Field(None, ge=0, description="how closely to follow the conditions")
    seed: int = Field(0, ge=0, lt=2**62, description="of the first scene's noise; each further one has the next")
    part: tuple[int, int] = Field((1, 1), description="I of N: of every N scenes the I-th, for one job of an array")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or npu")
    dtype: DtypeChoice = Field("auto", description="what weights are held and computed in; auto: what is fastest there")
    force: bool = Field(False, description="try sizes, lengths and views that the weights never saw")


@dataclass(frozen=True)
class Exported:
    """What this process made, and what there is now. boxes: None while other processes have scenes to make."""

    run: ExportRun
    made: tuple[str, ...]
    scenes: int
    boxes: int | None
    folder: Path
    seconds: float


def export_nuscenes(run: ExportRun, output: Path) -> Exported:
    """Generates the scenes that are not there yet and, when all are, writes the set's tables around them."""
    started = time.monotonic()
    run, dataset = begun(run, output)
    version = plain_name(dataset.version if dataset.version.startswith("v1.0-") else "v1.0-trainval", "the version")
    parts = chosen_parts(run, dataset)
    boxes = None
    with group(run.device) as device:
        claim(run, output)
        made = tuple(generated(run.with_(device=str(device)), parts, output))
        current_ranks().barrier()
        if current_ranks().first and all(mark(output, part).exists() for part in parts):
            boxes = joined(run, dataset, parts, output, version)
    return Exported(run, made, len(parts), boxes, output, time.monotonic() - started)


def begun(run: ExportRun, output: Path) -> tuple[ExportRun, TableDataset]:
    """The run with what its weights say, and its data set. Raises DwmError for all that can be seen to be wrong before the work."""
    check_folder(output)
    check_own(output)
    card = read_card(resolve(run.weights))
    run = completed(run, card)
    check(run, card)
    dataset = opened_set(run)
    check_names(dataset, run.edits)
    return run, dataset


def completed(run: ExportRun, card: WeightsCard) -> ExportRun:
    return with_sampling(run, card).with_(
        views=run.views or card.views, size=run.size or (card.sizes[0] if card.sizes else None)
    )


def check(run: ExportRun, card: WeightsCard) -> None:
    """Raises DwmError for what cannot be, before anything is read or made."""
    number, count = run.part
    if not 1 <= number <= count <= 100_000:
        raise DwmError(f"--part {number}/{count}: expected I/N with I from 1 to N")
    if run.lidar and run.edits.scenery:
        raise DwmError(f"--lidar: sweeps know nothing of the edits ({', '.join(run.edits.scenery)}); leave one out")
    if CAMERAS not in run.sensors or (LIDAR in run.sensors and run.layout != "nuscenes"):
        raise DwmError(
            "--sensors: an export has pictures (cameras), of a nuScenes set sweeps beside them (cameras,lidar)"
        )
    if LIDAR in run.sensors and run.lidar:
        raise DwmError("--lidar copies sweeps, --sensors cameras,lidar generates them; leave one out")
    if run.edits.words and not card.conditions.text:
        raise DwmError(f"{run.weights} are told no words; leave out {', '.join(run.edits.words)}")
    if run.size is None:
        raise DwmError("--size: the weights name no size; give WIDTHxHEIGHT")
    if run.size[0] % 16 or run.size[1] % 16:
        raise DwmError(f"--size {run.size[0]}x{run.size[1]} is not a multiple of 16")


def opened_set(run: ExportRun) -> TableDataset:
    """The data set. Raises DwmError where it has no tables to be written again."""
    options = ReadOptions(views=run.views or (), missing_captions="empty")
    dataset = opened_path(run.data, run.version, run.split, options)
    if not isinstance(dataset, TableDataset):
        raise DwmError(f"{run.data}: has no tables that could be written again; write it as a set first (dwm town)")
    return dataset


def chosen_parts(run: ExportRun, dataset: TableDataset) -> list[ScenePart]:
    scenes = [dataset[name] for name in run.scenes] or list(dataset.scenes)
    return [part_of(scene, run.views or scene.views, run.seconds, run.fps) for scene in scenes]


def claim(run: ExportRun, output: Path) -> None:
    """Says in the folder which export it holds. Raises DwmError where it holds another, naming what differs."""
    path = output / CONFIG_NAME
    if path.exists():
        before = validated(ExportRun, read_json(path), str(path))
        old, new = (one.model_dump(mode="json", exclude=set(MAY_DIFFER)) for one in (before, run))
        if unlike := [f"{key}: {old[key]} → {new[key]}" for key in old if old[key] != new[key]]:
            raise DwmError(f"{output}: holds another export ({'; '.join(unlike)[:300]}); choose another --output")
        return
    if current_ranks().first:
        save(run, output)


def mark(output: Path, part: ScenePart) -> Path:
    return output / DONE / f"{plain_name(part.name, 'a scene')}.json"


def share(run: ExportRun, count: int) -> range:
    """The numbers of the scenes that this process makes: of the job's part, each process of torchrun its own."""
    ranks, (number, jobs) = current_ranks(), run.part
    return range((number - 1) * ranks.count + ranks.rank, count, jobs * ranks.count)


def generated(run: ExportRun, parts: Sequence[ScenePart], output: Path) -> Iterator[str]:
    """Makes the pictures of this process's scenes that are not there yet; yields their names."""
    open_numbers = [number for number in share(run, len(parts)) if not mark(output, parts[number]).exists()]
    pipe = loaded(run) if open_numbers else None
    lidar = sweep_pipeline(run) if open_numbers and LIDAR in run.sensors else None
    for number in open_numbers:
        part = parts[number]
        clip = part.clip()
        clip = edited(clip, run.edits.fitting(clip.instances))
        assert pipe is not None
        pictures = sampled(pipe, run, clip, run.seed + number).pictures()
        files = save_pictures(output, part, pictures)
        sweeps = 0
        if lidar is not None:
            keys = key_sweeps(part, run.edits)
            sweeps = save_sweeps(output, keys, lidar(keys.edited, keys.recorded, run.seed + number))
        line = {
            "scene": part.name,
            "seed": run.seed + number,
            "pictures": files,
            "sweeps": sweeps,
            "dtype": pipe.computes_in,
        }
        with atomic_write(mark(output, part)) as temporary:
            temporary.write_text(json.dumps(line) + "\n", encoding="utf-8")
        if not progress.QUIET:
            say(f"{part.name}: {files} pictures ({number + 1} of {len(parts)})")
        yield part.name


def sampled(pipe: DrivingPipeline, run: ExportRun, clip: Clip, seed: int) -> Video:
    with stepping(f"{clip.scene}", run.steps or 0) as on_step:
        return pipe(
            clip,
            num_inference_steps=run.steps,
            guidance_scale=run.guidance,
            seed=seed,
            size=run.size,
            force=run.force,
            callback_on_step_end=on_step,
        )


def joined(run: ExportRun, dataset: TableDataset, parts: Sequence[ScenePart], output: Path, version: str) -> int | None:
    """Writes the tables when every scene is there; they appear last, and whole."""
    if (output / version).exists():
        return len(read_json(output / version / "sample_annotation.json"))
    try:
        with held(output), atomic_folder(output / ".tables") as folder:
            size = run.size or (1, 1)
            sweeps = SweepFiles.of(parts, run.edits, output) if LIDAR in run.sensors else None
            boxes = write_tables_of(folder, version, dataset, parts, size, run.edits, run.lidar, sweeps)
    except DwmError:
        if (output / version).exists():  # another process was quicker
            return None
        raise
    place(output / ".tables", output, last=version)
    return boxes


def place(folder: Path, output: Path, last: str) -> None:
    """Moves files into the set; the tables behind all others, and all at once."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and last not in path.parts):
        target = output / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    (folder / last).rename(output / last)
    shutil.rmtree(folder)
