"""What a score is: how it is made, what it needs, how it gathers, what it says. One line in `table.py` adds one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dwm.clip import Clip
from dwm.errors import DwmError
from dwm.evaluation.extractors import InceptionFeatures, VideoFeatures
from dwm.evaluation.features import FeatureExtractor, town_features
from dwm.evaluation.imagenet_features import ImagenetFeatures
from dwm.evaluation.networks.efficientnet import EfficientNetLite0
from dwm.evaluation.networks.files import load_features
from dwm.evaluation.networks.i3d import I3D
from dwm.evaluation.networks.inception import PREPARATIONS, Inception
from dwm.evaluation.options import EvaluationOptions
from dwm.report import ScoreLine, Video

Network = TypeVar("Network", bound=nn.Module)


@runtime_checkable
class Result(Protocol):
    """A frozen dataclass of plain numbers."""

    def line(self) -> ScoreLine:
        """The result for people, in one sentence."""
        ...


@runtime_checkable
class Score(Protocol):
    """Gathers clip by clip; keeps features, sums or tiny pictures, never videos."""

    def add(self, generated: Video, real: Video) -> None: ...

    def result(self) -> Result: ...


@runtime_checkable
class AsksForVersions(Protocol):
    """A score that also looks at the same clip generated with other words."""

    def versions(self, clip: Clip) -> tuple[Clip, ...]: ...

    def add_versions(self, videos: tuple[Video, ...]) -> None: ...


@runtime_checkable
class TakesCandidates(Protocol):
    """A score that compares with further real clips."""

    def add_candidate(self, real: Video) -> None: ...


@dataclass(frozen=True)
class Plan:
    """What will be looked at."""

    clips: int
    frames: int
    views: int


@dataclass(frozen=True)
class Tools:
    """Everything that scores share. A network is loaded when the first score asks, and looks at each video once."""

    options: EvaluationOptions
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    town: FeatureExtractor | None = None
    remembered: int = 2
    """Videos whose features are kept for the next score: a generated one and its real one."""

    @cached_property
    def inception(self) -> FeatureExtractor:
        network = self._load(Inception(), "inception")
        return Memory(InceptionFeatures(network, PREPARATIONS[self.options.fid_as]), self.remembered)

    @cached_property
    def i3d(self) -> FeatureExtractor:
        return Memory(VideoFeatures(self._load(I3D(), "i3d"), self.options.fvd_frames), self.remembered)

    @cached_property
    def imagenet(self) -> FeatureExtractor:
        return Memory(ImagenetFeatures(self._load(EfficientNetLite0(), "efficientnet")), self.remembered)

    @cached_property
    def town_features(self) -> FeatureExtractor:
        return Memory(self.town or town_features(), self.remembered)

    def _load(self, network: Network, name: str) -> Network:
        return load_features(network, name, *feature_paths(self.options, name)).to(self.device)


def feature_paths(options: EvaluationOptions, name: str) -> tuple[Path | None, Path | None]:
    """The folder and the file that options name for a feature network."""
    named = options.i3d_file if name == "i3d" else None
    return (None if options.features is None else Path(options.features)), (None if named is None else Path(named))


class Memory:
    """An extractor that remembers the videos that it saw last: several scores look at the same generated and real one."""

    def __init__(self, extractor: FeatureExtractor, remembered: int = 2) -> None:
        self._extractor, self._remembered = extractor, remembered
        self._last: list[tuple[Video, Tensor]] = []

    @property
    def width(self) -> int:
        return self._extractor.width

    def __call__(self, video: Video) -> Float[Tensor, "n d"]:
        for earlier, features in self._last:
            if earlier is video:
                return features
        features = self._extractor(video)
        self._last = [*self._last, (video, features)][-self._remembered :]
        return features


@dataclass(frozen=True)
class ScoreKind:
    """`make` loads what the score needs, so that a file that is missing is told before anything is generated.

    `samples` says what one sample is: a picture, a view of a clip, or a clip; fewer than `least` of them are refused, and so
    are clips of fewer than `frames` frames.
    """

    make: Callable[[Tools], Score]
    samples: str = "clip"
    least: int = 1
    frames: int = 1

    def check(self, name: str, plan: Plan) -> None:
        """Raises DwmError where the plan cannot be scored."""
        if plan.frames < self.frames:
            raise DwmError(
                f"{name}: needs clips of at least {self.frames} frames, these have {plan.frames}; take more --frames"
            )
        each = {"picture": plan.frames * plan.views, "view": plan.views, "clip": 1}[self.samples]
        if plan.clips * each < self.least:
            raise DwmError(
                f"{name}: {plan.clips} clips of {plan.frames} frames and {plan.views} views give {plan.clips * each} samples, it "
                f"needs at least {self.least}; take more --clips"
            )
