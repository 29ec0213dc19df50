"""Runs a campaign: finished stages are passed over, the one at hand goes on, the next ones start from its weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from dwm.config.campaign import Campaign, campaign_from, started_from
from dwm.config.files import CONFIG_NAME, read_json, save
from dwm.errors import DwmError
from dwm.runs.train import train_run
from dwm.screen import say
from dwm.storage import check_folder, held
from dwm.training.loop.step import Callback
from dwm.training.parallel.ranks import current_ranks, group


def train_campaign(campaign: Campaign, output: Path, callbacks: Sequence[Callback] = ()) -> Path:
    """Runs or resumes whichever stage is due, one after another, and returns the last one's folder of weights.

    Raises DwmError where `output` holds another campaign, or a stage was begun with other settings.
    """
    # One group of processes for all stages: a launcher's meeting place serves once.
    with group(campaign.stages[0].run.device), ExitStack() as stack:
        first = current_ranks().first
        if first:
            check_folder(output)
            stack.enter_context(held(output))
            _claim(campaign, output)
        stages = started_from(campaign, output)
        done = [(folder / "weights" / "dwm.json").is_file() for _, folder in stages]
        # Nobody may look for finished stages while another is finishing one.
        current_ranks().barrier()
        for (stage, folder), finished in zip(stages, done, strict=True):
            state = "done before" if finished else f"{stage.run.name}, from {stage.run.weights or 'nothing'}"
            if first:
                say(f"{stage.name}: {state}; weights: {folder / 'weights'}")
            if not finished:
                train_run(stage.run, folder, resume=True, callbacks=callbacks)
                current_ranks().barrier()
    return stages[-1][1] / "weights"


def _claim(campaign: Campaign, output: Path) -> None:
    path = output / CONFIG_NAME
    if path.exists():
        values = read_json(path)
        if not isinstance(values, dict) or "stages" not in values:
            raise DwmError(f"{output}: holds a run that is no campaign; choose another --output")
        before = [stage.name for stage in campaign_from(values, str(path)).stages]
        if before != (names := [stage.name for stage in campaign.stages]):
            raise DwmError(
                f"{path}: the campaign was started with stages {', '.join(before)}, not {', '.join(names)}; choose "
                "another --output"
            )
    save(campaign, output)
