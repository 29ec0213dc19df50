"""Runs OpenDWM's generation examples: one picture or video for each input, and how long they took."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from dwm.config import save
from dwm.devices import synchronize
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.opendwm.commands.example_runs import ExampleInput, ExampleRun, clip_of
from dwm.opendwm.config.port_paths import with_root
from dwm.opendwm.runs import read_run
from dwm.report import Video
from dwm.runs.published import published_pipeline
from dwm.storage import atomic_write, check_folder
from dwm.training.parallel.ranks import current_ranks, group


@dataclass(frozen=True)
class Timed:
    """One input's runs. shapes: the latents of all frames, and those of one window."""

    number: int
    video: Video
    seconds: tuple[float, ...]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


def read_example(path: str | Path, root: Path | None = None) -> ExampleRun:
    """An example of OpenDWM's or ours, its files below `root` where one is given. Raises DwmError where it holds no inputs."""
    run = read_run(path)
    if not isinstance(run, ExampleRun):
        raise DwmError(f"{path}: holds no inputs; examples with a data set are run by src/dwm/preview.py")
    return run if root is None else run.with_(run=with_root(run.run, root))


def run_example(
    example: ExampleRun,
    output: Path,
    repeat: int = 1,
    tiny: bool = False,
    source: str = "config",
    say: Callable[[str], None] = print,
) -> list[Timed]:
    """Generates every input into `output`/{i}.png or .mp4, and writes `inference_stats.json`. `tiny`: the built-in weights."""
    check_folder(output, ("config.json", "inference_stats.json"))
    with group("auto" if tiny else example.run.device) as device:
        return _shared_example(example, output, repeat, tiny, source, say, device)


def _shared_example(
    example: ExampleRun,
    output: Path,
    repeat: int,
    tiny: bool,
    source: str,
    say: Callable[[str], None],
    device: torch.device,
) -> list[Timed]:
    """Of several processes that torchrun started each takes its share of the inputs; the first gets the times of all."""
    run, ranks = example.run, current_ranks()
    pipe = _tiny(device) if tiny else published_pipeline(run.with_(device=str(device)), source)
    draws = Draws(run.training.seed, continued=run.compatibility == "reference", shared=ranks.count > 1)
    mine = [(number, item) for number, item in enumerate(example.inputs) if number % ranks.count == ranks.rank]
    if repeat > 1 and mine:
        _once(pipe, mine[0][1], tiny, draws.of(mine[0][0]))
    results = []
    for number, item in mine:
        runs = [_once(pipe, item, tiny, draws.of(number)) for _ in range(repeat)]
        result = Timed(number, runs[0][0], tuple(spent for _, spent in runs), _latent_shapes(pipe, runs[0][0]))
        for line in _lines(result, item, repeat):
            say(line)
        result.video.save(output / f"{number}.{'png' if result.video.length == 1 else 'mp4'}")
        results.append(result)
    samples = ranks.gather([_sample(result, example.inputs[result.number].fps) for result in results])
    if ranks.first:
        save(example, output)
        _write_statistics(sorted((one for part in samples for one in part), key=itemgetter("id")), output)
    return results


@dataclass
class Draws:
    """Noise for one run after another: OpenDWM's generator goes on from input to input, ours starts anew for each.

    Where several processes share the inputs (`shared`), each input has a seed of its own, whoever makes it.
    """

    seed: int
    continued: bool
    shared: bool = False

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def of(self, number: int) -> torch.Generator:
        """What makes the noise of input `number`."""
        if self.continued and not self.shared:
            return self._generator
        return torch.Generator().manual_seed(self.seed + (number if self.continued else 0))


def _tiny(device: torch.device) -> DrivingPipeline:
    return DrivingPipeline.from_pretrained("town", torch_dtype="auto", device=device)


def _once(pipe: DrivingPipeline, item: ExampleInput, tiny: bool, generator: torch.Generator) -> tuple[Video, float]:
    clip, words = clip_of(item)
    started = time.perf_counter()
    video = pipe(clip, prompt=words, generator=generator, size=None if tiny else item.size, force=True)
    synchronize(pipe.device)
    return video, time.perf_counter() - started


def _latent_shapes(pipe: DrivingPipeline, video: Video) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The latents of a whole video and of one window: (1, t, v, c, h, w)."""
    window = min(pipe.card.window or video.length, video.length)
    assert pipe.base.autoencoder is not None  # it made the video
    shape = pipe.base.autoencoder.latent_shape
    views = len(video.views)
    return (1, *shape(video.length, views, video.size)), (1, *shape(window, views, video.size))


def _lines(result: Timed, item: ExampleInput, repeat: int) -> list[str]:
    shape = tuple(result.video.frames.shape)
    lines = [
        f"Sample {result.number} - Run {count}/{repeat}: {spent:.4f} seconds | Shape: {shape}"
        for count, spent in enumerate(result.seconds, 1)
    ]
    summary = _summary(result.seconds, "mean_time", "std_time")
    lines.append(
        f"Sample {result.number}: mean {summary['mean_time']:.4f} s, min {summary['min_time']:.4f} s, "
        f"max {summary['max_time']:.4f} s"
    )
    if result.video.length < item.frames:
        lines.append(
            f"Sample {result.number}: frames {result.video.length} to {item.frames - 1} are not made, as the windows do not end "
            "with them (OpenDWM's way; compatibility=ours makes them too)"
        )
    if item.fps:
        each = summary["mean_time"] / result.video.length
        lines.append(f"Sample {result.number}: {each:.4f} s a frame, {1 / each:.4f} frames a second")
    return lines


def _sample(result: Timed, fps: float) -> dict[str, Any]:
    return {
        "id": result.number,
        "times": result.seconds,
        **_summary(result.seconds, "mean_time", "std_time"),
        "original_latent_shape": result.shapes[0],
        "actual_latent_shape": result.shapes[1],
        "fps": fps or None,
    }


def _write_statistics(samples: Sequence[dict[str, Any]], output: Path) -> None:
    every = [spent for sample in samples for spent in sample["times"]]
    values = {
        "total_samples": len(samples),
        "total_runs": len(every),
        "total_time": sum(every),
        **_summary(every, "avg_time", "std_time"),
        "samples": samples,
    }
    with atomic_write(output / "inference_stats.json") as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _summary(times: Sequence[float], mean: str, deviation: str) -> dict[str, float]:
    return {
        mean: statistics.fmean(times),
        deviation: statistics.pstdev(times),
        "min_time": min(times),
        "max_time": max(times),
    }
