"""A small network that says of each cell of a picture whether it looks like a vehicle, a person or cycle, or neither.

`box_pixels` looks with it. Its weights ship with the package; `training.box_segmenter` learned them on pictures of the town.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.base_models.finite import require_finite
from dwm.errors import DwmError
from dwm.storage import atomic_write, regular

SIZE = (160, 96)
"""Width and height in pixels at which the network looks."""
CELL = 4
"""Pixels in a side of a cell."""
NOTHING, VEHICLE, PERSON = range(3)
CLASSES = ("nothing", "vehicle", "person or cycle")
WIDTHS = (16, 32, 32, 48, 48)
AT_ONCE = 32


class Segmenter(nn.Module):
    """Five convolutions, the last two with gaps, so that a cell sees 130 pixels around it; cells are 4 × 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        strides, gaps = (2, 2, 1, 1, 1), (1, 1, 1, 2, 4)
        blocks: list[nn.Module] = []
        for before, width, stride, gap in zip((3, *WIDTHS), WIDTHS, strides, gaps, strict=False):
            blocks += [nn.Conv2d(before, width, 3, stride, gap, gap), nn.GroupNorm(8, width), nn.SiLU()]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(WIDTHS[-1], len(CLASSES), 1)

    def forward(self, pictures: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n k h w"]:
        """How much each cell looks like each class, before softmax. Pictures are RGB in [0, 1], of `SIZE`."""
        return self.head(self.blocks(pictures * 4 - 2))

    @torch.no_grad()
    def classes(self, pictures: Float[Tensor, "n 3 _ _"]) -> Int[Tensor, "n h w"]:
        """The likeliest class of every cell; pictures of any size."""
        return torch.cat([self(looked_at(part)).argmax(dim=1) for part in pictures.split(AT_ONCE)])


def looked_at(pictures: Float[Tensor, "n 3 _ _"]) -> Float[Tensor, "n 3 H W"]:
    """Pictures at the network's size."""
    if pictures.shape[-2:] == SIZE[::-1]:
        return pictures
    return F.interpolate(pictures, SIZE[::-1], mode="bilinear", antialias=True, align_corners=False)


def shipped_weights() -> Path:
    return Path(str(files("dwm"))) / "weights" / "box_segmenter.safetensors"


def save_segmenter(network: Segmenter, path: Path) -> None:
    """Writes float16 weights."""
    state = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in network.state_dict().items()}
    with atomic_write(path) as temporary:
        save_file(state, temporary)


def load_segmenter(path: Path | None = None) -> Segmenter:
    """The network with the weights that ship, or others. Raises DwmError naming a file that does not fit."""
    path = path or shipped_weights()
    network = Segmenter()
    try:
        state = load_file(regular(path))
        require_finite(path, state)
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DwmError(f"{path}: not a segmenter's weights ({reason}); take the file from a fresh install") from error
    return network.eval().requires_grad_(False)
