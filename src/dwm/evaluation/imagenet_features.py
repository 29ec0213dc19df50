"""Every picture of a video as 1280 features of EfficientNet-Lite0, trained on ImageNet."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.devices import full_float32
from dwm.evaluation.networks.efficientnet import SIZE, WIDTH, EfficientNetLite0, network_input
from dwm.report import Video

PICTURES_AT_ONCE = 16


class ImagenetFeatures:
    """Pictures are resized to `size` (height, width); `imagenet_fid` takes the network's own."""

    width = WIDTH

    def __init__(self, network: EfficientNetLite0, size: tuple[int, int] = SIZE) -> None:
        self._network, self._size = network.eval(), size

    @full_float32()
    @torch.no_grad()
    def __call__(self, video: Video) -> Float[Tensor, "n 1280"]:
        pictures = video.frames.flatten(0, 2)
        return torch.cat([self._features(part) for part in pictures.split(PICTURES_AT_ONCE)])

    def _features(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1280"]:
        weight = self._network._fc.weight
        return self._network(network_input(pictures.to(weight.device), self._size).to(weight.dtype)).float().cpu()
