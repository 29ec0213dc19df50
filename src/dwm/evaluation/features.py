"""The small network whose features `town_fid` compares, and its files. It is trained in `training`, never here."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.base_models.finite import require_finite
from dwm.errors import DwmError
from dwm.options import Options
from dwm.report import Video
from dwm.storage import atomic_write, read_file, regular

CONFIG, WEIGHTS = "config.json", "model.safetensors"
BATCH = 64
PATCH, STRIDE = 8, 4


@runtime_checkable
class FeatureExtractor(Protocol):
    """What a Fréchet score needs: `width` numbers for each picture (FID) or each view's clip (FVD) of a video."""

    @property
    def width(self) -> int: ...

    def __call__(self, video: Video) -> Float[Tensor, "n d"]: ...


class FeatureOptions(Options):
    """The feature network's shape."""

    size: tuple[int, int] = Field((160, 96), description="width and height in pixels to which pictures are resized")
    shrinks: tuple[int, ...] = Field(
        (1, 2, 4), description="by how much pictures are shrunk before each bank of filters"
    )
    filters: int = Field(40, gt=0, description="filters of a bank, each of 8×8 pixels")

    @property
    def width(self) -> int:
        """Numbers for each picture."""
        return len(self.shrinks) * self.filters


class FeatureNetwork(nn.Module):
    """Banks of filters at several scales: how often, and how strongly, each filter's pattern occurs in a picture.

    Fine filters answer to edges, texture, noise and blur, coarse ones to sky, road and houses and where they stand. `centre` and
    `scale` bring each number to mean 0 and deviation 1 over the pictures of training.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, options: FeatureOptions):
        super().__init__()
        self.options = options
        self.banks = nn.ModuleList(nn.Conv2d(3, options.filters, PATCH, stride=STRIDE) for _ in options.shrinks)
        self.register_buffer("centre", torch.zeros(options.width))
        self.register_buffer("scale", torch.ones(options.width))

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """The features of RGB pictures in [0, 1], of any size."""
        answers = [
            bank(shrunk).relu().mean(dim=(2, 3)) for bank, shrunk in zip(self.banks, self.scales(pictures), strict=True)
        ]
        return (torch.cat(answers, dim=1) - self.centre) / self.scale

    def scales(self, pictures: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n 3 _ _"]]:
        """The pictures as each bank sees them."""
        size = self.options.size[::-1]
        if pictures.shape[-2:] != size:
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)
        return [F.avg_pool2d(pictures, shrink) for shrink in self.options.shrinks]


class PictureFeatures:
    """Every picture of a video as one sample."""

    def __init__(self, network: FeatureNetwork):
        self._network = network.eval()

    @property
    def width(self) -> int:
        return self._network.options.width

    @torch.no_grad()
    def __call__(self, video: Video) -> Float[Tensor, "n d"]:
        pictures = video.frames.flatten(0, 2)
        return torch.cat([self._network(part) for part in pictures.split(BATCH)])


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
        options = FeatureOptions.model_validate_json(read_file(folder / CONFIG))
        network = FeatureNetwork(options)
        state = load_file(regular(folder / WEIGHTS))
        require_finite(folder / WEIGHTS, state)
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except (ValidationError, SafetensorError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DwmError(f"{folder}: not a feature network ({reason}); take the folder from a fresh install") from error
    return network


def town_features() -> PictureFeatures:
    """The features that ship with the package, learned on pictures of the town."""
    return PictureFeatures(load_network(Path(str(files("dwm"))) / "weights" / "town_features"))
