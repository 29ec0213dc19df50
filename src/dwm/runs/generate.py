"""One generation, as a run that can be saved and started again: which clip, told what, sampled how, written where."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dwm import progress
from dwm.checkpoints import WeightsCard
from dwm.checkpoints.locations import TOWN_LIDAR
from dwm.clip import Clip
from dwm.config.files import check_own, save
from dwm.data import ReadOptions, collate
from dwm.data.edits import Edits
from dwm.devices import pick_device, use_free_cores
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.processes import check_count
from dwm.generation.shortcuts import EXACT, Shortcuts
from dwm.options import Names, Options
from dwm.progress import track
from dwm.report import Group, Report, Shown, Video, comparison, layout_video, real_video, write_report
from dwm.runs.blank_clip import plain_clip
from dwm.runs.clips import opened_path
from dwm.runs.edits import edited
from dwm.runs.first_frame import FRONT, first_frame_clip
from dwm.runs.memory import all_words, planned
from dwm.runs.precision import DtypeChoice, chosen_dtype, precision_line
from dwm.runs.sensors import FILES as SENSOR_FILES
from dwm.runs.sensors import MadeSweeps
from dwm.runs.shortcuts import Worth, worth_of
from dwm.runs.steps import steps_line, with_sampling
from dwm.screen import say
from dwm.storage import check_folder
from dwm.training.parallel.ranks import Ranks, current_ranks, group

if TYPE_CHECKING:
    from dwm.runs.lidar.pipeline import LidarPipeline

FILES = (
    "config.json",
    "report.html",
    *(f"{name}.{kind}" for name in ("generated", "comparison") for kind in ("png", "mp4")),
    *SENSOR_FILES,
)
"""What is written into the output."""
CAMERAS, LIDAR = "cameras", "lidar"
Sensor = Literal["cameras", "lidar"]
FLAGS = ("time", "weather", "remove", "ego_left")
"""Edits that have a flag of their own."""


class GenerationRun(Options):
    """What `dwm generate` does. A field that is null takes what the weights were trained with."""

    verb: Literal["generate"] = Field("generate", description="what this file runs")
    weights: str = Field("town", description="folder of weights, or town for the built-in ones")
    base_model: str | None = Field(None, description="folder of the base model where it does not lie with the weights")
    data: str | None = Field(None, description="data set of the clip; null: no scene, only words and cameras")
    version: str | None = Field(None, description="version of the data set; null: the one that is there")
    scene: str | None = Field(None, description="name of the scene; null: the first")
    key_frames_only: bool = Field(False, description="whether sweeps between key frames are left out")
    start: float = Field(0.0, ge=0, description="seconds from the scene's first frame to the clip's")
    frames: int | None = Field(None, ge=1, le=4096, description="frames of the clip; 1: pictures")
    fps: float | None = Field(None, ge=0.01, le=1000, description="frames a second")
    views: Names | None = Field(None, description="cameras")
    sensors: tuple[Sensor, ...] = Field(
        (CAMERAS,),
        min_length=1,
        max_length=2,
        description="lidar: sweeps of the same scene beside the cameras' pictures",
    )
    lidar_weights: str = Field(
        TOWN_LIDAR, description="folder of a LiDAR run's weights, or town_lidar for the built-in ones"
    )
    size: tuple[int, int] | None = Field(None, description="width and height of a picture in pixels")
    prompt: tuple[str, ...] = Field(
        (), description="words for all views, or one entry for each; none: the clip's captions"
    )
    edits: Edits = Field(Edits(), description="what is different from the data")
    negative: str = Field("", description="what the video should not be")
    fast: bool = Field(False, description="the network for few steps, without guidance; the weights must have one")
    steps: int | None = Field(None, ge=1, le=10_000, description="sampling steps")
    guidance: float | None = Field(None, ge=0, description="how closely to follow the conditions; 1: not beyond them")
    shortcuts: Shortcuts = Field(EXACT, description="what is computed less, for almost the same pictures")
    verify: bool = Field(False, description="generate without the shortcuts as well, and say how far apart the two are")
    references: int = Field(0, ge=0, le=3, description="how many of the clip's own first frames are given")
    image: tuple[str, ...] = Field(
        (), max_length=64, description="picture files of the first frame, one for each view; without a data set"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the noise; same seed, same video")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or npu")
    dtype: DtypeChoice = Field("auto", description="what weights are held and computed in; auto: what is fastest there")
    offload: bool | None = Field(
        None, description="whether weights wait in the machine's memory while others work; null: where they must"
    )
    compile: bool = Field(False, description="compile the network first, which takes a minute; later steps are faster")
    force: bool = Field(False, description="try sizes, lengths and views that the weights never saw")


@dataclass(frozen=True)
class Generated:
    """A finished generation and what was written."""

    run: GenerationRun
    clip: Clip
    video: Video
    seconds: float
    files: tuple[Path, ...]
    worth: Worth | None = None
    sweeps: MadeSweeps | None = None


def generate(run: GenerationRun, output: Path) -> Generated:
    """Does the run and writes it into `output`. What is wrong is found before the weights' large files are read.

    Processes that a launcher started share it; the first one writes.
    """
    with group(run.device):
        return _generated(run, output, current_ranks())


def _generated(run: GenerationRun, output: Path, ranks: Ranks) -> Generated:
    from dwm.checkpoints.folder import read_card
    from dwm.checkpoints.locations import resolve

    check_folder(output, FILES)
    check_own(output)
    card = read_card(resolve(run.weights))
    run = completed(run, card)
    check(run, card)
    check_count(ranks.count, 1, run.guidance != 1)
    recorded = recorded_clip(run, card)
    clip = edited(recorded, run.edits) if run.data is not None else recorded
    lidar = sweep_pipeline(run) if LIDAR in run.sensors else None
    pipe = loaded(run, [clip])
    if ranks.count > 1:
        pipe.enable_parallelism()
    if run.compile:
        pipe.compile()
    run = run.with_(dtype=pipe.computes_in)
    started, worth = time.monotonic(), None
    if run.verify:
        exact = run.with_(shortcuts=EXACT)
        works = (lambda: sampled(pipe, clip, run)), (lambda: sampled(pipe, clip, exact, "exact"))
        video, worth = worth_of(run.shortcuts, *works, pipe.device)
    else:
        video = sampled(pipe, clip, run)
    sweeps = None if lidar is None or not ranks.first else made_sweeps(lidar, clip, recorded, run)
    seconds = time.monotonic() - started
    if run.image:  # of the later frames nothing is known that could be shown beside
        clip = replace(clip, pictures=None)
    files = tuple(written(run, clip, video, seconds, output, card, worth, sweeps)) if ranks.first else ()
    return Generated(run, clip, video, seconds, files, worth, sweeps)


def sweep_pipeline(run: GenerationRun | Any) -> LidarPipeline:
    """That of the run's LiDAR weights. Its libraries take seconds to import, and no picture needs them."""
    from dwm.runs.lidar.pipeline import LidarPipeline

    return LidarPipeline.from_pretrained(run.lidar_weights, pick_device(run.device))


