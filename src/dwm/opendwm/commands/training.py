"""`src/dwm/train.py` of OpenDWM: its flags laid over a config's run, which is then trained as `dwm train` does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dwm.config import Recipe, read_json
from dwm.errors import DwmError
from dwm.opendwm.runs import ready_recipe


@dataclass(frozen=True)
class Flags:
    """The flags of OpenDWM's trainer; periods are in steps."""

    steps: int | None = None
    log_steps: int = 100
    preview_steps: int = 400
    checkpointing_steps: int = 10_000
    evaluation_steps: int = 10_000
    resume_from: int | None = None
    wandb: bool = False
    wandb_project: str = "dwm"
    wandb_run_name: str = "train"


def train_config(path: Path, output: Path | None, flags: Flags, root: Path | None = None) -> Path:
    """Trains the run of a config and returns its folder of weights. Several processes that torchrun started share it.

    `root`: the folder that its files lie below. Raises DwmError for flags that no run can follow.
    """
    output = output or output_of(path)
    run = with_flags(ready_recipe(path, root, train=True), flags, int(os.environ.get("WORLD_SIZE", "1")))
    if flags.resume_from is not None:
        check_resume(output, flags.resume_from)
    from dwm.runs.train import train_run  # seconds of libraries, which no refusal waits for

    return train_run(run, output, flags.resume_from is not None)


def with_flags(run: Recipe, flags: Flags, processes: int) -> Recipe:
    """A run with the trainer's flags. OpenDWM counts micro-batches of each process, we those of all together."""
    for name in ("steps", "log_steps", "preview_steps", "checkpointing_steps"):
        if getattr(flags, name) is not None and getattr(flags, name) <= 0:
            raise DwmError(f"--{name.replace('_', '-')} {getattr(flags, name)}: expected a number above 0")
    training = run.training
    each = training.accumulate * processes if run.compatibility == "reference" else training.accumulate
    watch = training.watch
    if flags.wandb:
        trackers = tuple(dict.fromkeys((*watch.trackers, "wandb")))
        watch = watch.with_(trackers=trackers, project=flags.wandb_project, name=flags.wandb_run_name)
    training = training.with_(
        log_every=flags.log_steps, save_every=flags.checkpointing_steps, accumulate=each, watch=watch
    )
    if flags.steps is not None:
        training = training.with_(steps=flags.steps)
    preview = run.preview.with_(every=flags.preview_steps, score_every=max(0, flags.evaluation_steps))
    return run.with_(training=training, preview=preview)


def output_of(path: Path) -> Path:
    """Where a config itself says that its run goes."""
    values = read_json(path)
    output = values.get("output_path") if isinstance(values, dict) else None
    if not isinstance(output, str):
        raise DwmError(f"{path}: names no output_path; give --output-path")
    return Path(output)


def check_resume(output: Path, step: int, stage: str = "driving") -> None:
    """Raises DwmError where the last save is of another step: a run goes on from its last one."""
    saves = sorted(int(folder.name) for folder in output.glob(f"{stage}/checkpoints/*") if folder.name.isdecimal())
    if step not in saves:
        there = f"saves of steps {', '.join(map(str, saves))}" if saves else "no save"
        raise DwmError(f"--resume-from {step}: {output} holds {there}")
    if step != saves[-1]:
        raise DwmError(
            f"--resume-from {step}: {output} goes on from its last save, that of step {saves[-1]}; move later ones away to go back"
        )
