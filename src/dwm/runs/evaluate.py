"""One evaluation, as a run that can be saved and started again: which weights, which clips, which scores."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from dwm.checkpoints import WeightsCard
from dwm.checkpoints.locations import TOWN, is_town
from dwm.clip import Clip
from dwm.config.files import check_own, save
from dwm.data import Dataset, DatasetWindows, ReadOptions, collate
from dwm.data.open import drawn_name
from dwm.devices import pick_device
from dwm.errors import DwmError
from dwm.evaluation import Scores, Tools
from dwm.evaluation.measure import look_at, prepare_scores, summed_up
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.score import Pair
from dwm.generation import DrivingPipeline
from dwm.options import Names, Options
from dwm.progress import track
from dwm.report import Group, Report, Shown, Video, contact_sheet, layout_video, write_report
from dwm.runs import score_record
from dwm.runs.clips import opened_path
from dwm.runs.generate import loaded
from dwm.runs.looks import KeptClip, key_of, load_look, path_of, save_look
from dwm.runs.precision import DtypeChoice
from dwm.runs.protocols import FIXED, check_fixed, fixed_by, protocol_called
from dwm.runs.score_tables import detail_tables, extremes
from dwm.runs.steps import steps_line, with_sampling
from dwm.storage import check_folder
from dwm.training.parallel.ranks import current_ranks, group

FILES = ("scores.json", "contact_sheet.png", "config.json", "report.html")
"""What is written into the output."""
HELD_OUT = 2_000
"""Scenes of a town from this number on are those that the built-in recipes never train on."""
SHOWN = 4
"""Clips that the report shows: the best and the worst ones."""


class EvaluationRun(Options):
    """What `dwm evaluate` does. A field that is null takes what the weights were trained with."""

    verb: Literal["evaluate"] = Field("evaluate", description="what this file runs")
    weights: str = Field("town", description="folder of weights, or town for the built-in ones")
    base_model: str | None = Field(None, description="folder of the base model where it does not lie with the weights")
    data: str | None = Field(
        None, description="data set of the clips; null: scenes of the town that training never saw"
    )
    version: str | None = Field(None, description="version of the data set; null: the one that is there")
    split: str | None = Field("val", description="scenes: val, train, mini_val, a file of names, …; null: all of them")
    key_frames_only: bool = Field(False, description="whether sweeps between key frames are left out")
    town_seed: int = Field(1000, ge=0, description="which town, where there is no data set")
    protocol: str | None = Field(
        None, description="name of what fixes frames, rate, views and given frames; null: the run does"
    )
    references: int | None = Field(None, ge=0, le=3, description="first frames of each clip that are given; null: none")
    clips: int = Field(16, ge=1, le=1_000_000, description="clips that are generated")
    frames: int | None = Field(None, ge=1, le=4096, description="frames of each")
    fps: float | None = Field(None, ge=0, le=1000, description="frames a second; 0: as recorded")
    stride: float = Field(2.0, gt=0, description="seconds between two clips of one scene")
    views: Names | None = Field(None, description="cameras")
    fast: bool = Field(False, description="the network for few steps, without guidance; the weights must have one")
    steps: int | None = Field(None, ge=1, le=10_000, description="sampling steps")
    guidance: float | None = Field(None, ge=0, description="how closely to follow the conditions")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or npu")
    dtype: DtypeChoice = Field("auto", description="what weights are held and computed in; auto: what is fastest there")
    offload: bool | None = Field(
        None, description="whether weights wait in the machine's memory while others work; null: where they must"
    )
    scores: EvaluationOptions = Field(EvaluationOptions(), description="what is measured")


@dataclass(frozen=True)
class Evaluated:
    run: EvaluationRun
    scores: Scores
    files: tuple[Path, ...]


def evaluate(run: EvaluationRun, output: Path) -> Evaluated | None:
    """Does the run and writes scores, a sheet of pictures, the run and a page into `output`.

    Clips that were looked at before are not generated again; several processes share the others, and all but the first get None.
    """
    from dwm.checkpoints.folder import read_card
    from dwm.checkpoints.locations import resolve

    check_folder(output, FILES)
    check_own(output)
    card = read_card(resolve(run.weights))
    if run.data is None and (run.version or run.split not in (None, EvaluationRun().split)):
        raise DwmError(f"--split {run.split}: is of a data set, and none is given; add --data")
    run = completed(run, card)
    dataset = open_data(run, card)
    clips = choose_clips(run, card, dataset)
    data = () if run.data is None else (dataset.digest(),)
    with group(run.device) as device:
        return measured(run, clips, loaded(run.with_(device=str(device))), output, data, device)


def measured(
    run: EvaluationRun,
    clips: Sequence[Clip],
    pipe: DrivingPipeline,
    output: Path,
    data: Sequence[str | None] = (),
    device: torch.device | None = None,
) -> Evaluated | None:
    """Generates `clips`, scores them and writes everything into `output`; None in all processes but the first.

    data: digests of the sets that the clips are of. device: this process's; None: the run's.
    """
    run = run.with_(dtype=pipe.computes_in)
    started, ranks = time.monotonic(), current_ranks()
    tools = Tools(run.scores, device or pick_device(run.device))
    scores, missing = prepare_scores(clips, run.scores, tools)
    origin = origin_of(run, data)
    key = {"protocol": protocol_of(run, clips, scores), "origin": origin, "scores": sorted(scores)}
    files = [path_of(output, key_of(key, clip, run.scores.seed + number)) for number, clip in enumerate(clips)]
    mine = [number for number in range(ranks.rank, len(clips), ranks.count) if not files[number].exists()]
    for number in track(mine, "evaluate", unit="clips"):
        clip, seed = clips[number], run.scores.seed + number
        look, pair = look_at(scores, lambda asked, noise: sampled(pipe, asked, run, noise), clip, seed, run.scores.size)
        save_look(files[number], look, shown_of(pair, pipe.card))
    ranks.barrier()
    if not ranks.first:
        return None
    kept = [load_look(path) for path in files]
    sums = summed_up(scores, clips, [one.look for one in kept], run.scores, time.monotonic() - started, missing)
    record = {
        "record": score_record.RECORD_VERSION,
        "protocol": {**key["protocol"], "size": list(kept[0].look.size)},
        "origin": origin,
        "clip_list": score_record.clip_list(clips, files, [one.look.left_out for one in kept]),
    }
    return Evaluated(run, sums, tuple(written(run, clips, kept, sums, record, output)))


def shown_of(pair: Pair, card: WeightsCard) -> dict[str, Video]:
    """The videos of a clip that its page shows."""
    videos = {"real": pair.real}
    batch = collate([pair.clip], pair.generated.size, card.layout, pictures=False)
    if (layout := layout_video(batch, pair.clip.views)) is not None:
        videos["layout"] = layout
    return {**videos, "generated": pair.generated}


def protocol_of(run: EvaluationRun, clips: Sequence[Clip], scores: Iterable[str]) -> dict[str, Any]:
    """What two records must share; the pictures' size, which only they tell, comes with them."""
    return score_record.protocol(clips, run.scores, list(scores), run.protocol, run.references or 0)


