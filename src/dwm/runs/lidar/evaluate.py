"""Scores the sweeps that a run makes of held-out clips; writes `scores.json`, and pictures of the first clips."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dwm.config.files import CONFIG_NAME, save
from dwm.config.lidar import LidarRecipe
from dwm.evaluation.sweep_scores import SweepResult, SweepScores
from dwm.generation.sweep_rays import RayPipeline
from dwm.generation.sweeps import SweepPipeline
from dwm.report.sweeps import save_picture, sheet
from dwm.runs.lidar.generate import MadeClip, loaded, made_clips
from dwm.runs.score_record import origin
from dwm.storage import atomic_write, check_folder
from dwm.training.parallel.ranks import current_ranks, group

SCORES_NAME = "scores.json"
SHOWN = 4
"""Clips whose pictures are kept."""


@dataclass(frozen=True)
class EvaluatedSweeps:
    result: SweepResult
    files: list[Path]


def evaluate_lidar(run: LidarRecipe, output: Path) -> EvaluatedSweeps | None:
    """Scores `scores.clips` held-out clips. Of several processes the first does so, and the others get None."""
    with group(run.device):
        if not current_ranks().first:
            return None
        check_folder(output, (CONFIG_NAME, SCORES_NAME))
        pipe = loaded(run)
        scores, files = SweepScores(run.scores.reaches, run.centre), []
        for clip in made_clips(run, pipe, run.scores.clips, run.scores.seed):
            _add(scores, clip, pipe)
            if clip.number < SHOWN and clip.batch.lidar is not None:
                picture = sheet(clip.batch.lidar, 0, clip.truth, clip.made.cells[0], clip.made.ranges)
                files.append(save_picture(picture, output / f"{clip.number:04d}.png"))
        result = scores.result()
        files += [_record(run, result, output), save(run, output)]
        return EvaluatedSweeps(result, files)


def _add(scores: SweepScores, clip: MadeClip, pipe: SweepPipeline | RayPipeline) -> None:
    """True and generated points come from cells, or from range images, alike, so that both have the same grain."""
    sweeps = clip.batch.lidar
    if isinstance(pipe, RayPipeline) and sweeps is not None and sweeps.ranges is not None:
        rays = zip(sweeps.ranges[0], sweeps.ego_from_lidar[0], strict=True)
        truth = [pipe.points(ranges, place)[:, :3].numpy() for ranges, place in rays]
    else:
        truth = [pipe.grid.points(cells, pipe.centred).cpu().numpy() for cells in clip.truth]
    made = [points[:, :3].cpu().numpy() for points in clip.made.points[0]]
    cells = [np.asarray(frame.cpu() > 0) for frame in clip.made.cells[0]]
    scores.add(truth, made, [np.asarray(frame.cpu() > 0) for frame in clip.truth], cells)


def _record(run: LidarRecipe, result: SweepResult, output: Path) -> Path:
    weights = run.weights if run.generator is not None else run.autoencoder_weights
    about = {"weights": weights, "autoencoder_weights": run.autoencoder_weights, "device": run.device}
    record = {
        "record": "sweeps 1",
        **result.values(),
        "protocol": {
            "clips": run.scores.clips,
            "seed": run.scores.seed,
            "reaches": list(run.scores.reaches),
            "data": [source.path for source in run.data.validation],
            "points": run.data.held_out_points,
            "grid": run.autoencoder.grid.model_dump(),
            "sampling": run.sampling.model_dump(),
            "compatibility": run.compatibility,
        },
        "origin": origin(None if weights is None else Path(weights), about),
    }
    path = output / SCORES_NAME
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path