def made_sweeps(lidar: LidarPipeline, clip: Clip, recorded: Clip, run: GenerationRun) -> MadeSweeps:
    """The clip with sweeps of its LiDAR; the recorded ones are of the same scene where no edit changed what stands there."""
    track = lidar(clip, recorded, run.seed)
    return MadeSweeps(replace(clip, lidar=track), lidar.rays, None if run.edits.scenery else recorded)


def completed(run: GenerationRun, card: WeightsCard) -> GenerationRun:
    """The same run with every null that the weights answer filled in, so that its file says everything."""
    window = card.window
    views = run.views or (FRONT if len(run.image) == 1 else None) or (card.views if run.data is None else None)
    return with_sampling(run, card).with_(
        frames=run.frames or window or 1,
        fps=run.fps or card.fps,
        size=run.size or (card.sizes[0] if card.sizes else None),
        views=views or card.views,
    )


def check(run: GenerationRun, card: WeightsCard) -> None:
    """Raises DwmError for what the weights never saw, or what cannot be."""
    views = run.views or ()
    if len(run.prompt) not in (0, 1, len(views)):
        raise DwmError(f"--prompt: {len(run.prompt)} texts for {len(views)} views; give one, or one for each view")
    if run.data is None:
        for name in ("scene", "version", "start", "key_frames_only"):
            if getattr(run, name):
                flag = name.replace("_", "-")
                raise DwmError(f"--{flag} {getattr(run, name)}: is of a data set's clip, and none is given; add --data")
        if run.edits.names:
            raise DwmError(f"{asked(run.edits.names)}: of a data set's clip, and none is given; add --data")
    if CAMERAS not in run.sensors:
        raise DwmError(
            "--sensors lidar: sweeps come beside pictures (cameras,lidar); alone: dwm generate -c of a LiDAR run"
        )
    if LIDAR in run.sensors and run.data is None:
        raise DwmError("--sensors lidar: sweeps are made of a clip's boxes and map; give --data (and --scene)")
    if run.image and run.data is not None:
        raise DwmError("--image: the clip of --data has pictures of its own; leave one out (--references gives those)")
    if run.image and (run.frames or 1) < 2:
        raise DwmError("--image: is the first frame, and one is asked for; take more --frames")
    if run.negative and run.guidance == 1:
        raise DwmError(
            f"--negative is told to the half that guidance pushes away from; with {'--fast' if run.fast else '--guidance 1'} "
            "there is none"
        )
    if run.guidance == 1 and not run.shortcuts.always_guided:
        raise DwmError(
            f"--guidance-interval says when guidance works; with {'--fast' if run.fast else '--guidance 1'} there is none"
        )
    if run.verify and run.shortcuts.exact:
        raise DwmError("--verify compares with an exact run, and this is one; add --cache or --guidance-interval")
    if run.edits.words and run.prompt:
        raise DwmError(
            f"{asked(run.edits.words)} changes a part of the clip's captions, which --prompt replaces; give one of them"
        )
    if run.references and run.edits.scenery and not run.force:
        raise DwmError(
            f"--references gives the clip's own pictures, which show nothing of {asked(run.edits.scenery)}; leave one out"
        )
    words = [f"--{name}" for name in ("prompt", "negative") if getattr(run, name)]
    words += [asked((name,)) for name in run.edits.words]
    if words and not card.conditions.text:
        raise DwmError(f"{words[0]}: {run.weights} are told no words; leave it out")
    if run.references and run.data is None and (not run.image or run.references > 1):
        raise DwmError("--references needs the pictures of a clip: give --data and --scene")
    if run.size is not None and (run.size[0] % 16 or run.size[1] % 16):
        sizes = ", ".join(f"{w}x{h}" for w, h in card.sizes)
        raise DwmError(
            f"--size {run.size[0]}x{run.size[1]} is not a multiple of 16"
            + (f" (seen by {run.weights}: {sizes})" if sizes else "")
        )
    if not run.force and run.size is not None:
        card.check(run.size, run.frames or 1, len(views), views)


