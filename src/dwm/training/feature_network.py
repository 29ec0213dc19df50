"""Learns the filters behind `town_fid` from pictures alone: whitened patches, grouped by direction (Coates and Ng 2011).

No labels, no gradients, seconds of one core. Pictures are RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from dwm.evaluation.features import PATCH, STRIDE, FeatureNetwork, FeatureOptions, save_network
from dwm.options import Options
from dwm.training.feed.clip_cache import ClipCache


class FeatureLearning(Options):
    """How filters are learned."""

    pictures: int = Field(768, ge=2, description="pictures drawn from all clips, frames and views")
    patches: int = Field(30_000, ge=2, description="patches of them that are grouped, for each bank")
    rounds: int = Field(20, ge=1, description="rounds of grouping")
    flatness: float = Field(0.02, gt=0, description="added to the patches' variances when whitening, times the largest")
    silent: float = Field(0.8, gt=0, lt=1, description="share of the patches on which a filter stays silent")
    seed: int = Field(0, ge=0, description="of every draw")


def train_features(
    cache: ClipCache,
    clips: int,
    output: Path,
    options: FeatureOptions = FeatureOptions(),
    learning: FeatureLearning = FeatureLearning(),
) -> FeatureNetwork:
    """Learns a network from the first `clips` clips of a cache and writes it to `output`."""
    generator = torch.Generator().manual_seed(learning.seed)
    network = learn(_pictures(cache, clips, learning.pictures, generator), options, learning, generator)
    save_network(network, output)
    return network


@torch.no_grad()
def learn(
    pictures: Float[Tensor, "n 3 h w"], options: FeatureOptions, learning: FeatureLearning, generator: torch.Generator
) -> FeatureNetwork:
    """A network whose filters are the patterns of these pictures, its numbers centred and scaled on them."""
    network = FeatureNetwork(options)
    banks: Iterable[Any] = network.banks
    for bank, shrunk in zip(banks, network.scales(pictures), strict=True):
        patches = F.unfold(shrunk, PATCH, stride=STRIDE).transpose(1, 2).flatten(0, 1)
        patches = patches[torch.randint(len(patches), (learning.patches,), generator=generator)]
        filters, bias = patterns(patches, options.filters, learning, generator)
        bank.weight.copy_(filters.view_as(bank.weight))
        bank.bias.copy_(bias)
    features = network(pictures)
    network.centre.copy_(features.mean(dim=0))
    network.scale.copy_(features.std(dim=0).clamp(min=1e-4))
    return network


def patterns(
    patches: Float[Tensor, "n k"], count: int, learning: FeatureLearning, generator: torch.Generator
) -> tuple[Float[Tensor, "count k"], Float[Tensor, "count"]]:
    """Filters and biases: the directions around which whitened patches gather, silent on most of them."""
    mean = patches.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov((patches - mean).T.double()))
    whiten = ((axes / (variances.clamp(min=0) + learning.flatness * variances[-1]).sqrt()) @ axes.T).float()
    white = (patches - mean) @ whiten
    filters = _directions(F.normalize(white, dim=1), count, learning.rounds, generator) @ whiten
    answers = (patches - mean) @ filters.T
    silent = torch.stack([answer.quantile(learning.silent) for answer in answers.unbind(1)])
    return filters, -filters @ mean - silent


def _directions(
    points: Float[Tensor, "n k"], count: int, rounds: int, generator: torch.Generator
) -> Float[Tensor, "count k"]:
    """Spherical k-means: unit vectors, each the direction of the points nearest to it."""
    centres = points[torch.randperm(len(points), generator=generator)[:count]]
    for _ in range(rounds):
        nearest = (points @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        lonely = torch.bincount(nearest, minlength=count) == 0
        sums[lonely] = points[torch.randint(len(points), (int(lonely.sum()),), generator=generator)]
        centres = F.normalize(sums, dim=1)
    return centres


def _pictures(cache: ClipCache, clips: int, count: int, generator: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    def draw(bound: int) -> int:
        return int(torch.randint(bound, (), generator=generator))

    pictures = []
    for _ in range(count):
        frame, view = draw(cache.frames), draw(cache.views)
        part = cache.clip(draw(clips), slice(frame, frame + 1), slice(view, view + 1), ("frames",))
        assert part.frames is not None
        pictures.append(part.frames[0, 0, 0])
    return torch.stack(pictures)
