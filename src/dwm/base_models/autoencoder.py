"""Pictures ↔ latents: the image autoencoders of SD and the causal video autoencoder of CogVideoX behind one face.

Latents are scaled and shifted as the networks see them. It knows no text and no network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dwm.devices import memory, send
from dwm.errors import DwmError


@dataclass(frozen=True)
class Moments:
    """What an autoencoder makes of pictures: mean and deviation of each latent number, scaled as networks see latents.

    Without a deviation the latents are fixed: the mean.
    """

    mean: Float[Tensor, "*n c h w"]
    std: Float[Tensor, "*n c h w"] | None = None

    def sample(self, generator: torch.Generator) -> Float[Tensor, "*n c h w"]:
        """Latents in float32; their noise is drawn on the generator's device, which for training is the CPU."""
        mean = self.mean.float()
        if self.std is None:
            return mean
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        return mean + self.std.float() * send(noise, mean.device)

    def map(self, change: Callable[[Tensor], Tensor]) -> Moments:
        return Moments(change(self.mean), None if self.std is None else change(self.std))


class Autoencoder(nn.Module):
    """An image autoencoder (diffusers' AutoencoderKL) over any leading dimensions.

    `piece` bounds how many pictures (videos for the video autoencoder) are worked on at once; 0 takes all, None one on a
    processor (whose memory pages are then used again: twice as fast) and on a device as many as fit.
    """

    def __init__(self, model: nn.Module, piece: int | None = 0):
        super().__init__()
        self.model: Any = model
        self.piece = piece

    @property
    def frames_per_latent(self) -> int:
        return 1

    @property
    def factor(self) -> int:
        """How many pixels of a side make one latent place."""
        return 2 ** (len(self.model.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        return self.model.config.latent_channels

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @property
    def scaling(self) -> float:
        return self.model.config.scaling_factor

    @property
    def shift(self) -> float:
        return getattr(self.model.config, "shift_factor", None) or 0.0

    def latent_shape(self, frames: int, views: int, size: tuple[int, int]) -> tuple[int, int, int, int, int]:
        """(t, v, c, h, w) of the latents of `frames` pictures of `size` (width, height) in `views` views."""
        width, height = size
        if width % self.factor or height % self.factor:
            raise DwmError(f"size {width}x{height} is not a multiple of {self.factor}, which the autoencoder needs")
        return self.latent_frames(frames), views, self.channels, height // self.factor, width // self.factor

    def latent_frames(self, frames: int) -> int:
        """Latents that stand for `frames` pictures."""
        return frames

    def encode(
        self, frames: Float[Tensor, "*n 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "*n c h w"]:
        """Latents of pictures in [0, 1]: a sample of the posterior drawn from `generator`, its mode without one."""
        flat = frames.flatten(0, -4)
        latents = self._normalise(self._in_pieces(self._encoder(generator), flat.to(self.dtype) * 2 - 1))
        return latents.unflatten(0, frames.shape[:-3])

    def moments(self, frames: Float[Tensor, "*n 3 H W"]) -> Moments:
        """The posterior of pictures in [0, 1], from which latents can be sampled again and again."""
        flat = self._in_pieces(partial(_posterior, self.model), frames.flatten(0, -4).to(self.dtype) * 2 - 1)
        mean, std = flat.chunk(2, dim=1)
        result = Moments(self._normalise(mean), std.float() * self.scaling)
        return result.map(lambda value: value.unflatten(0, frames.shape[:-3]))

    def decode(self, latents: Float[Tensor, "*n c h w"], clamp: bool = True) -> Float[Tensor, "*n 3 H W"]:
        """Pictures of latents, float32 in [0, 1] (without `clamp` slightly beyond, for losses)."""
        flat = self._denormalise(latents.flatten(0, -4))
        pictures = self._in_pieces(lambda piece: self.model.decode(piece).sample, flat.to(self.dtype))
        return _to_unit(pictures, clamp).unflatten(0, latents.shape[:-3])

    def _encoder(self, generator: torch.Generator | None) -> Callable[[Tensor], Tensor]:
        def encode(piece: Tensor) -> Tensor:
            posterior = self.model.encode(piece).latent_dist
            return posterior.mode() if generator is None else posterior.sample(generator)

        return encode

    def _in_pieces(self, work: Callable[[Tensor], Tensor], things: Tensor) -> Tensor:
        count = self._fitting(things) if self.piece is None else self.piece
        return torch.cat([work(_laid_out(piece)) for piece in things.split(count or max(1, len(things)))])

    def _fitting(self, things: Tensor) -> int:
        """How many pictures, or latents of pictures, are worked on at once where nobody says."""
        if things.device.type == "cpu":
            return 1
        height, width = things.shape[-2:]
        if things.shape[1] == self.channels:  # latents
            height, width = height * self.factor, width * self.factor
        frames = 1 if things.ndim == 4 else things.shape[2] * self.frames_per_latent
        return max(1, memory(things.device).free // (2 * self.bytes_of(frames, height, width)))

    def bytes_of(self, frames: int, height: int, width: int) -> int:
        """Memory that a picture (a video of `frames`) needs at the most while it is worked on: four maps of the widest level at
        full size. Counted for SD's autoencoder; an upper bound."""
        return working_bytes(self.model.config.block_out_channels, frames * height * width, self.dtype.itemsize)

    def _normalise(self, latents: Tensor) -> Tensor:
        return (latents.float() - self.shift) * self.scaling

    def _denormalise(self, latents: Tensor) -> Tensor:
        return latents / self.scaling + self.shift


def working_bytes(widths: Sequence[int], pixels: int, itemsize: int) -> int:
    """Four maps of the widest level at full size, which is the second, of an autoencoder with these channels of its levels."""
    return 4 * widths[min(1, len(widths) - 1)] * pixels * itemsize


class VideoAutoencoder(Autoencoder):
    """A causal video autoencoder (CogVideoX): 1 + 4k pictures ↔ 1 + k latents. Tensors are (b, t, v, …) here."""

    @property
    def frames_per_latent(self) -> int:
        return self.model.config.temporal_compression_ratio

    def latent_frames(self, frames: int) -> int:
        if frames % self.frames_per_latent != 1:
            raise DwmError(
                f"{frames} frames: this autoencoder needs 1 + {self.frames_per_latent}k frames (1, 5, 9, 17, …)"
            )
        return 1 + (frames - 1) // self.frames_per_latent

    def encode(
        self, frames: Float[Tensor, "b t v 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b s v c h w"]:
        self.latent_frames(frames.shape[1])
        videos = rearrange(frames.to(self.dtype) * 2 - 1, "b t v c h w -> (b v) c t h w")
        latents = self._normalise(self._in_pieces(self._encoder(generator), videos))
        return rearrange(latents, "(b v) c t h w -> b t v c h w", b=len(frames))

    def moments(self, frames: Float[Tensor, "b t v 3 H W"]) -> Moments:
        self.latent_frames(frames.shape[1])
        videos = rearrange(frames.to(self.dtype) * 2 - 1, "b t v c h w -> (b v) c t h w")
        mean, std = self._in_pieces(partial(_posterior, self.model), videos).chunk(2, dim=1)
        result = Moments(self._normalise(mean), std.float() * self.scaling)
        return result.map(lambda value: rearrange(value, "(b v) c t h w -> b t v c h w", b=len(frames)))

    def decode(self, latents: Float[Tensor, "b s v c h w"], clamp: bool = True) -> Float[Tensor, "b t v 3 H W"]:
        videos = rearrange(self._denormalise(latents), "b t v c h w -> (b v) c t h w")
        pictures = self._in_pieces(lambda piece: self.model.decode(piece).sample, videos.to(self.dtype))
        return _to_unit(rearrange(pictures, "(b v) c t h w -> b t v c h w", b=len(latents)), clamp)


def _laid_out(piece: Tensor) -> Tensor:
    """Channels innermost, as a processor's convolutions want pictures: 1.2 times as fast, weights as they are."""
    pictures = piece.ndim == 4 and piece.device.type == "cpu" and not torch.is_grad_enabled()
    return piece.contiguous(memory_format=torch.channels_last) if pictures else piece


def _posterior(model: Any, piece: Tensor) -> Tensor:
    """Mean and deviation, one after the other on the channels."""
    posterior = model.encode(piece).latent_dist
    return torch.cat([posterior.mean, posterior.std], 1)


def _to_unit(pictures: Tensor, clamp: bool) -> Tensor:
    pictures = pictures.float() / 2 + 0.5
    return pictures.clamp(0, 1) if clamp else pictures