def choose_clip(run: GenerationRun, card: WeightsCard) -> Clip:
    """The clip of a data set with its edits, or, without one, nothing but cameras."""
    clip = recorded_clip(run, card)
    return clip if run.data is None else edited(clip, run.edits)


def recorded_clip(run: GenerationRun, card: WeightsCard) -> Clip:
    """The same without edits."""
    frames, fps, views = run.frames or 1, run.fps or card.fps, run.views or card.views
    if run.image:
        return first_frame_clip(run.image, views, frames, fps)
    if run.data is None:
        if not run.prompt:
            raise DwmError("nothing to generate: give --prompt, --image, or a clip with --data (and --scene)")
        return plain_clip(views, frames, fps)
    options = ReadOptions(
        views=views,
        missing_captions="error" if not run.prompt else "empty",
        key_frames_only=run.key_frames_only,
    )
    dataset = opened_path(run.data, run.version, None, options)
    scene = dataset[run.scene] if run.scene else dataset.scenes[0]
    return scene.clip(run.start, frames, fps, views)


def asked(names: Iterable[str]) -> str:
    """Edits as the user knows them: by their flags, or as fields of `--edits`."""
    return " and ".join(f"--{name.replace('_', '-')}" if name in FLAGS else f"--edits {name}" for name in names)