def origin_of(run: EvaluationRun, data: Sequence[str | None]) -> dict[str, Any]:
    """What was scored: weights, steps, data and versions."""
    weights = TOWN if is_town(run.weights) else Path(run.weights)
    about = run.model_dump(
        mode="json",
        include={"weights", "base_model", "data", "version", "split", "fast", "steps", "guidance", "dtype"},
    )
    origin = score_record.origin(weights if weights.exists() else None, about)
    return {**origin, "data_digests": list(data)}


def completed(run: EvaluationRun, card: WeightsCard) -> EvaluationRun:
    """The same run with every null filled in that its protocol or the weights answer. Raises DwmError where it contradicts one."""
    check_fixed(run.protocol, {name: getattr(run, name) for name in FIXED})
    run = run.with_(**fixed_by(run.protocol))
    return with_sampling(run, card).with_(
        frames=run.frames or card.window or 1,
        fps=card.fps if run.fps is None else run.fps,
        views=run.views or card.views,
        references=run.references or 0,
    )


def open_data(run: EvaluationRun, card: WeightsCard) -> Dataset:
    """The run's data set, or scenes of the town that training never saw."""
    views = run.views or card.views
    if run.data is None:
        name = drawn_name("town", seed=run.town_seed, first=HELD_OUT, scenes=run.clips)
        return opened_path(name, options=ReadOptions(views=views))
    options = ReadOptions(views=views, key_frames_only=run.key_frames_only)
    return opened_path(run.data, run.version, run.split, options)


