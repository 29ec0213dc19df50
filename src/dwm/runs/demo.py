"""The demo: a few scenes of the town → one clip → a generated video → the same clip re-prompted → scores → a page to look at."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import resolve
from dwm.clip import Caption, Clip
from dwm.config.files import save
from dwm.data import ReadOptions, collate, open_dataset
from dwm.devices import peak_memory
from dwm.evaluation import Scores, layout_retrieval, thumbnails
from dwm.evaluation.prompts import brightness, respond
from dwm.generation import DrivingPipeline
from dwm.options import Options
from dwm.report import Group, Report, Shown, Video, comparison, contact_sheet, real_video, write_report
from dwm.runs.generate import beside, loaded, stepping
from dwm.runs.precision import DtypeChoice
from dwm.runs.steps import steps_line, with_sampling
from dwm.storage import atomic_write, check_folder
from dwm.town import NuScenesOptions, town_scene, write_nuscenes

HOST = torch.device("cpu")
STEPS = 12
"""Sampling steps where nobody says otherwise: fewer than the weights like, so that it is done soon."""
MORE = 3
"""Scenes that are not written, only drawn, so that the video has more clips to be told apart from."""


class DemoRun(Options):
    """What `dwm demo` does."""

    verb: Literal["demo"] = Field("demo", description="what this file runs")
    weights: str = Field("town", description="folder of weights, or town for the built-in ones")
    base_model: str | None = Field(None, description="folder of the base model where it does not lie with the weights")
    scenes: int = Field(2, ge=2, le=24, description="scenes of the town that are built; the second is looked at")
    town_seed: int = Field(33, ge=0, description="which town; in this one the second scene is a busy, clear day")
    start: float = Field(0.5, ge=0, description="seconds from the scene's first frame to the clip's")
    frames: int = Field(8, ge=1, description="frames of the clip")
    fps: float = Field(4.0, gt=0, description="frames a second")
    time: str = Field("night", description="the other time of day that is told")
    weather: str = Field("rain", description="the other weather that is told")
    fast: bool = Field(False, description="the network for few steps, without guidance; the weights must have one")
    steps: int | None = Field(
        None, ge=1, description="sampling steps; null: 12, or those that the network for few steps knows"
    )
    guidance: float | None = Field(
        None, ge=0, description="how closely to follow the conditions; null: the weights' own"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the noise; the same for both videos")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or npu")
    dtype: DtypeChoice = Field("auto", description="what weights are held and computed in; auto: what is fastest there")


@dataclass
class Clock:
    """Seconds that each part took."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def lap(self, what: str) -> None:
        now = time.monotonic()
        self.seconds[what] = round(now - self.started - sum(self.seconds.values()), 2)

    @property
    def total(self) -> float:
        return time.monotonic() - self.started


FILES = (
    *("generated.mp4", "edited.mp4", "comparison.mp4", "contact_sheet.png"),
    *("metrics.json", "config.json", "report.html"),
)
"""What is written into the output, beside the town."""


@dataclass(frozen=True)
class Demo:
    """What the demo made."""

    output: Path
    files: tuple[Path, ...]
    scores: Scores
    seconds: dict[str, float]
    total: float
    memory: int


def demo(run: DemoRun, output: Path, say: Callable[[str], None] = lambda text: None) -> Demo:
    """Does everything and writes it into `output`; `say` is told what happens next."""
    check_folder(output, FILES)
    clock = Clock()
    say(f"building {run.scenes} scenes of the town as a nuScenes data set")
    card = read_card(resolve(run.weights))  # what is not there is said before a town is built
    run = with_sampling(run if run.fast or run.steps else run.with_(steps=STEPS), card)
    data = town_data(run, output / "town")
    clip, others = choose_clips(run, data)
    clock.lap("town")
    say(f"loading the weights {run.weights}")
    pipe = loaded(run)
    run = run.with_(dtype=pipe.computes_in)
    clock.lap("weights")
    generated = sampled(pipe, clip, run, None, "generate")
    edited = sampled(
        pipe, clip, run, Caption(time=run.time, weather=run.weather), f"generate {run.time}, {run.weather}"
    )
    clock.lap("generate two videos")
    videos = {**beside(clip, generated, pipe.card), f"{run.time}, {run.weather}": edited}
    scores = scored(videos["real"], generated, edited, others, clock.total)
    say("writing the videos and the report")
    files = tuple(written(run, clip, videos, scores, clock, output))
    return Demo(output, files, scores, clock.seconds, clock.total, peak_memory(HOST))


