"""Trains the small picture autoencoder: its losses, its crops, and the decoder's last stage against a patch discriminator.

The networks are diffusers' `AutoencoderKL`; this module knows neither where pictures come from nor how weights are stored.
Pictures are RGB in [-1, 1] here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn

from dwm.devices import autocast
from dwm.evaluation.networks.efficientnet import EfficientNetLite0
from dwm.evaluation.networks.files import load_features
from dwm.training.feed.clip_cache import ClipCache
from dwm.training.loop.step import step_generator
from dwm.training.loop.task import Losses, Work
from dwm.training.perception import (
    JUDGED_DEPTHS,
    Discriminator,
    approval,
    contrast_distance,
    discriminator_loss,
    feature_distance,
    features_of,
)
from dwm.training.stages.options import AutoencoderLossOptions, AutoencoderStageOptions

Pictures = Float[Tensor, "n 3 h w"]


def reconstruction_loss(decoded: Pictures, pictures: Pictures, options: AutoencoderLossOptions) -> Float[Tensor, ""]:
    """L1 of the pictures, of their gradients at three scales, of the pictures halved twice, and of their colours."""
    loss = F.l1_loss(decoded, pictures)
    difference = decoded - pictures
    for scale in range(3):
        if scale:
            difference = F.avg_pool2d(difference, 2)
        across, down = difference.diff(dim=-1), difference.diff(dim=-2)
        loss = loss + options.gradient / 3 * (across.abs().mean() + down.abs().mean())
        if scale == 1:
            red, green, blue = difference.unbind(1)
            loss = loss + options.chroma / 2 * ((red - green).abs().mean() + (blue - green).abs().mean())
    return options.pixels * (loss + options.quarter * difference.abs().mean())


def autoencoder_loss(
    network: AutoencoderKL, pictures: Pictures, options: AutoencoderLossOptions, generator: torch.Generator
) -> Float[Tensor, ""]:
    """The loss of the first stage: encoder and decoder together."""
    posterior = network.encode(pictures).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator).to(pictures.device)
    got = network.decode(posterior.mean + posterior.std * noise).sample
    return reconstruction_loss(got, pictures, options) + options.kl * posterior.kl().mean() / posterior.mean[0].numel()


class PatchDiscriminator(nn.Sequential):
    """Four convolutions: a verdict for each overlapping patch, positive for real."""

    def __init__(self, width: int = 24):
        super().__init__(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.GroupNorm(4, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 3, 1, 1),
            nn.GroupNorm(4, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, 1, 1),
        )


class AutoencoderTask:
    """Trains an autoencoder on random crops of a cache's pictures."""

    def __init__(
        self,
        network: AutoencoderKL,
        cache: ClipCache,
        seed: int,
        options: AutoencoderStageOptions,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.network, self.cache, self.seed, self.options = network, cache, seed, options
        self.device, self.dtype = torch.device(device), dtype
        network.requires_grad_(True)
        self.module = nn.ModuleDict({"autoencoder": network})
        # Beside the module, not in it: neither trained nor saved.
        self.eyes = (
            load_features(EfficientNetLite0(), "efficientnet").to(self.device) if options.needs_features else None
        )
        if options.decoder_only:
            network.encoder.requires_grad_(False)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                depths = JUDGED_DEPTHS if options.loss.judged_features else ()
                self.module["judge"] = Discriminator(PatchDiscriminator(), depths)
        self.module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batches(self, start: int, every: int = 1) -> Iterator[Pictures]:
        number = start
        while True:
            yield self._crops(step_generator(self.seed + 1, number))
            number += every

    def losses(self, batch: Pictures, generator: torch.Generator) -> Losses:
        batch, options = batch.to(self.device), self.options
        with autocast(self.device, self.dtype):
            if not options.decoder_only:
                return Losses(autoencoder_loss(self.network, batch, options.loss, generator))
            return decoder_losses(self.network, self.module["judge"], self.eyes, batch, options.loss, generator)

    def work(self, batch: Pictures) -> Work:
        return Work(clips=len(batch))

    def identity(self, batch: Pictures) -> str:
        return f"{len(batch)} random crops"

    def blocks(self) -> Sequence[nn.Module]:
        return ()

    def _crops(self, generator: torch.Generator) -> Pictures:
        def draw(bound: int) -> int:
            return int(torch.randint(bound, (), generator=generator))

        crops = []
        width, height = self.options.crop
        for _ in range(self.options.batch):
            frame, view = draw(self.cache.frames), draw(self.cache.views)
            part = self.cache.clip(draw(len(self.cache)), slice(frame, frame + 1), slice(view, view + 1), ("frames",))
            assert part.frames is not None
            picture = part.frames[0, 0, 0]
            y = draw((picture.shape[1] - height) // 8 + 1) * 8
            x = draw((picture.shape[2] - width) // 8 + 1) * 8
            crop = picture[:, y : y + height, x : x + width]
            crops.append(crop.flip(-1) if draw(2) else crop)
        return (torch.stack(crops) * 2 - 1).contiguous(memory_format=torch.channels_last)


def decoder_losses(
    network: AutoencoderKL,
    discriminator: nn.Module,
    eyes: EfficientNetLite0 | None,
    pictures: Pictures,
    options: AutoencoderLossOptions,
    generator: torch.Generator,
) -> Losses:
    """The losses of the second stage: the decoder on slightly noisy latents, and the discriminator beside it.

    `eyes`: the network in whose features the pictures are compared and judged; none: pixels alone.
    """
    with torch.no_grad():
        latents = network.encode(pictures).latent_dist.mean
        real = [] if eyes is None else features_of(eyes, pictures)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    strength = options.latent_noise * torch.rand((len(latents), 1, 1, 1), generator=generator).to(latents.device)
    got = network.decode(latents + strength * noise).sample
    features = [] if eyes is None else features_of(eyes, got)
    closeness = reconstruction_loss(got, pictures, options)
    if options.contrast:
        closeness = closeness + options.contrast * contrast_distance(got, pictures)
    likeness = options.features * feature_distance(features, real) if eyes is not None else closeness.new_zeros(())
    # The decoder sees the verdict through frozen copies, so that one backward pass serves both networks.
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    verdict = approval(torch.func.functional_call(discriminator, frozen, (got, features)))
    verdict_loss = discriminator_loss(
        discriminator(pictures, real), discriminator(got.detach(), [depth.detach() for depth in features])
    )
    one = torch.ones((), device=got.device)
    watched = {"closeness": closeness, "likeness": likeness, "approval": verdict, "judged": verdict_loss}
    parts = {name: (value.detach(), one) for name, value in watched.items()}
    return Losses(closeness + likeness - options.adversarial * verdict + verdict_loss, parts)


@torch.no_grad()
def latent_statistics(means: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "c"], Float[Tensor, "c"]]:
    """Mean and deviation of each latent channel."""
    return means.mean((0, 2, 3)), means.std((0, 2, 3))


@torch.no_grad()
def fold_statistics(network: AutoencoderKL, mean: Float[Tensor, "c"], std: Float[Tensor, "c"]) -> None:
    """Rewrites the last encoder and first decoder convolution so that every latent channel has mean 0 and deviation 1.

    Scaling factor 1 and shift 0 then hold, as one pair of numbers for all channels could not say it.
    """
    channels = len(mean)
    last, first = network.encoder.conv_out, network.decoder.conv_in
    last.weight[:channels].div_(std[:, None, None, None])
    last.bias[:channels].sub_(mean).div_(std)
    last.bias[channels:].sub_(2 * std.log())
    # The decoder pads with zeros, which used to mean `0` and now means `mean`: its bias is exact inside and near at the edge.
    first.bias.add_((first.weight.sum((2, 3)) * mean).sum(1))
    first.weight.mul_(std[None, :, None, None])