def choose_clips(run: EvaluationRun, card: WeightsCard, dataset: Dataset) -> list[Clip]:
    """The clips, spread over the scenes. Raises DwmError where there are too few."""
    frames, fps = run.frames or 1, card.fps if run.fps is None else run.fps
    fixed = None if run.protocol is None else protocol_called(run.protocol).stride
    if run.data is None:
        town = DatasetWindows(dataset, frames, ((fps or card.fps, 1.0),))
        return [town[index] for index in range(len(town))]
    windows = dataset.with_pictures(dataset.windows(frames, fps, fixed or run.stride, check=False))
    if len(windows) < run.clips:
        raise DwmError(
            f"{run.data}: {len(dataset)} scenes of split {run.split} give {len(windows)} clips, fewer than --clips "
            f"{run.clips}; ask for fewer, or take a smaller stride"
        )
    step = len(windows) / run.clips
    return [dataset.clip(windows[int(number * step)]) for number in range(run.clips)]


def sampled(pipe: DrivingPipeline, clip: Clip, run: EvaluationRun, seed: int) -> Video:
    """One clip's video."""
    return pipe(
        clip,
        num_inference_steps=run.steps,
        guidance_scale=run.guidance,
        seed=seed,
        reference_frames=run.references or 0,
    )


def written(
    run: EvaluationRun,
    clips: Sequence[Clip],
    kept: Sequence[KeptClip],
    scores: Scores,
    record: Mapping[str, Any],
    output: Path,
) -> Iterator[Path]:
    """Writes everything; yields the paths."""
    yield scores.save(output / "scores.json", record)
    rows = {
        f"{name} {number}": one.videos[name]
        for number, one in enumerate(kept[:SHOWN])
        for name in ("generated", "real")
    }
    yield contact_sheet(rows, frames=1).save(output / "contact_sheet.png")
    yield save(run, output)
    yield write_report(output / "report.html", page_of(run, clips, kept, scores))


def page_of(run: EvaluationRun, clips: Sequence[Clip], kept: Sequence[KeptClip], scores: Scores) -> Report:
    """The page: the best and worst clips, the scores, and what lies behind them."""
    groups = [
        Group(f"{how} clip, {number}: {clips[number].scene}", [Shown(*item) for item in kept[number].videos.items()])
        for how, number in extremes(scores, SHOWN // 2)
    ]
    rate = f"{run.frames} frames at {run.fps:g} a second" if run.fps else "single pictures"
    facts = {
        **({} if run.protocol is None else {"protocol": f"{run.protocol}: {protocol_called(run.protocol).words}"}),
        "clips": f"{scores.clips} of {run.data or f'town {run.town_seed}'}, {rate}",
        "weights": run.weights,
        "sampling": f"{steps_line(run)}, computed in {run.dtype}",
        "time": f"{scores.seconds:.0f} s",
    }
    lead = f"What {run.weights} makes of {scores.clips} clips that it never saw."
    tables = detail_tables(scores)
    config = run.model_dump_json(indent=1)
    return Report("Scores", lead, groups, scores.lines(), facts, config=config, tables=tables, numbers_first=True)
