"""Scenes generated several times over as WorldLens and W-CODA's second track score them: a film for each camera. Scores nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dwm import progress
from dwm.data.edited_set import ScenePart, part_of
from dwm.data.tables.dataset import TableDataset
from dwm.errors import DwmError
from dwm.report.film import Film
from dwm.runs.edits import edited
from dwm.runs.export import Exported, ExportRun, begun, claim, sampled, share
from dwm.runs.generate import loaded
from dwm.screen import say
from dwm.storage import atomic_folder, plain_name
from dwm.training.parallel.ranks import current_ranks, group

FOLDER = "video_submission"
FPS = 12.0
"""So that frames 0, 6 and 12 of a film are key frames, at which detectors look."""


def export_worldlens(run: ExportRun, output: Path) -> Exported:
    """Makes the films that are not there yet: `{token}_gen{k}/{token}_{CAM}.mp4`, by the first key frame's token."""
    started = time.monotonic()
    run, dataset = begun(run, output)
    scenes = [dataset[name] for name in run.scenes] or list(dataset.scenes)
    parts = [first_frames(part_of(scene, run.views or scene.views, None, FPS), run) for scene in scenes]
    tokens = tokens_of(dataset, parts)
    with group(run.device) as device:
        claim(run, output)
        made = tuple(generated(run.with_(device=str(device)), parts, tokens, output / FOLDER))
        current_ranks().barrier()
    return Exported(run, made, len(parts) * run.generations, None, output, time.monotonic() - started)


def first_frames(part: ScenePart, run: ExportRun) -> ScenePart:
    """The first frames of a scene. Raises DwmError where it is too short."""
    rows = part.window.rows[: run.frames]
    if len(rows) < run.frames:
        raise DwmError(
            f"{part.name}: has {len(rows)} frames at {FPS:g} a second, fewer than {run.frames}; choose others with --scene"
        )
    return ScenePart(part.scene, replace(part.window, rows=rows), part.keys[: run.frames])


def tokens_of(dataset: TableDataset, parts: Sequence[ScenePart]) -> list[str]:
    """The token of the sample that each part begins with."""
    frames = dataset.tables.source.relations()("sample_data")
    first = pa.array([part.column("token")[0][0] for part in parts], pa.string())
    return frames["sample_token"].take(pc.index_in(first, value_set=frames["token"])).to_pylist()


def generated(run: ExportRun, parts: Sequence[ScenePart], tokens: Sequence[str], folder: Path) -> Iterator[str]:
    """Makes this process's films; yields their names. A folder of films appears when it is whole."""
    names = [f"{plain_name(token, 'a token')}_gen{k}" for token in tokens for k in range(run.generations)]
    missing = [number for number in share(run, len(names)) if not (folder / names[number]).exists()]
    pipe = loaded(run) if missing else None
    for number in missing:
        assert pipe is not None
        part, token = parts[number // run.generations], tokens[number // run.generations]
        clip = part.clip()
        clip = edited(clip, run.edits.fitting(clip.instances))
        pictures = sampled(pipe, run, clip, run.seed + number).pictures()
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder / names[number]) as films:
            for view, camera in enumerate(clip.views):
                Film(pictures[:, view], FPS).save(films / f"{token}_{plain_name(camera, 'a camera')}.mp4")
        if not progress.QUIET:
            say(f"{part.name}: {names[number]} ({number + 1} of {len(names)})")
        yield names[number]
