"""`write_nuscenes`: scenes of the town as a set in the nuScenes v1.0 format, whole or not at all.

Scenes are drawn by worker processes; the tables, captions and maps that they share are joined here. The same seed gives the
same bytes, whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from dwm.data.nuscenes.interpolate import NAME as TWELVE_HZ
from dwm.data.nuscenes.write import names
from dwm.data.nuscenes.write.archive import files_below, move_into_zip, write_json, write_tables
from dwm.data.nuscenes.write.expansion import write_expansion
from dwm.data.nuscenes.write.mask import write_mask
from dwm.errors import DwmError, nearest
from dwm.options import Options
from dwm.progress import track
from dwm.storage import atomic_folder
from dwm.town.nuscenes.scene import SceneJob, SceneRows, canvas, write_scene
from dwm.town.scene import TownOptions

FORMATS = ("folder", "zips")
MARGIN_S = 0.2
"""Seconds of the town that a scene needs beyond its length: cameras fire before the first key frame."""


class NuScenesOptions(Options):
    """How a set is written; what it shows is the town's `TownOptions`."""

    version: str = Field("v1.0-mini", pattern=r"^v1\.0-[a-z]+$", description="name of the set's table folder")
    seconds: float = Field(
        5.0, ge=0.5, le=20.0, description="length of each scene in seconds; key frames stand every 0.5 s"
    )
    size: tuple[int, int] = Field((448, 256), description="width and height of the pictures in pixels")
    lidar_hz: Literal[10, 20] = Field(20, description="LiDAR sweeps per second")
    quality: int = Field(92, ge=50, le=100, description="JPEG quality")
    twelve_hz: bool = Field(True, description=f"also write the annotated 12 Hz tables, {TWELVE_HZ}")

    @field_validator("size")
    @classmethod
    def _size_is_drawable(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(16 <= edge <= 2048 for edge in size):
            raise ValueError(f"size {size[0]}x{size[1]}: each edge must be 16 to 2048 pixels")
        return size


def write_nuscenes(
    output: str | Path,
    scenes: int,
    seed: int,
    format: Literal["folder", "zips"] = "folder",
    options: NuScenesOptions | None = None,
    town: TownOptions | None = None,
    workers: int | None = None,
) -> Path:
    """Writes `scenes` scenes of the town of `seed` to the new folder `output` and returns it.

    Scenes take names of official ones, so that the official train, val, mini_train and mini_val lists split them: the
    second and the fifth of the first eight, then every fifth, are val. `workers` defaults to the processors at hand.
    Raises DwmError for an output that is not empty, a number of scenes out of range, an unknown format, a full disk.
    """
    output, options, town = Path(output), options or NuScenesOptions(), town or TownOptions()
    if format not in FORMATS:
        raise DwmError(f"format: {format!r} is not one of {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    if not 1 <= scenes <= names.MAX_SCENES:
        raise DwmError(f"scenes: {scenes} is not in 1 to {names.MAX_SCENES}; write several sets with other seeds")
    if options.seconds + MARGIN_S > town.duration:
        raise DwmError(
            f"seconds: {options.seconds:g} does not fit a town of {town.duration:g} s per scene; "
            f"ask for at most {town.duration - MARGIN_S:g}, or for a longer town (town.duration)"
        )
    with atomic_folder(output) as root:
        samples = int(options.seconds * 1e6) // 500_000 + 1
        jobs = [
            SceneJob(root, i, seed, samples, options.size, options.lidar_hz, options.quality, town)
            for i in range(scenes)
        ]
        with _results(jobs, workers or len(os.sched_getaffinity(0))) as results:
            if format == "folder":
                _write_shared(root, list(results), options, scenes)
            else:
                _write_zips(root, results, options, scenes)
    return output


@contextmanager
def _results(jobs: Sequence[SceneJob], workers: int) -> Iterator[Iterable[SceneRows]]:
    """The scenes' rows in order, from as many processes as asked for; they end when the block does, however it ends."""
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield track(map(write_scene, jobs), "town", total=len(jobs), unit="scenes")
        return
    # Spawned, not forked: this process may hold threads (torch) and a renderer, neither of which survives a fork.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_the_parent)
    try:
        yield track(pool.map(write_scene, jobs), "town", total=len(jobs), unit="scenes")
    except BrokenProcessPool as error:
        raise DwmError("a process that draws the town was killed; free memory, or ask for fewer workers") from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
            process.join()
        raise
    pool.shutdown()


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_shared(root: Path, scenes: Sequence[SceneRows], options: NuScenesOptions, count: int) -> None:
    """Everything that the scenes share: tables, captions, map expansion and masks."""
    tables = _joined([scene.tables for scene in scenes])
    location_of = {row["token"]: row["location"] for row in tables["log"]}
    log_tokens: dict[str, Sequence[str]] = {
        location: tokens
        for location in names.LOCATIONS
        if (tokens := [log for log, where in location_of.items() if where == location])
    }
    tables |= names.static_tables() | {"map": names.map_rows(log_tokens)}
    write_tables(root / options.version, tables)
    if options.twelve_hz:
        dense = tables | _joined([scene.twelve_hz for scene in scenes])
        write_tables(root / TWELVE_HZ, dense)
    _write_captions(root, scenes, options.version)
    for location in log_tokens:
        scenes_there = [scene for scene in scenes if names.location(scene.index) == location]
        for folder in ("maps/expansion", "expansion"):
            write_expansion(root / folder / f"{location}.json", [scene.map for scene in scenes_there], canvas(count))
        mask = root / "maps" / f"{names.LOCATIONS[location]}.png"
        write_mask(mask, [polygon for scene in scenes_there for polygon in scene.walkable], canvas(count))


def _joined(parts: Sequence[dict[str, list[names.Row]]]) -> dict[str, list[names.Row]]:
    return {name: [row for part in parts for row in part[name]] for name in parts[0]}


def _write_captions(root: Path, scenes: Sequence[SceneRows], version: str) -> None:
    for split, val in (("train", False), ("val", True)):
        part = [scene for scene in scenes if names.is_val(scene.index) == val]
        words = {key: row for scene in part for key, row in scene.captions.items()}
        times = {key: stamps for scene in part for key, stamps in scene.caption_times.items()}
        write_json(root / f"nuscenes_{version}_caption_v2_{split}.json", words)
        write_json(root / f"nuscenes_{version}_caption_v2_times_{split}.json", times)


def _write_zips(root: Path, results: Iterable[SceneRows], options: NuScenesOptions, count: int) -> None:
    """The archives of nuScenes' download page; each scene's files go in as it is done, so that little lies about twice."""
    scenes = []
    with zipfile.ZipFile(root / f"{options.version}_blobs.zip", "w") as blobs:
        for scene in results:
            files = [root / row["filename"] for row in scene.tables["sample_data"]]
            move_into_zip(blobs, root, files, deflate=False)
            scenes.append(scene)
    _write_shared(root, scenes, options, count)
    archives = [
        (f"{options.version}_meta.zip", files_below(root / options.version) + list((root / "maps").glob("*.png"))),
        ("nuScenes-map-expansion-v1.3.zip", files_below(root / "expansion")),
    ]
    if options.twelve_hz:
        archives.append((f"{TWELVE_HZ}.zip", files_below(root / TWELVE_HZ)))
    for name, files in archives:
        with zipfile.ZipFile(root / name, "w") as archive:
            move_into_zip(archive, root, files, deflate=True)
    _drop_folders(root)


def _drop_folders(root: Path) -> None:
    """Removes the emptied folders, and the second copy of the expansion, which only a plain folder needs."""
    for path in files_below(root / "maps"):
        path.unlink()
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        folder.rmdir()
