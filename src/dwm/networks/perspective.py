"""What the network knows of its cameras: numbers embedded as sinusoids (implicit), or one ray per token (explicit)."""

from __future__ import annotations

import torch
from diffusers.models.embeddings import get_timestep_embedding
from jaxtyping import Float, Num
from torch import Tensor, nn

POSITION_OCTAVES = 8
DIRECTION_OCTAVES = 4


def sinusoid(values: Num[Tensor, "n"], width: int) -> Float[Tensor, "n width"]:
    """Cosines, then sines, of value · 10000^(−k / (width/2)), in float32."""
    return get_timestep_embedding(values, width, flip_sin_to_cos=True, downscale_freq_shift=0)


class RayEncoder(nn.Module):
    """Origin and direction of the ray through each token's centre, as sines and cosines of octaves, projected linearly.

    `position` and `direction` are the octaves of the two; published networks all have the defaults.
    """

    def __init__(
        self, width: int, position: range = range(POSITION_OCTAVES), direction: range = range(DIRECTION_OCTAVES)
    ):
        super().__init__()
        self.position, self.direction = position, direction
        self.proj = nn.Linear(6 * (len(position) + len(direction)), width, bias=False)

    def forward(self, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n h w 3"]) -> Float[Tensor, "n h w d"]:
        origin = octaves(origins, self.position)[:, None, None].expand(*directions.shape[:3], -1)
        features = torch.cat([origin, octaves(directions, self.direction)], -1)
        return self.proj(features.to(self.proj.weight.dtype))


def octaves(vectors: Float[Tensor, "*n 3"], powers: range) -> Float[Tensor, "*n m"]:
    """Sines, then cosines, of coordinate · π · 2^k; coordinates outermost, the k of `powers` innermost."""
    exponents = torch.arange(powers.start, powers.stop, device=vectors.device, dtype=vectors.dtype)
    scales = torch.pi * 2.0**exponents
    angles = (vectors[..., None] * scales).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], -1)


def token_intrinsics(norm: Float[Tensor, "n 3 3"], height: int, width: int) -> Float[Tensor, "n 3 3"]:
    """Intrinsics that are relative to the picture's size, in units of a height × width grid of tokens."""
    # Row by row: a tensor of the two numbers would have to be copied to the device first.
    return torch.stack([norm[:, 0] * width, norm[:, 1] * height, norm[:, 2]], 1)


def rays(
    intrinsics: Float[Tensor, "n 3 3"], ego_from_camera: Float[Tensor, "n 4 4"], height: int, width: int
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n h w 3"]]:
    """Origins in metres and unit directions, in the ego frame, through the centres of a grid's cells; float32."""
    k, pose = intrinsics.float(), ego_from_camera.float()
    x = torch.arange(width, device=k.device, dtype=k.dtype) + 0.5
    y = torch.arange(height, device=k.device, dtype=k.dtype) + 0.5
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], -1)
    # `inv` would wait for the device to see whether there is an inverse.
    back = pose[:, :3, :3] @ torch.linalg.inv_ex(k).inverse
    directions = torch.einsum("nij,hwj->nhwi", back, pixels)
    return pose[:, :3, 3], directions / directions.norm(dim=-1, keepdim=True)
