"""Videos → features of the published networks: every picture as a sample (FID), or every view of a clip (FVD)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.devices import full_float32
from dwm.errors import DwmError
from dwm.evaluation.networks import i3d, inception
from dwm.report import Video

PICTURES_AT_ONCE, CLIPS_AT_ONCE = 16, 4
FVD_FRAMES = 16
"""The reference's configs take the first 16 frames of a clip."""


class InceptionFeatures:
    """Every picture of a video as one sample, by way of bytes, as the reference does it."""

    width = inception.WIDTH

    def __init__(self, network: inception.Inception, prepare: inception.Preparation = inception.REFERENCE) -> None:
        self._network, self._prepare = network.eval(), prepare

    @full_float32()
    @torch.no_grad()
    def __call__(self, video: Video) -> Float[Tensor, "n 2048"]:
        pictures = video.frames.flatten(0, 2)
        return torch.cat([self._features(part) for part in pictures.split(PICTURES_AT_ONCE)])

    def _features(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        weight = self._network.fc.weight
        prepared = self._prepare(inception.to_bytes(pictures.to(weight.device)))
        return self._network(prepared.to(weight.dtype)).float().cpu()


class VideoFeatures:
    """Every view of a clip as one sample: its first `frames` frames; all of them where that is None."""

    width = i3d.CLASSES

    def __init__(self, network: i3d.I3D, frames: int | None = FVD_FRAMES) -> None:
        self._network, self._frames = network.eval(), frames

    def __call__(self, video: Video) -> Float[Tensor, "n 400"]:
        return self.of_frames(video.frames.transpose(1, 2).flatten(0, 1))

    @full_float32()
    @torch.no_grad()
    def of_frames(self, clips: Float[Tensor, "n t 3 h w"]) -> Float[Tensor, "n 400"]:
        """Raises DwmError where fewer than 10 frames are left: the network's answer would mean little."""
        clips = clips[:, : self._frames]
        if clips.shape[1] < i3d.LEAST_FRAMES:
            raise DwmError(
                f"FVD needs at least {i3d.LEAST_FRAMES} frames of a clip, found {clips.shape[1]}; take more --frames"
            )
        return torch.cat([self._features(part) for part in clips.split(CLIPS_AT_ONCE)])

    def _features(self, clips: Float[Tensor, "n t 3 h w"]) -> Float[Tensor, "n 400"]:
        weight = self._network.logits.conv3d.weight
        return self._network(i3d.network_input(clips.to(weight.device)).to(weight.dtype)).float().cpu()
