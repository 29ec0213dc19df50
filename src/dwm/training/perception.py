"""How a picture looks to a network that knows photographs: a distance in its features, and a discriminator that stands on them.

The decoder's losses (`autoencoder`) use both. Features are lists of maps, one for each depth of `EfficientNetLite0`, whose weights
stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dwm.evaluation.networks.efficientnet import DEPTH_CHANNELS, EfficientNetLite0, scaled

Features = Sequence[Float[Tensor, "_ _ _ _"]]
JUDGED_DEPTHS = (0, 1, 2)
"""Depths whose maps the discriminator reads: edges, textures, parts of things. Deeper ones know classes, not brush strokes."""
WINDOW = 8
"""Pixels in a side of the windows whose contrast is compared."""
HEAD = 32
"""Channels of a head of the discriminator."""


def features_of(network: EfficientNetLite0, pictures: Float[Tensor, "n 3 h w"]) -> Features:
    """The features of RGB pictures in [-1, 1]."""
    return network.depths(scaled((pictures + 1) / 2))


def feature_distance(got: Features, real: Features) -> Float[Tensor, ""]:
    """The mean absolute difference at each depth, as a share of the real features' mean size; the mean over depths."""
    shares = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(got, real, strict=True)]
    return torch.stack(shares).mean()


def contrast_distance(got: Float[Tensor, "n 3 h w"], real: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
    """The mean absolute difference between the contrasts of small windows, as a share of the real ones' mean.

    A window's contrast is the root mean square of the differences between neighbouring pixels, across and down: a line that
    is drawn a pixel too far left has the right contrast, a blurred one has not.
    """
    shares = []
    for dim in (-1, -2):
        a, b = (_contrast(pictures.diff(dim=dim)) for pictures in (got, real))
        shares.append((a - b).abs().mean() / b.mean())
    return torch.stack(shares).mean()


def _contrast(differences: Tensor) -> Tensor:
    # Without the small number the root of a flat window has no gradient.
    return (F.avg_pool2d(differences.square(), WINDOW, WINDOW // 2) + 1e-4).sqrt()


class Discriminator(nn.Module):
    """A discriminator with several eyes: `pixels` sees the picture, each head one depth of its features.

    A verdict for each place and eye, positive for real; the mean over an eye's places counts the same for each eye.
    """

    def __init__(self, pixels: nn.Module, depths: Sequence[int] = JUDGED_DEPTHS):
        super().__init__()
        self.pixels, self.depths = pixels, tuple(depths)
        self.heads = nn.ModuleList(_head(DEPTH_CHANNELS[depth]) for depth in self.depths)

    def forward(self, pictures: Float[Tensor, "n 3 h w"], features: Features) -> list[Float[Tensor, "n 1 _ _"]]:
        verdicts = [head(_even(features[depth])) for head, depth in zip(self.heads, self.depths, strict=True)]
        return [self.pixels(pictures), *verdicts]


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, HEAD, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(HEAD, HEAD, 3, 1, 1),
        nn.GroupNorm(4, HEAD),
        nn.LeakyReLU(0.2),
        nn.Conv2d(HEAD, 1, 3, 1, 1),
    )


def _even(features: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
    """Brought to one size, as the depths differ in theirs; a picture's own contrast stays."""
    return F.normalize(features, dim=1) * features.shape[1] ** 0.5


def discriminator_loss(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The hinge loss, the mean over the eyes."""
    losses = [F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in zip(real, generated, strict=True)]
    return torch.stack(losses).mean()


def approval(verdicts: Sequence[Tensor]) -> Float[Tensor, ""]:
    """How real the judge finds what it saw: the mean verdict over the eyes."""
    return torch.stack([verdict.mean() for verdict in verdicts]).mean()
