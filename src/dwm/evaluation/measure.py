"""`evaluate`: generates clips, looks at each next to its real video, and gathers the scores. It never trains."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from dwm.clip import Clip
from dwm.data import collate
from dwm.errors import DwmError
from dwm.evaluation.details import Detail, details_of
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.score import AsksForVersions, Pair, Plan, Result, Score, Statistics, TakesCandidates, Tools
from dwm.evaluation.table import known_scores
from dwm.progress import note, track
from dwm.report import ScoreLine, Video, real_video
from dwm.storage import atomic_write

Generate = Callable[[Clip, int], Video]
"""Gives the video of a clip for a seed; reads the clip's captions, boxes, map and cameras, never its pictures."""


@dataclass(frozen=True)
class Scores:
    """What was measured over `clips` clips in `seconds`.

    `results` has each score's result under its name; `scores.fid` is the same, and None where it was not asked for. `left_out`
    names the clips whose pictures were not numbers, a line each: they count in no score.
    """

    clips: int
    seconds: float
    results: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    not_computed: Mapping[str, str] = field(default_factory=dict)
    """Optional scores that could not be had, with the reason."""
    details: Mapping[str, Detail] = field(default_factory=dict)
    """Intervals, and what lies behind each number."""
    scored: tuple[int, ...] = ()
    """The numbers of the clips that were scored, in the order of the details' clips."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in known_scores():
            raise AttributeError(name)
        return self.results.get(name)

    def values(self) -> dict[str, Any]:
        """Everything as plain values, each score under its name."""
        values = {name: finite_or_null(asdict(result)) for name, result in self.results.items()}
        return {"clips": self.clips, "seconds": self.seconds, **values, **self._remarks()}

    def _remarks(self) -> dict[str, Any]:
        """What else is to be known; nothing where all went well."""
        details = {name: finite_or_null(asdict(detail)) for name, detail in self.details.items()}
        remarks = {"left_out": list(self.left_out), "not_computed": dict(self.not_computed), "details": details}
        return {name: value for name, value in remarks.items() if value}

    def save(self, path: str | Path, record: Mapping[str, Any] | None = None) -> Path:
        """Writes the scores as JSON, with what else is to be known of them."""
        with atomic_write(path) as temporary:
            text = json.dumps({**self.values(), **(record or {})}, indent=2, default=str)
            temporary.write_text(text + "\n", encoding="utf-8")
        return Path(path)

    def lines(self) -> tuple[ScoreLine, ...]:
        """The scores for people, one sentence each."""
        return tuple(result.line() for result in self.results.values())


def finite_or_null(value: Any) -> Any:
    """The same with null for what is not a number, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate(
    generate: Generate,
    clips: Sequence[Clip],
    options: EvaluationOptions = EvaluationOptions(),
    candidates: Sequence[Clip] = (),
    features: FeatureExtractor | None = None,
    on_clip: Callable[[int, Video, Video], None] | None = None,
    tools: Tools | None = None,
) -> Scores:
    """Scores over `clips`, whose pictures are the truth.

    `candidates` are further real clips among which layout_retrieval must find the own one. `features` replaces those of town_fid;
    `tools` says where feature files are sought and where networks run. `on_clip` sees each clip's number, generated and real video.
    Only features, sums and tiny pictures are kept. Raises DwmError where there are no clips, a clip has no pictures, a score cannot
    be had from so few of them, or a feature file is missing: all of it before anything is generated.
    """
    if not clips:
        raise DwmError("evaluate: no clips were given; name scenes, or take another --data")
    started = time.monotonic()
    scores, missing = prepare_scores(clips, options, tools or Tools(options, town=features))
    looks = []
    for number, clip in enumerate(track(clips, "evaluate", unit="clips")):
        look, pair = look_at(scores, generate, clip, options.seed + number, options.size)
        looks.append(look)
        require_size(clip, look, looks[0])
        if on_clip is not None:
            on_clip(number, pair.generated, pair.real)
    add_candidates(scores, candidates, looks[0].size)
    return summed_up(scores, clips, looks, options, time.monotonic() - started, missing)


def prepare_scores(
    clips: Sequence[Clip], options: EvaluationOptions, tools: Tools
) -> tuple[dict[str, Score], dict[str, str]]:
    """The scores that are asked for, ready to gather; and the optional ones that cannot be had, with the reason.

    Raises DwmError for what can be seen to fail.
    """
    first, kinds = clips[0], known_scores()
    plan = Plan(len(clips), first.length, len(first.views))
    for name in options.scores:
        kinds[name].check(name, plan)
    scores = {name: kinds[name].make(tools) for name in options.scores}
    missing = {}
    for name in options.optional:
        if name not in scores:
            try:
                kinds[name].check(name, plan)
                scores[name] = kinds[name].make(tools)
            except DwmError as error:
                missing[name] = str(error)
                note(f"not computed: {error}")
    return scores, missing


