"""A drive as a run that can be saved and driven again: which world, which weights, what was done, what is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

import dwm.town.dataset  # noqa: F401  the town draws itself into the table of formats
from dwm import progress
from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import resolve
from dwm.drive.broadcast import Broadcast, check_address
from dwm.drive.script import AUTOPILOT, Control, Recorder, Script
from dwm.drive.source import Moment, Source
from dwm.drive.sources.carla import carla_source
from dwm.drive.sources.replay import replay_source
from dwm.drive.sources.town import town_source
from dwm.drive.world import DrivingWorld
from dwm.errors import DwmError
from dwm.generation import WeightsCard
from dwm.options import Names, Options
from dwm.runs.drive_folder import NAMES, DriveFolder
from dwm.runs.generate import loaded
from dwm.runs.precision import DtypeChoice
from dwm.runs.steps import with_sampling
from dwm.screen import say
from dwm.storage import check_folder

SECONDS = 15.0
"""Of a drive that nobody says the length of."""


class DriveRun(Options):
    """What `dwm drive` drives through. A field that is null takes what the weights were trained with."""

    verb: Literal["drive"] = Field("drive", description="what this file runs")
    weights: str = Field("town", description="folder of weights, or town for the built-in ones")
    base_model: str | None = Field(None, description="folder of the base model where it does not lie with the weights")
    data: str | None = Field(None, description="data set whose scene is driven again; null: the embedded town")
    version: str | None = Field(None, description="version of the data set; null: the one that is there")
    scene: str | None = Field(None, description="scene of the data set, or number of the town's; null: the first")
    start: float = Field(0.0, ge=0, description="seconds into a data set's scene at which the drive begins")
    town: int = Field(0, ge=0, lt=1_000_000_000, description="seed of the town's streets")
    carla: str | None = Field(None, max_length=300, description="HOST:PORT of a CARLA server that is driven in")
    views: Names | None = Field(None, description="cameras")
    size: tuple[int, int] | None = Field(None, description="width and height of a picture in pixels")
    fps: float | None = Field(None, ge=0.5, le=60, description="ticks of the world in a second")
    fast: bool | None = Field(
        None,
        description="the network for few steps; null: where the weights have one and steps and guidance are left open",
    )
    steps: int | None = Field(None, ge=1, le=1000, description="sampling steps")
    guidance: float | None = Field(None, ge=0, description="how closely to follow the conditions; 1: not beyond them")
    overlap: int | None = Field(
        None, ge=1, le=64, description="frames that a window takes over, if weights cannot stream"
    )
    prompt: str = Field("", max_length=2000, description="words for all views at the beginning; none: the world's own")
    time: str = Field("", description="time of day; empty: the world's own")
    weather: str = Field("", description="weather; empty: the world's own")
    seed: int = Field(0, ge=0, lt=2**31, description="of the noise and of chance; same seed and actions, same pictures")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or npu")
    dtype: DtypeChoice = Field("auto", description="what weights are held and computed in; auto: what is fastest there")
    force: bool = Field(False, description="try sizes and views that the weights never saw")


@dataclass(frozen=True)
class Driven:
    """A finished drive: pictures a second that came, and what happened, each note with its second."""

    run: DriveRun
    ticks: int
    pictures: int
    seconds: float
    digest: str
    last: Moment
    notes: tuple[tuple[float, str], ...]
    files: tuple[Path, ...]


def run_of(script: Script, path: Path) -> DriveRun:
    """The run of a record. Raises DwmError for a script that has none."""
    if script.run is None:
        raise DwmError(
            f"{path}: is a script, not a record of a drive: its first line holds no run; drive it by --script"
        )
    try:
        return DriveRun.model_validate(script.run)
    except ValidationError as error:
        fault = error.errors()[0]
        raise DwmError(f"{path}: run.{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def completed(run: DriveRun, card: WeightsCard) -> DriveRun:
    """The same run with every null that the weights answer filled in, so that its record says everything."""
    if run.fast is None and run.steps is None and run.guidance is None:
        run = run.with_(fast=card.fast is not None)
    return with_sampling(run, card).with_(
        views=run.views or card.views,
        size=run.size or (card.sizes[0] if card.sizes else None),
        fps=run.fps or card.fps,
    )


def source_of(run: DriveRun) -> Source:
    """The world's source. Raises DwmError for a scene that is not there."""
    fps = run.fps or 4.0
    if run.carla is not None:
        named = next((name for name in ("data", "scene", "start", "town") if getattr(run, name)), None)
        if named is not None:
            raise DwmError(f"--carla is a world of its own; leave out --{named}")
        return carla_source(run.carla, fps)
    if run.data is not None:
        return replay_source(run.data, run.scene, run.start, fps, run.views, run.version)
    number = run.scene or "0"
    if not (number.isascii() and number.isdecimal() and len(number) < 7):
        raise DwmError(f"--scene {number}: the town's scenes are numbers from 0 on")
    if run.start:
        raise DwmError("--start is of a data set's scene; the town's begins where it begins")
    return town_source(run.town, int(number), fps, run.time or None, run.weather or None)


