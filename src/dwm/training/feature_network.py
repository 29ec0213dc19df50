"""Trains the small network behind `town_fid`: to read a caption's words off a picture, to see where boxes and lanes are, and blur.

The three questions make its features notice light, weather and walls, where things are, and damage. Pictures are RGB in [0, 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from dwm.errors import DwmError
from dwm.evaluation.features import FeatureNetwork, FeatureOptions, save_network
from dwm.options import Options
from dwm.training.clips import ClipCache
from dwm.training.loop import LoopOptions, step_generator, train_task
from dwm.training.optimizers import OptimizerOptions, ScheduleOptions

COMMON, RARE = 0.97, 0.03
"""A word that nearly all or hardly any clips hold teaches nothing."""


class FeatureTaskOptions(Options):
    batch: int = Field(24, gt=0, description="pictures a step, drawn from all clips, frames and views")
    words: float = Field(1.0, ge=0, description="weight of guessing the caption's words")
    layout: float = Field(1.0, ge=0, description="weight of guessing the layout at the features' resolution")
    sharpness: float = Field(1.0, ge=0, description="weight of guessing how much a picture was blurred")
    largest_blur: float = Field(3.0, ge=1, description="by how much a damaged picture is shrunk and enlarged at most")


FEATURE_LOOP = LoopOptions(
    steps=1200,
    ema_decay=0.99,
    optimizer=OptimizerOptions(lr=2e-3, weight_decay=1e-4),
    schedule=ScheduleOptions(warmup=50, decay=0.6),
)


@dataclass(frozen=True)
class FeatureBatch:
    """Single pictures with what they show."""

    pictures: Float[Tensor, "n 3 h w"]
    layouts: Float[Tensor, "n c h w"]
    words: Float[Tensor, "n k"]


class FeatureTask:
    """Trains a feature network on single pictures of the first `clips` clips of a cache."""

    def __init__(
        self,
        network: FeatureNetwork,
        cache: ClipCache,
        clips: int,
        seed: int,
        options: FeatureTaskOptions = FeatureTaskOptions(),
    ):
        self.module, self.cache, self.clips, self.seed, self.options = network, cache, clips, seed, options

    def batches(self, start: int) -> Iterator[FeatureBatch]:
        number = start
        while True:
            yield self._draw(step_generator(self.seed + 1, number))
            number += 1

    def losses(self, batch: FeatureBatch, generator: torch.Generator) -> dict[str, Tensor]:
        pictures, blur = damaged(batch.pictures, self.options.largest_blur, generator)
        grid = self.module(pictures)
        pooled = grid.mean(dim=(2, 3))
        parts = {
            "words": F.binary_cross_entropy_with_logits(self.module.words(pooled), batch.words),
            "layout": F.mse_loss(self.module.layout(grid), 4 * F.adaptive_avg_pool2d(batch.layouts, grid.shape[-2:])),
            "sharpness": F.mse_loss(self.module.sharpness(pooled)[:, 0], blur),
        }
        return {"loss": sum(getattr(self.options, name) * part for name, part in parts.items()), **parts}

    def _draw(self, generator: torch.Generator) -> FeatureBatch:
        def draw(bound: int) -> int:
            return int(torch.randint(bound, (), generator=generator))

        pictures, layouts, words = [], [], []
        for _ in range(self.options.batch):
            frame, view = draw(self.cache.frames), draw(self.cache.views)
            part = self.cache.clip(draw(self.clips), slice(frame, frame + 1), slice(view, view + 1))
            if part.frames is None or part.layout_boxes is None or part.layout_map is None or part.captions is None:
                raise DwmError(f"{self.cache.folder}: clips need pictures, both layouts and captions for this training")
            pictures.append(part.frames[0, 0, 0])
            layouts.append(torch.cat([part.layout_boxes[0, 0, 0], part.layout_map[0, 0, 0]]))
            said = set(split_words(part.captions[0][0][0]))
            words.append(torch.tensor([float(word in said) for word in self.module.options.words]))
        return FeatureBatch(torch.stack(pictures), torch.stack(layouts), torch.stack(words))


def damaged(
    pictures: Float[Tensor, "n 3 h w"], largest: float, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n"]]:
    """Every second picture shrunk and enlarged again, all by one factor; and how much each one was, 0 … 1."""
    share = torch.rand((), generator=generator)
    size = pictures.shape[-2:]
    small = [max(2, round(side / float(1 + share * (largest - 1)))) for side in size]
    blurred = F.interpolate(pictures[::2], small, mode="bilinear", antialias=True)
    result = pictures.clone()
    result[::2] = F.interpolate(blurred, size, mode="bilinear")
    blur = torch.zeros(len(pictures))
    blur[::2] = share
    return result, blur


def split_words(caption: str) -> list[str]:
    return caption.replace(".", " ").replace(",", " ").lower().split()


def telling_words(cache: ClipCache, clips: int) -> tuple[str, ...]:
    """The words that some but not all clips hold, sorted."""
    counts: Counter[str] = Counter()
    for index in range(clips):
        captions = cache.clip(index, slice(0, 1), slice(0, 1), ()).captions
        counts.update(set(split_words(captions[0][0][0])) if captions else ())
    return tuple(sorted(word for word, count in counts.items() if RARE * clips < count < COMMON * clips))


def train_features(
    cache: ClipCache,
    clips: int,
    runs: Path,
    output: Path,
    loop: LoopOptions = FEATURE_LOOP,
    options: FeatureOptions = FeatureOptions(),
    seed: int = 0,
) -> FeatureNetwork:
    """Trains a network on the first `clips` clips, keeping saves under `runs`, and writes its averaged weights to `output`."""
    options = options.with_(words=telling_words(cache, clips))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = FeatureNetwork(options)
    training = train_task(FeatureTask(network, cache, clips, seed), loop, runs)
    network.load_state_dict({**network.state_dict(), **training.ema.average})
    save_network(network, output)
    return network
