"""`dwm finetune`: weights take on the look of another data set in minutes; a page shows the same clip before and after."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dwm.checkpoints import WeightsCard
from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import resolve
from dwm.clip import Clip
from dwm.config.data import Rate, SourceOptions
from dwm.config.recipe import Recipe
from dwm.data import Dataset, DatasetWindows, ReadOptions
from dwm.errors import DwmError
from dwm.report import Group, Report, Shown, comparison, contact_sheet, write_report
from dwm.runs.clips import opened, opened_path, validation_clips
from dwm.runs.generate import GenerationRun, beside, loaded, sampled
from dwm.runs.train import train_run
from dwm.storage import check_folder

MOST_CLIPS = 96
"""More are not seen in ten minutes; those of a larger set are spread over all of it."""
PICTURES = 8
"""Frames of six views in a micro-batch: shorter clips stand together in one."""
FILES = ("contact_sheet.png", "report.html")


@dataclass(frozen=True)
class Finetuned:
    """What `finetune` made: the folder of weights, the files to look at, and whether the clip shown was not trained on."""

    weights: Path
    files: tuple[Path, ...]
    held_out: bool
    seconds: float


@dataclass(frozen=True)
class Windows:
    """Clips of one length. `count`: how many are trained on; of several scenes with clips the last one is held out."""

    length: int
    rate: Rate
    count: int


def finetuning(run: Recipe, weights: str, data: str) -> Recipe:
    """The recipe on these weights and this data set: its cameras, and the longest clips that both have.

    Raises DwmError for a set with other numbers of cameras than the weights saw, and for one without a clip.
    """
    card = read_card(resolve(weights))
    dataset = opened_path(data, None, None, ReadOptions(lidar=False))
    source = SourceOptions(path=data, views=_views(card, dataset, data), lidar_clock=False, words=card.captions)
    windows = _windows(card, source)
    length = windows.length
    source = source.with_(frames=length, rates=(windows.rate,), check_times=length > 1)
    objective = run.training.objective
    if length == 1:  # of a single picture no first frames can be given
        objective = objective.with_(style=None, reference_frames=0, generation_tasks=0, image_tasks=0)
    clips = max(1, min(windows.count, PICTURES // length))
    return run.with_(
        name=f"finetune-{card.name}",
        weights=weights,
        conditions=card.conditions,
        sampling=card.sampling,
        data=run.data.with_(
            train=(source,),
            validation=(source,),
            size=card.sizes[0] if card.sizes else run.data.size,
            layout=card.layout,
            clips=windows.count,
        ),
        training=run.training.with_(
            batch=run.training.batch.with_(frames=length, clips=clips, mix=()), objective=objective
        ),
    )


def finetune(run: Recipe, output: Path, resume: bool = False) -> Finetuned:
    """Trains, generates one clip with the weights before and after, and writes the page."""
    check_folder(output, FILES)
    started = time.monotonic()
    held_out, clip = _shown_clip(run)
    weights = train_run(run, output, resume)
    seconds = time.monotonic() - started
    return Finetuned(weights, tuple(_page(run, clip, held_out, weights, output, seconds)), held_out, seconds)


def _views(card: WeightsCard, dataset: Dataset, data: str) -> tuple[str, ...]:
    """The weights' cameras as far as the set has them, else the set's own; as many as the weights saw together."""
    there = dataset.scenes[0].views
    views = tuple(view for view in card.views if view in there) or tuple(there)
    counts = [count for count in card.view_counts or (len(views),) if count <= len(views)]
    if not counts:
        listing = ", ".join(map(str, card.view_counts))
        raise DwmError(
            f"--data {data}: has {len(views)} cameras ({', '.join(views)}); the weights saw {listing} together"
        )
    return views[: max(counts)]


def _windows(card: WeightsCard, source: SourceOptions) -> Windows:
    """The longest clips that the set has at the weights' rate, single pictures at worst."""
    dataset = opened(source)
    for length in sorted({*card.lengths, 1}, reverse=True):
        rate: Rate = (card.fps, 0.5) if length > 1 else (0, 1)
        windows = dataset.windows(length, *rate, length > 1)
        if not windows:
            continue
        rate = (rate[0], rate[1] * math.ceil(len(windows) / MOST_CLIPS))
        chosen = DatasetWindows(dataset, length, (rate,), check=length > 1).windows
        last = chosen[-1].scene
        count = sum(window.scene != last for window in chosen)
        return Windows(length, rate, count or len(chosen))
    raise DwmError(f"{dataset.describe()}: has no picture of all its cameras at one time; check it: dwm data check")


def _shown_clip(run: Recipe) -> tuple[bool, Clip]:
    """The first clip that is not trained on, where there is one, else the first of all."""
    clips, count = validation_clips(run.data), run.data.clips or 0
    held_out = count < len(clips)
    return held_out, clips[count if held_out else 0]


def _page(run: Recipe, clip: Clip, held_out: bool, weights: Path, output: Path, seconds: float) -> Iterator[Path]:
    """The clip, and what the weights make of its boxes, map and words before and after."""
    card = read_card(weights)
    settings = GenerationRun(
        steps=card.sampling.num_inference_steps,
        guidance=card.sampling.guidance_scale,
        size=run.data.size,
        device=run.device,
        force=True,
    )
    videos = {}
    for name, folder in (("before", run.weights or "town"), ("after", str(weights))):
        pipe = loaded(settings.with_(weights=folder))
        videos[name] = sampled(pipe, clip, settings, f"generate {name}")
    rows = beside(clip, videos["before"], card)
    rows = {name: video for name, video in rows.items() if name != "generated"} | videos
    kind = "png" if clip.length == 1 else "mp4"
    yield comparison(rows).save(output / f"comparison.{kind}")
    yield contact_sheet(rows).save(output / "contact_sheet.png")
    words = clip.captions[0][0].text() if clip.captions else ""
    group = Group(
        "One clip, before and after",
        [Shown(name, video, words if name == "after" else "") for name, video in rows.items()],
        "Same boxes, map, cameras, words and noise. "
        + ("Training did not see this scene." if held_out else "There is no other scene: training saw this clip."),
    )
    facts = {
        "weights": f"{run.weights} before, {weights} after",
        "trained on": f"{run.data.clips} clips of {run.data.frames} frames, {run.data.views} cameras",
        "time": f"{seconds:.0f} s of training",
    }
    report = Report(
        "The look of another data set",
        "A short finetuning.",
        (group,),
        facts=facts,
        config=run.model_dump_json(indent=1),
    )
    yield write_report(output / "report.html", report)