def opened(run: DriveRun, with_real: bool = False) -> tuple[DriveRun, DrivingWorld]:
    """The run with all it leaves to the weights, and its world. What is wrong is found before large files are read."""
    card = read_card(resolve(run.weights))
    run = completed(run, card)
    source = source_of(run)
    try:
        return _world_of(run, source, card, with_real)
    except BaseException:
        source.close()
        raise


def _world_of(run: DriveRun, source: Source, card: WeightsCard, with_real: bool) -> tuple[DriveRun, DrivingWorld]:
    if set(run.views or ()) != set(source.rig.names):
        source = _with_views(source, run)
    if not run.force and run.size is not None:
        card.check(run.size, card.window or 1, len(source.rig.names), source.rig.names)
    pipe = loaded(run)
    run = run.with_(dtype=pipe.computes_in)
    if run.fast and not progress.QUIET:
        say(f"drawn in {run.steps} steps without guidance by the network for few steps (--no-fast: by the whole one)")
    world = DrivingWorld(pipe, source, run.seed, run.size, run.steps, run.guidance, run.overlap, with_real, run.force)
    begin(world, run)
    return run, world


def begin(world: DrivingWorld, run: DriveRun, seed: int | None = None) -> Moment:
    """The run's beginning, with its words."""
    world.reset(run.seed if seed is None else seed)
    world.tell(run.prompt or None)
    if (run.data is not None or run.carla is not None) and (run.time or run.weather):
        world.change(run.time or None, run.weather or None)
    return world.moment


def _with_views(source: Source, run: DriveRun) -> Source:
    missing = next((view for view in run.views or () if view not in source.rig.names), None)
    if missing is not None:
        raise DwmError(f"--views: {source.name} has no camera {missing}; it has {', '.join(source.rig.names)}")
    raise DwmError(f"--views: {source.name} is driven with all of its cameras: {', '.join(source.rig.names)}")


def drive(
    run: DriveRun,
    script: Script = AUTOPILOT,
    output: Path | None = None,
    ticks: int | None = None,
    send_to: str | None = None,
) -> Driven:
    """Drives a script without a page, writes films, record and scenes into `output`, and sends pictures to an address."""
    if output is not None:
        check_folder(output, NAMES)
    if send_to is not None:
        check_address(send_to)
    run, world = opened(run, with_real=output is not None)
    if not progress.QUIET:
        say(world.way)
    ticks = ticks or script.ticks or round(SECONDS * world.source.fps)
    with ExitStack() as stack:
        stack.callback(world.source.close)
        line = folder = None
        if send_to is not None:
            line = stack.enter_context(closing(Broadcast(send_to, world.source.fps, world.views, ticks)))
        if output is not None:
            folder = stack.enter_context(closing(DriveFolder(output, run, world)))
        driven = _driven(run, world, script, ticks, folder, line)
    return driven if folder is None else replace(driven, files=folder.files)


def _driven(
    run: DriveRun,
    world: DrivingWorld,
    script: Script,
    ticks: int,
    folder: DriveFolder | None = None,
    line: Broadcast | None = None,
) -> Driven:
    notes: list[tuple[float, str]] = []
    started, count, digest = time.monotonic(), 0, Recorder.new_digest()
    for control in progress.track(controls(script, ticks), "drive", ticks, "frames"):
        if control.reset is not None:
            begin(world, run, control.reset)
        replace(control, reset=None).apply(world)
        pictures, moment = world.step(control.action)
        notes += [(moment.time, note) for note in moment.notes]
        if folder is not None:
            folder.tick(control, pictures)
        for picture in pictures:
            digest.update(picture.views.tobytes())
            if line is not None:
                line.send(picture)
        count += len(pictures)
    seconds = time.monotonic() - started
    return Driven(run, ticks, count, seconds, digest.hexdigest(), world.moment, tuple(notes), ())


def controls(script: Script, ticks: int) -> Iterator[Control]:
    """What is done in each tick: changes once, the action until another comes."""
    waiting = list(script.controls)
    action = (
        waiting[0].action
        if waiting and waiting[0].tick == 0
        else replace(AUTOPILOT.controls[0].action, autopilot=False)
    )
    for tick in range(ticks):
        if waiting and waiting[0].tick == tick:
            control = waiting.pop(0)
            action = control.action
            yield control
        else:
            yield Control(tick, action)