@dataclass(frozen=True)
class Look:
    """What the scores keep of one clip, by score; nothing where its pictures were not numbers (`left_out` says so)."""

    size: tuple[int, int]
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    left_out: str = ""


def look_at(
    scores: Mapping[str, Score], generate: Generate, clip: Clip, seed: int, size: tuple[int, int] | None = None
) -> tuple[Look, Pair]:
    """Generates a clip, and what the scores keep of it and its real video. size: width and height of both; None: as generated."""
    generated = _at_size(generate(clip, seed), size)
    pair = Pair(clip, generated, _real(clip, generated.size))
    if left_out := broken(clip, "generated", [generated]) or broken(clip, "real", [pair.real]):
        return Look(generated.size, left_out=left_out), pair
    videos: dict[str, Video] = {}
    # Sampling is the time that an evaluation takes: a version that says what the clip says, or that another score asked for
    # already, is not made twice.
    if clip.captions is not None:
        videos[repr(clip.captions)] = generated
    statistics: dict[str, Statistics] = {}
    for name, score in scores.items():
        versions = []
        for other in score.versions(clip) if isinstance(score, AsksForVersions) else ():
            key = repr(other.captions)
            if key not in videos:
                videos[key] = _at_size(generate(other, seed), size)
            versions.append(videos[key])
        if left_out := broken(clip, "re-prompted", versions):
            return Look(generated.size, left_out=left_out), pair
        statistics[name] = score.keep(replace(pair, versions=tuple(versions)))
    return Look(generated.size, statistics), pair


def add_candidates(scores: Mapping[str, Score], candidates: Sequence[Clip], size: tuple[int, int]) -> None:
    for clip in candidates:
        real = _real(clip, size)
        for score in scores.values():
            if isinstance(score, TakesCandidates):
                score.add_candidate(real)


def summed_up(
    scores: Mapping[str, Score],
    clips: Sequence[Clip],
    looks: Sequence[Look],
    options: EvaluationOptions,
    seconds: float = 0.0,
    missing: Mapping[str, str] | None = None,
) -> Scores:
    """What the looks at all clips come to. Raises DwmError for several sizes, and where nothing can be scored."""
    for clip, look in zip(clips, looks, strict=True):
        require_size(clip, look, looks[0])
    left_out = tuple(look.left_out for look in looks if look.left_out)
    numbers = [number for number, look in enumerate(looks) if not look.left_out]
    if not numbers:
        raise DwmError(f"evaluate: nothing can be scored: {left_out[0]}")
    statistics = {name: [looks[number].statistics[name] for number in numbers] for name in scores}
    results: dict[str, Result] = {name: score.result(statistics[name]) for name, score in scores.items()}
    details = details_of(scores, statistics, [clips[number] for number in numbers], options)
    return Scores(len(looks), seconds, results, left_out, missing or {}, details, tuple(numbers))


def require_size(clip: Clip, look: Look, first: Look) -> None:
    """Raises DwmError where a clip's pictures have another size than the first one's."""
    if look.size != first.size:
        raise DwmError(
            "evaluate: clip {} is {}×{} but earlier ones are {}×{}; generate one size, or say to which they are resized "
            "(scores.size)".format(clip.scene, *look.size, *first.size)
        )


def broken(clip: Clip, side: str, videos: Sequence[Video]) -> str:
    """What is to be said of pictures with values that are not numbers; nothing where there are none."""
    bad = sum(int((~torch.isfinite(video.frames)).flatten(3).any(dim=-1).sum()) for video in videos)
    if not bad:
        return ""
    pictures = sum(video.frames[:, :, :, 0, 0, 0].numel() for video in videos)
    text = f"{clip.scene}: {bad} of {pictures} {side} pictures have values that are not numbers"
    note(f"not scored: {text}")
    return text


def _at_size(video: Video, size: tuple[int, int] | None) -> Video:
    return video if size is None or video.size == size else _resized(video, size)


def _real(clip: Clip, size: tuple[int, int]) -> Video:
    if clip.pictures is None:
        raise DwmError(f"clip {clip.scene}: has no pictures to compare with; evaluate needs real ones")
    return real_video(collate([clip], size=size, layout=None), clip.views)


def _resized(video: Video, size: tuple[int, int]) -> Video:
    flat = F.interpolate(video.frames.flatten(0, 2), size[::-1], mode="bilinear", antialias=True, align_corners=False)
    return Video(flat.unflatten(0, video.frames.shape[:3]), video.fps, video.views)