def loaded(run: GenerationRun | Any, clips: Sequence[Clip] | None = None) -> DrivingPipeline:
    """The pipeline of a run on its device, in its precision and as its memory allows, which is said. Where all `clips` are
    known, their words are encoded before the network is read. Raises DwmError where the memory is too little."""
    device = pick_device(run.device)
    use_free_cores()
    dtype = chosen_dtype(run.dtype, device)
    plan = planned(run, device, dtype, clips is not None)
    if not progress.QUIET:
        say(precision_line(run.dtype, device), *plan.lines())
    words = None if plan.how == "whole" else all_words(clips or (), run)
    return DrivingPipeline.from_pretrained(
        run.weights,
        base_model=run.base_model,
        torch_dtype=dtype,
        device=device,
        words=words,
        offload=plan.how == "offload",
        fast=run.fast,
    )


def sampled(pipe: DrivingPipeline, clip: Clip, run: GenerationRun, what: str = "generate") -> Video:
    """The video, with a line of progress."""
    prompt = None if not run.prompt else run.prompt[0] if len(run.prompt) == 1 else list(run.prompt)
    with stepping(what, run.steps or 0) as on_step:
        return pipe(
            clip,
            prompt=prompt,
            negative_prompt=run.negative,
            num_inference_steps=run.steps,
            guidance_scale=run.guidance,
            seed=run.seed,
            reference_frames=run.references or int(bool(run.image)),
            size=run.size,
            force=run.force,
            callback_on_step_end=on_step,
            shortcuts=run.shortcuts,
        )


@contextmanager
def stepping(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A callback for the pipeline's steps that moves a line of progress."""
    line = iter(track(range(total), what, unit="steps"))
    next(line, None)

    def on_step(*_: Any) -> None:
        next(line, None)

    try:
        yield on_step
    finally:
        for _ in line:
            break


def written(
    run: GenerationRun,
    clip: Clip,
    video: Video,
    seconds: float,
    output: Path,
    card: WeightsCard,
    worth: Worth | None = None,
    sweeps: MadeSweeps | None = None,
) -> Iterator[Path]:
    """Writes pictures or videos, the comparison with what is known of the clip, sweeps, the page and the run; gives their paths."""
    kind = "png" if video.length == 1 else "mp4"
    yield from video.save(output / f"generated.{kind}")
    rows = beside(clip, video, card)
    if len(rows) > 1:
        yield comparison(rows).save(output / f"comparison.{kind}")
    if sweeps is not None:
        yield from sweeps.write(video, output)
    yield save(run, output)
    words = "; ".join(run.prompt) or _caption(clip) or "; ".join(run.image)
    groups = [
        Group("Generated", [Shown(name, shown, words if name == "generated" else "") for name, shown in rows.items()])
    ]
    if sweeps is not None:
        note = "Range images from behind over ahead to behind, and from above; near is red, far is blue."
        groups.append(Group("LiDAR of the same scene", [Shown("sweeps", sweeps.video, note)]))
    facts = {
        "weights": run.weights,
        "clip": f"{clip.scene or 'words only'}, {video.length} frames at {video.fps:g} a second, {len(video.views)} views",
        "sampling": f"{steps_line(run)}, seed {run.seed}, computed in {run.dtype}",
        "time": f"{seconds:.1f} s for {video.length * len(video.views)} pictures of {video.size[0]}×{video.size[1]}",
    }
    if not run.shortcuts.exact:
        facts["shortcuts"] = run.shortcuts.named() if worth is None else worth.line()
    report = Report("Generated driving video", words, groups, facts=facts, config=run.model_dump_json(indent=1))
    yield write_report(output / "report.html", report)


def beside(clip: Clip, video: Video, card: WeightsCard) -> dict[str, Video]:
    """Real, layout and generated video of a clip, as far as they are known."""
    try:
        batch = collate([clip], video.size, card.layout, pictures=clip.pictures is not None)
    except DwmError as error:  # the video is made: it must not be lost for want of something to compare it with
        warnings.warn(f"{error}; shown without the clip's own pictures", stacklevel=2)
        batch = collate([clip], video.size, card.layout, pictures=False)
    rows: dict[str, Video] = {}
    if batch.frames is not None:
        rows["real"] = real_video(batch, clip.views)
    if (layout := layout_video(batch, clip.views)) is not None:
        rows["layout"] = layout
    return {**rows, "generated": video}


def _caption(clip: Clip) -> str:
    return clip.captions[0][0].text() if clip.captions else ""
