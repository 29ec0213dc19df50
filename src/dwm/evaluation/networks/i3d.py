"""I3D, an Inception v1 inflated over time (Carreira and Zisserman 2017): the network behind FVD (Unterthiner et al. 2018).

Parameters bear the names of the file `i3d_pretrained_400.pt` (287 tensors). FVD takes its 400 class outputs before softmax. Padding
is TensorFlow's "same" with zeros: as much as the input's length needs, the odd one behind. Batch norms add 1e-5 here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.evaluation.networks.resize import bilinear

CLASSES = 400
SIZE = (224, 224)
LEAST_FRAMES = 10
"""As the reference asks; nine would pass the network."""

Triple = tuple[int, int, int]


class I3D(nn.Module):
    """Clips scaled to -1 … 1 at 224×224 → class outputs before softmax, averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, stride=2)
        self.MaxPool3d_2a_3x3 = Pool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        self.MaxPool3d_3a_3x3 = Pool((1, 3, 3), (1, 2, 2))
        self.Mixed_3b = Mixed(192, 64, (96, 128), (16, 32), 32)
        self.Mixed_3c = Mixed(256, 128, (128, 192), (32, 96), 64)
        self.MaxPool3d_4a_3x3 = Pool((3, 3, 3), (2, 2, 2))
        self.Mixed_4b = Mixed(480, 192, (96, 208), (16, 48), 64)
        self.Mixed_4c = Mixed(512, 160, (112, 224), (24, 64), 64)
        self.Mixed_4d = Mixed(512, 128, (128, 256), (24, 64), 64)
        self.Mixed_4e = Mixed(512, 112, (144, 288), (32, 64), 64)
        self.Mixed_4f = Mixed(528, 256, (160, 320), (32, 128), 128)
        self.MaxPool3d_5a_2x2 = Pool((2, 2, 2), (2, 2, 2))
        self.Mixed_5b = Mixed(832, 256, (160, 320), (32, 128), 128)
        self.Mixed_5c = Mixed(832, 384, (192, 384), (48, 128), 128)
        self.avg_pool = nn.AvgPool3d((2, 7, 7), stride=1)
        self.logits = Classes(1024, CLASSES)

    def forward(self, clips: Float[Tensor, "n 3 t 224 224"]) -> Float[Tensor, "n 400"]:
        *_, (_, pooled) = self.stages(clips)
        return self.logits(pooled).mean(dim=(2, 3, 4))

    def stages(self, clips: Float[Tensor, "n 3 t 224 224"]) -> Iterator[tuple[str, Float[Tensor, "n c t h w"]]]:
        """Each stage's name and result, in order, up to the last pool."""
        x = clips
        for name, stage in self.named_children():
            if name != "logits":
                x = stage(x)
                yield name, x


def network_input(frames: Float[Tensor, "n t 3 h w"]) -> Float[Tensor, "n 3 t 224 224"]:
    """Frames in 0 … 1 as the reference gives them to the network: -1 … 1, then each resized; never rounded to bytes."""
    n = frames.shape[0]
    resized = bilinear((frames.float() * 2 - 1).flatten(0, 1), SIZE)
    return resized.unflatten(0, (n, -1)).transpose(1, 2).contiguous()


class Unit(nn.Module):
    """A convolution without bias, batch norm, ReLU."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inside, outside, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(outside, eps=1e-5)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d u y x"]:
        return self.bn(self.conv3d(_same(x, self.conv3d.kernel_size, self.conv3d.stride))).relu()


class Classes(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inside, outside, 1)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k t h w"]:
        return self.conv3d(x)


class Pool(nn.Module):
    """By maximum, with the zeros of its padding among the candidates."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c u y x"]:
        return F.max_pool3d(_same(x, self._kernel, self._stride), self._kernel, self._stride)


class Mixed(nn.Module):
    """Four branches side by side: 1×1, two of 3×3 behind 1×1, and a pool with 1×1."""

    def __init__(self, channels: int, plain: int, wide: tuple[int, int], narrow: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.b0 = Unit(channels, plain, 1)
        self.b1a = Unit(channels, wide[0], 1)
        self.b1b = Unit(wide[0], wide[1], 3)
        self.b2a = Unit(channels, narrow[0], 1)
        self.b2b = Unit(narrow[0], narrow[1], 3)
        self.b3a = Pool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(channels, pooled, 1)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h w"]:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], 1)


def _same(x: Float[Tensor, "n c t h w"], kernel: Sequence[int], stride: Sequence[int]) -> Float[Tensor, "n c u y x"]:
    pads: list[int] = []
    for length, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(k - (length % s or s), 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads) if any(pads) else x
