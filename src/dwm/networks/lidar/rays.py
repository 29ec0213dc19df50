"""Sweeps as images that a network denoises: of each ray what it meets, how far away, and how bright. Has no weights.

Where boxes and the ground are is told, so that an image need only say which of them a ray meets; what the layout knows nothing of
(houses, trees) has a distance of its own.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dwm.clip_batch import SweepBatch
from dwm.data.rays import NOWHERE, RayOptions, directions

SLACK = 0.15
"""Metres by which a box is taken larger: annotations and ranges are that exact."""
UNEVEN = 0.02
"""Share of its distance by which the ground may be elsewhere."""
DEPTH = 3.0
"""Metres behind a box's surface that count 1."""


def ray_images(
    ranges: Float[Tensor, "*n 2 R C"], surfaces: Float[Tensor, "*n 3 R C"], options: RayOptions
) -> Float[Tensor, "*n 4 R C"]:
    """Ranges (metres) and intensities (0 … 255), and the surfaces that the layout tells of → images of -1 … 1.

    Channels: whether a ray meets the told box; whether it meets what nobody told of (else it is the ground, or nothing); how far
    that is; how bright.
    """
    distance, shine = ranges.unbind(-3)
    enter, leave, ground = surfaces.unbind(-3)
    in_box = (distance > enter - SLACK) & (distance < leave + SLACK) & (enter < options.farthest)
    usual = (distance - ground).abs() < SLACK + UNEVEN * ground.clamp_max(options.farthest)
    other = ~in_box & ~usual
    behind = ((distance - enter) / DEPTH).clamp(0, 1)
    offset = torch.where(in_box, behind, torch.where(other, _closeness(distance, options), 0.0))
    bright = (shine / 255).clamp(0, 1).sqrt()
    return torch.stack([in_box.float(), other.float(), offset, bright], -3) * 2 - 1


def ray_ranges(
    images: Float[Tensor, "*n 4 R C"], surfaces: Float[Tensor, "*n 3 R C"], options: RayOptions
) -> Float[Tensor, "*n 2 R C"]:
    """Images → ranges (metres, `NOWHERE`: no echo) and intensities (0 … 255)."""
    in_box, other, offset, bright = ((images + 1) / 2).unbind(-3)
    enter, leave, ground = surfaces.unbind(-3)
    in_box = torch.where(enter < options.farthest, in_box, 0.0)
    usual = 1 - in_box - other
    share = torch.maximum(in_box, other)
    # Between two answers an image is their mean: the share says how much of the distance is this one's.
    offset = offset / share.clamp(0.5, 1)
    inside = torch.minimum(enter + DEPTH * offset.clamp(0, 1), leave)
    apart = _distance(offset, options)
    distance = torch.where(share < usual, ground, torch.where(in_box >= other, inside, apart))
    echo = (distance >= options.nearest) & (distance < options.farthest)
    return torch.stack([torch.where(echo, distance, NOWHERE), bright.clamp(0, 1).square() * 255], -3)


def ray_points(ranges: Float[Tensor, "2 R C"], options: RayOptions) -> Float[Tensor, "n 5"]:
    """One sweep's ranges and intensities → x, y, z in metres in the LiDAR's frame, intensity, ring; column by column."""
    rays = torch.from_numpy(directions(options)).to(ranges)
    ring = torch.arange(options.beams, device=ranges.device).to(ranges)[:, None].expand(options.shape)
    whole = torch.cat([rays * ranges[0][..., None], ranges[1].round()[..., None], ring[..., None]], -1)
    return whole.transpose(0, 1)[(ranges[0] < options.farthest).T]


class RayCodec(nn.Module):
    """A batch's sweeps as images, and back. Like the autoencoders, but without weights."""

    def __init__(self, options: RayOptions) -> None:
        super().__init__()
        self.options = options

    def encode(self, sweeps: SweepBatch) -> Float[Tensor, "b t 4 R C"]:
        """Raises ValueError for sweeps that were not prepared along rays."""
        if sweeps.ranges is None or sweeps.surfaces is None:
            raise ValueError("sweeps without ranges")
        return ray_images(sweeps.ranges.float(), sweeps.surfaces.float(), self.options)

    def decode(
        self, images: Float[Tensor, "*n 4 R C"], surfaces: Float[Tensor, "*n 3 R C"]
    ) -> Float[Tensor, "*n 2 R C"]:
        return ray_ranges(images, surfaces, self.options)


def _closeness(distance: Tensor, options: RayOptions) -> Tensor:
    return 1 - distance.clamp(max=options.farthest).log1p() / math.log1p(options.farthest)


def _distance(closeness: Tensor, options: RayOptions) -> Tensor:
    return ((1 - closeness.clamp(0, 1)) * math.log1p(options.farthest)).expm1()
