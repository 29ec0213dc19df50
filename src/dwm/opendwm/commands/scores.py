"""Scores of a training run's weights over its own validation sets: what `evaluate.py` and `dwm evaluate -c` do with such a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from dwm.clip import Clip
from dwm.config import Recipe
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.opendwm.config.data import LAYOUT_PACKAGE
from dwm.runs.clips import opened, validation_clips
from dwm.runs.evaluate import FILES, Evaluated, EvaluationRun, measured
from dwm.runs.protocols import protocol_of
from dwm.runs.published import published_pipeline
from dwm.storage import check_folder
from dwm.training.parallel.ranks import group
from dwm.training.saves.checkpoint import saves

CLIPS = 16
"""Clips that are scored where nothing says how many."""


def score_run(
    run: Recipe, output: Path, clips: int | None = None, tiny: bool = False, source: str = "config"
) -> Evaluated | None:
    """Generates clips spread over the run's validation sets, and scores them. `tiny`: the built-in weights.

    Several processes share the clips, and all but the first get None. Raises DwmError for sets without photographs of their own
    (packages), or that cannot be read.
    """
    check_folder(output, FILES)
    held_out = run.data.validation
    if not held_out:
        raise DwmError(f"{source}: data.validation is empty; there is nothing to measure against")
    if packages := [part for part in held_out if part.kind == LAYOUT_PACKAGE]:
        raise DwmError(
            f"{source}: {packages[0].path} is a package of layouts, without the photographs that scores compare with; give a "
            "recorded data set"
        )
    windows = validation_clips(run.data)
    count = min(len(windows), clips or run.preview.score_clips or CLIPS)
    selection: list[Clip] = [windows[int(number * len(windows) / count)] for number in range(count)]
    with group("auto" if tiny else run.device) as device:
        pipe = _tiny(device) if tiny else published_pipeline(run.with_(device=str(device)), source)
        digests = [opened(source).digest() for source in held_out]
        return measured(_as_evaluation(run, pipe, count), selection, pipe, output, digests, device)


def at_step(run: Recipe, output: Path, step: int | None) -> Recipe:
    """The run with the weights that were saved at a step (`--resume-from`) in its folder; without a step, with its own.

    Raises DwmError where there is neither.
    """
    if step is not None:
        return run.with_(weights=str(checkpoint_of(output, step)))
    if run.weights is None and (steps := saved_steps(output)):
        raise DwmError(
            f"{run.name}: names no weights; with --resume-from those of {output} are taken (saved: {_listed(steps)})"
        )
    return run


def checkpoint_of(output: Path, step: int) -> Path:
    """The weights that a run, OpenDWM's or ours, saved at a step. Raises DwmError naming the steps that are there."""
    steps = saved_steps(output)
    if step not in steps:
        raise DwmError(f"--resume-from {step}: is not there in {output}; saved: {_listed(steps)}")
    return steps[step]


def saved_steps(output: Path) -> dict[int, Path]:
    """What a run's folder holds by step: OpenDWM's `checkpoints/{step}.pth`, and our saves of the driving network."""
    theirs = {int(path.stem): path for path in (output / "checkpoints").glob("*.pth") if path.stem.isdecimal()}
    ours = {int(path.name): path for path in saves(output / "driving" / "checkpoints")}
    return dict(sorted({**ours, **theirs}.items()))


def _listed(steps: Iterable[int]) -> str:
    return ", ".join(map(str, steps)) or "nothing"


def _tiny(device: torch.device) -> DrivingPipeline:
    return DrivingPipeline.from_pretrained("town", torch_dtype="auto", device=device)


def _as_evaluation(run: Recipe, pipe: DrivingPipeline, count: int) -> EvaluationRun:
    first, sampling = run.data.validation[0], pipe.card.sampling
    most = run.sampling.reference_frames if run.preview.given_frames and first.frames > 1 else 0
    references = min(most, 3, (run.preview.window or first.frames) - 1)
    fps, stride = first.rates[0]
    return EvaluationRun(
        protocol=protocol_of(first.frames, fps, stride, references, first.views),
        references=references,
        weights=run.weights or run.name or "town",
        base_model=run.base_model,
        data=first.path,
        version=first.version,
        split=first.split,
        clips=count,
        frames=first.frames,
        fps=fps or None,
        views=first.views,
        steps=sampling.num_inference_steps,
        guidance=sampling.guidance_scale,
        device=run.device,
        scores=run.evaluation,
    )
