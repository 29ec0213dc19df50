"""`evaluate`: generates clips, looks at each next to its real video, and gathers the scores. It never trains."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from dwm.clip import Clip
from dwm.data import collate
from dwm.errors import DwmError
from dwm.evaluation.features import FeatureExtractor
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.score import AsksForVersions, Plan, Result, Score, TakesCandidates, Tools
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

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in known_scores():
            raise AttributeError(name)
        return self.results.get(name)

    def values(self) -> dict[str, Any]:
        """Everything as plain values, each score under its name."""
        values = {name: asdict(result) for name, result in self.results.items()}
        return {"clips": self.clips, "seconds": self.seconds, **values, **self._remarks()}

    def _remarks(self) -> dict[str, Any]:
        """What else is to be known; nothing where all went well."""
        remarks = {"left_out": list(self.left_out), "not_computed": dict(self.not_computed)}
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
    gathering = Gathering(options, scores)
    for number, clip in enumerate(track(clips, "evaluate", unit="clips")):
        generated, real = gathering.add(generate, clip, options.seed + number)
        if on_clip is not None:
            on_clip(number, generated, real)
    for clip in candidates:
        gathering.add_candidate(clip)
    return gathering.scores(len(clips), time.monotonic() - started, missing)


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


@dataclass
class Gathering:
    """Feeds every score clip by clip."""

    options: EvaluationOptions
    by_name: Mapping[str, Score]
    size: tuple[int, int] | None = None
    left_out: list[str] = field(default_factory=list)

    def add(self, generate: Generate, clip: Clip, seed: int) -> tuple[Video, Video]:
        """Generates a clip, and gives it to the scores together with its real video; both are given back."""
        generated = self._sized(generate(clip, seed), clip)
        real = _real(clip, generated.size)
        if self._whole(clip, generated, "generated") and self._whole(clip, real, "real"):
            for score in self.by_name.values():
                score.add(generated, real)
                if isinstance(score, AsksForVersions):
                    self._add_versions(score, generate, clip, seed, generated)
        return generated, real

    def _add_versions(
        self, score: AsksForVersions, generate: Generate, clip: Clip, seed: int, generated: Video
    ) -> None:
        # Sampling is the time that an evaluation takes: a version that says what the clip says is not made twice.
        versions = tuple(
            generated if other.captions == clip.captions else generate(other, seed) for other in score.versions(clip)
        )
        if all(self._whole(clip, video, "re-prompted") for video in versions):
            score.add_versions(versions)

    def add_candidate(self, clip: Clip) -> None:
        real = _real(clip, self.size or (0, 0))
        for score in self.by_name.values():
            if isinstance(score, TakesCandidates):
                score.add_candidate(real)

    def scores(self, clips: int, seconds: float, missing: Mapping[str, str]) -> Scores:
        if len(self.left_out) == clips:
            raise DwmError(f"evaluate: nothing can be scored: {self.left_out[0]}")
        results: dict[str, Result] = {name: score.result() for name, score in self.by_name.items()}
        return Scores(clips, seconds, results, tuple(self.left_out), missing)

    def _sized(self, video: Video, clip: Clip) -> Video:
        """At the protocol's size; without one, all clips must have the first one's."""
        size = self.options.size or self.size
        if size is not None and video.size != size:
            if self.options.size is None:
                raise DwmError(
                    f"evaluate: clip {clip.scene} is {video.size[0]}×{video.size[1]} but earlier ones are {size[0]}×{size[1]}; "
                    "generate one size, or say to which they are resized (scores.size)"
                )
            video = _resized(video, size)
        self.size = video.size
        return video

    def _whole(self, clip: Clip, video: Video, side: str) -> bool:
        bad = int((~torch.isfinite(video.frames)).flatten(3).any(dim=-1).sum())
        if bad:
            pictures = video.frames[:, :, :, 0, 0, 0].numel()
            self.left_out.append(f"{clip.scene}: {bad} of {pictures} {side} pictures have values that are not numbers")
            note(f"not scored: {self.left_out[-1]}")
        return not bad


def _real(clip: Clip, size: tuple[int, int]) -> Video:
    if clip.pictures is None:
        raise DwmError(f"clip {clip.scene}: has no pictures to compare with; evaluate needs real ones")
    return real_video(collate([clip], size=size, layout=None), clip.views)


def _resized(video: Video, size: tuple[int, int]) -> Video:
    flat = F.interpolate(video.frames.flatten(0, 2), size[::-1], mode="bilinear", antialias=True, align_corners=False)
    return Video(flat.unflatten(0, video.frames.shape[:3]), video.fps, video.views)
