"""Inception v3 as TensorFlow published it on 2015-12-05: the network behind FID (Szegedy et al. 2016, Heusel et al. 2017).

Parameters bear the names of the published file (472 tensors). It differs from the usual Inception v3: average pools do not count
their padding, the last block pools by maximum, batch norms add 1e-3, and 1008 classes follow, which FID does not use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.evaluation.networks import resize
from dwm.evaluation.networks.resize import PictureSize, tensorflow_bilinear
from dwm.evaluation.options import Library

SIZE = (299, 299)
"""(height, width) that the network was trained on."""
WIDTH = 2048


@dataclass(frozen=True)
class InceptionLayers:
    """Channel means after the stem's two pools and after Mixed_6e, the features of FID, and the classes without their bias."""

    stem: Float[Tensor, "n 64"]
    pooled: Float[Tensor, "n 192"]
    middle: Float[Tensor, "n 768"]
    features: Float[Tensor, "n 2048"]
    classes: Float[Tensor, "n 1008"]


class Inception(nn.Module):
    """Pictures scaled to -1 … 1 at 299×299 → features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = Block5(192, pooled=32)
        self.Mixed_5c = Block5(256, pooled=64)
        self.Mixed_5d = Block5(288, pooled=64)
        self.Mixed_6a = Shrink6()
        self.Mixed_6b = Block6(128)
        self.Mixed_6c = Block6(160)
        self.Mixed_6d = Block6(160)
        self.Mixed_6e = Block6(192)
        self.Mixed_7a = Shrink7()
        self.Mixed_7b = Block7(1280, _average)
        self.Mixed_7c = Block7(2048, _maximum)
        self.fc = nn.Linear(WIDTH, 1008)

    def forward(self, pictures: Float[Tensor, "n 3 299 299"]) -> Float[Tensor, "n 2048"]:
        return self.layers(pictures).features

    def layers(self, pictures: Float[Tensor, "n 3 299 299"]) -> InceptionLayers:
        """Everything that is compared with recorded numbers."""
        stem = _halved(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pictures))))
        pooled = _halved(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(stem)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(pooled)))
        middle = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        features = _means(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle))))
        classes = F.linear(features, self.fc.weight)
        return InceptionLayers(_means(stem), _means(pooled), _means(middle), features, classes)


@dataclass(frozen=True)
class Preparation:
    """How a library brings bytes to the network: resize, then (x - centre) / scale."""

    resize: PictureSize
    centre: float = 128.0
    scale: float = 128.0

    def __call__(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 299 299"]:
        """`pictures` hold whole numbers 0 … 255."""
        return (self.resize(pictures.float(), SIZE) - self.centre) / self.scale


REFERENCE = Preparation(tensorflow_bilinear)
"""What torch-fidelity does, and torchmetrics up to 1.7.4: the published scores."""

PREPARATIONS: dict[Library, Preparation] = {
    "reference": REFERENCE,
    "torchmetrics_1_8": Preparation(resize.smooth_bilinear),
    "pytorch_fid": Preparation(resize.bilinear, 127.5, 127.5),
    "clean_fid": Preparation(resize.bicubic),
}
"""How libraries bring pictures to Inception: numbers of one are not comparable to another's."""


def to_bytes(pictures: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Pictures in 0 … 1 as whole numbers 0 … 255, still floats: cut off, not rounded, as torchmetrics does it."""
    return (pictures * 255).to(torch.uint8).float()


class Convolution(nn.Module):
    """Without bias, then batch norm and ReLU."""

    def __init__(self, inside: int, outside: int, kernel: int | tuple[int, int], stride: int = 1, padding=0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=1e-3)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d y x"]:
        return self.bn(self.conv(x)).relu()


class Block5(nn.Module):
    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 64, 1)
        self.branch5x5_1 = Convolution(channels, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_average(x))], 1)


class Shrink6(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = Convolution(288, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(288, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, _halved(x)], 1)


class Block6(nn.Module):
    """7×7 filters, each as a row and a column."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = Convolution(768, 192, 1)
        self.branch7x7_1 = Convolution(768, inner, 1)
        self.branch7x7_2 = Convolution(inner, inner, **row)
        self.branch7x7_3 = Convolution(inner, 192, **column)
        self.branch7x7dbl_1 = Convolution(768, inner, 1)
        self.branch7x7dbl_2 = Convolution(inner, inner, **column)
        self.branch7x7dbl_3 = Convolution(inner, inner, **row)
        self.branch7x7dbl_4 = Convolution(inner, inner, **column)
        self.branch7x7dbl_5 = Convolution(inner, 192, **row)
        self.branch_pool = Convolution(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_average(x))], 1)


class Shrink7(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(768, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(768, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, _halved(x)], 1)


class Block7(nn.Module):
    """3×3 filters that end side by side, as rows and as columns; `pool` differs between the network's last two blocks."""

    def __init__(self, channels: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
        self.branch1x1 = Convolution(channels, 320, 1)
        self.branch3x3_1 = Convolution(channels, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, **row)
        self.branch3x3_2b = Convolution(384, 384, **column)
        self.branch3x3dbl_1 = Convolution(channels, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, **row)
        self.branch3x3dbl_3b = Convolution(384, 384, **column)
        self.branch_pool = Convolution(channels, 192, 1)
        self._pool = pool

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        sides = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        sides += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *sides, self.branch_pool(self._pool(x))], 1)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _means(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
    return x.mean(dim=(2, 3))
