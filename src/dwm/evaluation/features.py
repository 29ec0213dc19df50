"""The small network whose features `town_fid` compares, and its files. It is trained in `training`, never here."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.errors import DwmError
from dwm.options import Options
from dwm.report import Video
from dwm.storage import atomic_write

CONFIG, WEIGHTS = "config.json", "model.safetensors"
BATCH = 64
PATCH = 4


class FeatureExtractor(Protocol):
    """What a Fréchet score needs: `width` numbers for each picture (FID) or each view's clip (FVD) of a video."""

    @property
    def width(self) -> int: ...

    def __call__(self, video: Video) -> Float[Tensor, "n d"]: ...


class FeatureOptions(Options):
    """The feature network's shape."""

    size: tuple[int, int] = Field((160, 96), description="width and height in pixels to which pictures are resized")
    widths: tuple[int, ...] = Field(
        (32, 64, 96), description="channels after patches of 4×4 pixels, and after each halving"
    )
    features: int = Field(64, gt=0, description="numbers per picture that the distance compares")
    words: tuple[str, ...] = Field((), description="words of captions that training asks the features for")
    layout_channels: int = Field(6, ge=0, description="layout channels that training asks the features' map for")


class FeatureNetwork(nn.Module):
    """Pictures → a map of features, whose mean is what the score compares; the heads serve training only."""

    def __init__(self, options: FeatureOptions):
        super().__init__()
        self.options = options
        first = options.widths[0]
        stages: list[nn.Module] = [nn.Conv2d(3, first, PATCH, stride=PATCH), nn.SiLU()]
        for before, after in pairwise(options.widths):
            stages += [*_convolution(before, after, stride=2), *_convolution(after, after, stride=1)]
        self.stages = nn.Sequential(*stages)
        self.to_features = nn.Conv2d(options.widths[-1], options.features, 1)
        self.words = nn.Linear(options.features, max(1, len(options.words)))
        self.sharpness = nn.Linear(options.features, 1)
        self.layout = nn.Conv2d(options.features, max(1, options.layout_channels), 1)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d y x"]:
        """The map of features of RGB pictures in [0, 1], of any size."""
        size = self.options.size[::-1]
        if pictures.shape[-2:] != size:
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)
        return self.to_features(self.stages(pictures * 2 - 1))


def _convolution(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, stride, padding=1), nn.GroupNorm(8, after), nn.SiLU()


class PictureFeatures:
    """Every picture of a video as one sample."""

    def __init__(self, network: FeatureNetwork):
        self._network = network.eval()

    @property
    def width(self) -> int:
        return self._network.options.features

    @torch.no_grad()
    def __call__(self, video: Video) -> Float[Tensor, "n d"]:
        pictures = video.frames.flatten(0, 2)
        return torch.cat([self._network(part).mean(dim=(2, 3)) for part in pictures.split(BATCH)])


def save_network(network: FeatureNetwork, folder: Path) -> None:
    """Writes `config.json` and float16 weights."""
    with atomic_write(folder / CONFIG) as temporary:
        temporary.write_text(network.options.model_dump_json(indent=2) + "\n", encoding="utf-8")
    state = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in network.state_dict().items()}
    with atomic_write(folder / WEIGHTS) as temporary:
        save_file(state, temporary)


def load_network(folder: Path) -> FeatureNetwork:
    """Reads what `save_network` wrote. Raises DwmError naming the file that is missing or does not fit."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise DwmError(f"{folder / name}: missing; town_fid needs the feature network's folder")
    try:
        options = FeatureOptions.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
        network = FeatureNetwork(options)
        network.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
    except (ValidationError, SafetensorError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DwmError(f"{folder}: not a feature network ({reason}); take the folder from a fresh install") from error
    return network


def town_features() -> PictureFeatures:
    """The features that ship with the package, learned on pictures of the town."""
    return PictureFeatures(load_network(Path(str(files("dwm"))) / "weights" / "town" / "features"))