def town_data(run: DemoRun, folder: Path) -> Path:
    """The demo's data set; one that an earlier demo built from the same settings is used again."""
    options = NuScenesOptions(seconds=max(3.0, run.start + run.frames / run.fps + 0.5), lidar_hz=10)
    settings = {"scenes": run.scenes, "seed": run.town_seed, **options.model_dump(mode="json")}
    stamp = folder.parent / "town.json"
    if folder.is_dir() and stamp.is_file():  # the stamp says that a demo made the folder: it may be made again
        if stamp.read_text("utf-8").strip() == json.dumps(settings):
            return folder
        shutil.rmtree(folder)
    write_nuscenes(folder, run.scenes, run.town_seed, options=options)
    with atomic_write(stamp) as temporary:
        temporary.write_text(json.dumps(settings) + "\n", "utf-8")
    return folder


def choose_clips(run: DemoRun, data: Path) -> tuple[Clip, tuple[Clip, ...]]:
    """A clip that no training saw, and the clips of the other scenes among which its video must find its own."""
    dataset = open_dataset(data, "interp_12Hz_trainval", None, ReadOptions(lidar=False))
    clips = [scene.clip(run.start, run.frames, run.fps) for scene in dataset.scenes]
    extra = [town_scene(run.town_seed, run.scenes + more).clip(run.start, run.frames, run.fps) for more in range(MORE)]
    return clips[1], (clips[0], *clips[2:], *extra)


def sampled(pipe: DrivingPipeline, clip: Clip, run: DemoRun, change: Caption | None, what: str) -> Video:
    """The clip's video, told its own words or some of them changed."""
    with stepping(what, run.steps or 0) as on_step:
        return pipe(
            clip,
            prompt=change,
            num_inference_steps=run.steps,
            guidance_scale=run.guidance,
            seed=run.seed,
            force=True,
            callback_on_step_end=on_step,
        )


def scored(real: Video, generated: Video, edited: Video, others: tuple[Clip, ...], seconds: float) -> Scores:
    """Is the video nearest to its own clip, and did the words change the light?"""
    candidates = [real, *(real_video(collate([clip], real.size, None), clip.views) for clip in others)]
    retrieval = layout_retrieval(thumbnails(generated), torch.cat([thumbnails(video) for video in candidates]))
    response = respond([float(brightness(edited)[0])], [float(brightness(generated)[0])])
    return Scores(1, seconds, {"layout_retrieval": retrieval, "prompt_response": response})


def written(
    run: DemoRun, clip: Clip, videos: dict[str, Video], scores: Scores, clock: Clock, output: Path
) -> Iterator[Path]:
    """Writes everything that is looked at; yields the paths."""
    names = list(videos)
    films = {"generated": output / "generated.mp4", names[-1]: output / "edited.mp4"}
    for name, path in films.items():
        yield from videos[name].save(path)
    yield comparison(videos).save(output / "comparison.mp4")
    yield contact_sheet(videos).save(output / "contact_sheet.png")
    clock.lap("videos")
    yield _metrics(scores, clock, output)
    yield save(run, output)
    yield write_report(output / "report.html", _report(run, clip, videos, scores, clock, films))


def _metrics(scores: Scores, clock: Clock, output: Path) -> Path:
    entries = {
        **scores.values(),
        "seconds": clock.seconds,
        "total_seconds": clock.total,
        "peak_memory_bytes": peak_memory(HOST),
    }
    path = output / "metrics.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    return path


def _report(
    run: DemoRun, clip: Clip, videos: dict[str, Video], scores: Scores, clock: Clock, films: dict[str, Path]
) -> Report:
    caption = clip.captions[0][0] if clip.captions else Caption()
    words = caption.text()
    *first, edited = videos
    groups = (
        Group(
            "One clip",
            [Shown(name, videos[name], f"told: {words}" if name == "generated" else "") for name in first],
            "The real pictures, what the network is told of boxes and map, and what it makes of that.",
        ),
        Group(
            "The same clip, other words",
            [
                Shown(
                    edited,
                    videos[edited],
                    f"told: {run.time}, {run.weather} in place of {caption.time}, {caption.weather}",
                )
            ],
            "Same boxes, map, cameras and noise; only the time of day and the weather are told differently.",
        ),
    )
    facts = {
        "clip": f"{clip.scene} of town {run.town_seed}: {clip.length} frames at {clip.fps:g} a second, {len(clip.views)} cameras",
        "weights": run.weights,
        "sampling": f"{steps_line(run)}, seed {run.seed}, computed in {run.dtype}",
        **{f"time: {what}": f"{seconds:.1f} s" for what, seconds in clock.seconds.items()},
        "peak memory": f"{peak_memory(HOST) / 1e9:.2f} GB",
    }
    return Report(
        "A drive through a town that does not exist",
        "Six cameras, generated from a clip's boxes, map, cameras and words, by weights that ship with this package.",
        groups,
        scores.lines(),
        facts,
        films,
        run.model_dump_json(indent=1),
    )
