"""`evaluate`: generates clips, looks at each next to its real video, and gathers the scores. It never trains."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from dwm.clip import Clip
from dwm.data import collate
from dwm.errors import DwmError
from dwm.evaluation.features import FeatureExtractor, town_features
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.prompts import PromptResponse, brightness, respond, told
from dwm.evaluation.retrieval import Retrieval, layout_retrieval, thumbnails
from dwm.evaluation.town_fid import FrechetScore, TownFid
from dwm.progress import track
from dwm.report import ScoreLine, Video, real_video
from dwm.storage import atomic_write

Generate = Callable[[Clip, int], Video]
"""Gives the video of a clip for a seed; reads the clip's captions, boxes, map and cameras, never its pictures."""


@dataclass(frozen=True)
class Scores:
    """What was measured over `clips` clips in `seconds`; a score that was not asked for is None."""

    clips: int
    seconds: float
    layout_retrieval: Retrieval | None = None
    prompt_response: PromptResponse | None = None
    town_fid: TownFid | None = None

    def save(self, path: str | Path) -> Path:
        """Writes the scores as JSON."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return Path(path)

    def lines(self) -> tuple[ScoreLine, ...]:
        """The scores for people, one sentence each."""
        return tuple(
            line(score)
            for line, score in (
                (_retrieval_line, self.layout_retrieval),
                (_response_line, self.prompt_response),
                (_fid_line, self.town_fid),
            )
            if score is not None
        )


def evaluate(
    generate: Generate,
    clips: Sequence[Clip],
    options: EvaluationOptions = EvaluationOptions(),
    candidates: Sequence[Clip] = (),
    features: FeatureExtractor | None = None,
    on_clip: Callable[[int, Video, Video], None] | None = None,
) -> Scores:
    """Scores over `clips`, whose pictures are the truth.

    `candidates` are further real clips among which layout_retrieval must find the own one. `on_clip` sees each clip's number,
    generated and real video. Only tiny pictures and sums are kept: any number of clips fits into memory.
    Raises DwmError where there are no clips, or a clip has no pictures.
    """
    if not clips:
        raise DwmError("evaluate: no clips were given; name scenes, or take another --data")
    started = time.monotonic()
    gathering = _Gathering(options, features)
    for number, clip in enumerate(track(clips, "evaluate", unit="clips")):
        generated = generate(clip, options.seed + number)
        real = _real(clip, generated.size)
        gathering.add(generated, real)
        if "prompt_response" in options.scores:
            gathering.respond(generate, clip, options.seed + number, generated)
        if on_clip is not None:
            on_clip(number, generated, real)
    for clip in candidates:
        gathering.real.append(thumbnails(_real(clip, generated.size)))
    return gathering.scores(len(clips), time.monotonic() - started)


@dataclass
class _Gathering:
    """What is kept of each clip: tiny pictures, brightness, sums of features."""

    options: EvaluationOptions
    features: FeatureExtractor | None
    generated: list[torch.Tensor] = field(default_factory=list)
    real: list[torch.Tensor] = field(default_factory=list)
    night: list[float] = field(default_factory=list)
    day: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        wanted = "town_fid" in self.options.scores
        self.fid = FrechetScore(self.features or town_features()) if wanted else None

    def add(self, generated: Video, real: Video) -> None:
        self.generated.append(thumbnails(generated))
        self.real.append(thumbnails(real))
        if self.fid is not None:
            self.fid.add_generated(generated)
            self.fid.add_real(real)

    def respond(self, generate: Generate, clip: Clip, seed: int, generated: Video) -> None:
        for word, found in ((self.options.night, self.night), (self.options.day, self.day)):
            other = told(clip, time=word)
            # Sampling is the time that an evaluation takes: a clip that says the word already is not made twice.
            video = generated if other.captions == clip.captions else generate(other, seed)
            found.append(float(brightness(video)[0]))

    def scores(self, clips: int, seconds: float) -> Scores:
        wanted = self.options.scores
        return Scores(
            clips,
            seconds,
            layout_retrieval(torch.cat(self.generated), torch.cat(self.real)) if "layout_retrieval" in wanted else None,
            respond(self.night, self.day) if "prompt_response" in wanted else None,
            self.fid.result() if self.fid is not None else None,
        )


def _real(clip: Clip, size: tuple[int, int]) -> Video:
    if clip.pictures is None:
        raise DwmError(f"clip {clip.scene}: has no pictures to compare with; evaluate needs real ones")
    return real_video(collate([clip], size=size, layout=None), clip.views)


def _retrieval_line(score: Retrieval) -> ScoreLine:
    meaning = (
        f"For {score.hits} of {score.clips} clips the generated video is nearer to its own real video than to each of the other "
        f"{score.candidates - 1}, compared as pictures of 28×16 pixels; {score.hits_without_colour} when each clip's mean colour "
        f"is taken away first. Guessing finds {score.clips / score.candidates:.2g}."
    )
    return ScoreLine("layout_retrieval", f"{score.hits} of {score.clips}", meaning)


def _response_line(score: PromptResponse) -> ScoreLine:
    night, day = (sum(values) / len(values) for values in (score.night, score.day))
    meaning = (
        f"{score.darker} of {score.clips} clips come out darker when told that it is night than when told that it is day; "
        f"the mean brightness is {night:.2f} by night and {day:.2f} by day."
    )
    return ScoreLine("prompt_response", f"{score.darker} of {score.clips}", meaning)


def _fid_line(score: TownFid) -> ScoreLine:
    scale = (
        ""
        if score.between_real_halves is None
        else f" Two halves of the real clips are {score.between_real_halves:.2f} apart."
    )
    meaning = (
        f"How far {score.generated_pictures} generated pictures lie from {score.real_pictures} real ones in the features of a "
        f"small network learned on the town; 0 is the same set.{scale} Not Inception FID, and not comparable to it."
    )
    return ScoreLine("town_fid", f"{score.distance:.2f}", meaning)
