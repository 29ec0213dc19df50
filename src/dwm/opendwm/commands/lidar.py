"""OpenDWM's three commands for LiDAR configs: training, previews and scores of sweeps, with the flags that its users type."""

from __future__ import annotations

from pathlib import Path

from dwm.config.lidar import AUTOENCODER, GENERATOR, LidarRecipe
from dwm.config.lidar_checks import check_lidar
from dwm.errors import DwmError
from dwm.opendwm.commands.training import Flags, check_resume, output_of
from dwm.opendwm.runs import check_ready
from dwm.runs.lidar.evaluate import EvaluatedSweeps, evaluate_lidar
from dwm.runs.lidar.generate import generate_lidar
from dwm.runs.lidar.train import train_lidar


def train_lidar_config(run: LidarRecipe, path: Path, output: Path | None, flags: Flags, processes: int) -> Path:
    """Trains the run of a config and returns its folder of weights. Raises DwmError for flags that no run can follow."""
    output = output or output_of(path)
    training = run.training
    accumulate = training.accumulate * processes if run.published else training.accumulate
    training = training.with_(log_every=flags.log_steps, save_every=flags.checkpointing_steps, accumulate=accumulate)
    if flags.steps is not None:
        training = training.with_(steps=flags.steps)
    run = run.with_(training=training, preview=run.preview.with_(every=flags.preview_steps))
    check_lidar(run, str(path))
    check_ready(run, path, train=True)
    if flags.resume_from is not None:
        check_resume(output, flags.resume_from, list(run.stages())[-1])
    return train_lidar(run, output, flags.resume_from is not None)


def preview_lidar(run: LidarRecipe, path: Path, output: Path, count: int | None) -> list[Path]:
    """Sweeps of the held-out clips in `output`/preview."""
    return generate_lidar(check_ready(with_trained(run, output), path), output / "preview", count or 1)


def score_lidar(run: LidarRecipe, path: Path, output: Path, clips: int | None) -> EvaluatedSweeps | None:
    """Scores in `output`/evaluation; of several processes all but the first get None."""
    run = check_ready(with_trained(run, output), path)
    if clips is not None:
        run = run.with_(scores=run.scores.with_(clips=clips))
    return evaluate_lidar(run, output / "evaluation")


def with_trained(run: LidarRecipe, output: Path) -> LidarRecipe:
    """The run with the weights that a training run left in `output`, where it names none of its own."""
    names = {AUTOENCODER: "autoencoder_weights"} | ({} if run.generator is None else {GENERATOR: "weights"})
    for name, key in names.items():
        if getattr(run, key) is None:
            if not (output / "weights" / f"{name}.safetensors").is_file():
                raise DwmError(f"{run.name}: names no {key}, and {output / 'weights'} holds none; train the run first")
            run = run.with_(**{key: str(output / "weights")})
    return run
