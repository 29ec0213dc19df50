"""KITTI-360's fisheyes as pinhole cameras: the part of a picture around the lens's axis, as a camera without distortion sees it.

The lens follows the unified model of Mei and Rives: a direction of length one, moved by xi along the axis, is projected, bent
by two radial and two tangential terms, and scaled to pixels. Knows no tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image, UnidentifiedImageError

from dwm.data.pictures import check_pixels, open_picture
from dwm.data.pixels import as_rgb
from dwm.data.tables.made_files import ConvertedFiles
from dwm.errors import DwmError
from dwm.storage import Tree, limits

FIELD = 100.0
"""Degrees from the left to the right border of the view that is cut out: as wide as the forward cameras look (104)."""
SIZE = (1008, 576)
"""Its pixels: as dense in the middle as the fisheye's own, and of the shape of the pictures that networks see."""
FOCAL = SIZE[0] / 2 / np.tan(np.deg2rad(FIELD / 2))
MIDDLE = ((SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)
"""Whole numbers are the middles of pixels, as in the set's own calibration."""
INTRINSICS = np.array([[FOCAL, 0, MIDDLE[0]], [0, FOCAL, MIDDLE[1]], [0, 0, 1]])
LENS_NUMBERS = ("xi", "k1", "k2", "p1", "p2", "gamma1", "gamma2", "u0", "v0", "image_width", "image_height")
MODEL = "MEI"


@dataclass(frozen=True)
class Lens:
    """One fisheye's lens. name: its file, for errors. gammas and u0, v0 are pixels of a picture of width × height."""

    name: str
    xi: float
    k1: float
    k2: float
    p1: float
    p2: float
    gamma1: float
    gamma2: float
    u0: float
    v0: float
    image_width: float
    image_height: float

    def project(self, directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels (right, down) of directions in the camera's frame (x right, y down, z ahead), of any length but none."""
        unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        x, y = np.moveaxis(unit[..., :2] / (unit[..., 2:] + self.xi), -1, 0)
        square = x * x + y * y
        radial = 1 + square * (self.k1 + square * self.k2)
        bent_x = x * radial + 2 * self.p1 * x * y + self.p2 * (square + 2 * x * x)
        bent_y = y * radial + 2 * self.p2 * x * y + self.p1 * (square + 2 * y * y)
        return np.stack([self.gamma1 * bent_x + self.u0, self.gamma2 * bent_y + self.v0], -1)


def read_lens(tree: Tree, name: str) -> Lens | None:
    """None without the file. Raises DwmError for another model, a number that is missing, or a view beyond the picture."""
    if not tree.exists(name):
        return None
    lines = (line.partition(":") for line in tree.read(name, limits.ROW).decode(errors="replace").splitlines())
    entries = {key.strip(): value.strip() for key, _, value in lines}
    if (model := entries.get("model_type", MODEL)) != MODEL:
        raise DwmError(f"{name}: the lens is of the model {model[:20]}, not {MODEL}; fetch it again")
    numbers = [_number(name, key, entries.get(key, "")) for key in LENS_NUMBERS]
    lens = Lens(name, *numbers)
    check_pixels(f"{name}: image_width and image_height", int(lens.image_width), int(lens.image_height))
    places = lens.project(_directions())
    if not ((places >= 0) & (places <= [lens.image_width - 1, lens.image_height - 1])).all():
        raise DwmError(
            f"{name}: by its numbers {FIELD:g}° reach beyond the picture, which is no lens of the set; fetch it again"
        )
    return lens


def _number(name: str, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DwmError(f"{name}: {key} is missing, or no finite number; fetch it again")
    return value


def _directions() -> Float[np.ndarray, "h w 3"]:
    """Of the view's pixels."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return np.stack([(columns - MIDDLE[0]) / FOCAL, (rows - MIDDLE[1]) / FOCAL, np.ones(SIZE[::-1])], -1)


@lru_cache(maxsize=4)
def _remap(lens: Lens) -> tuple[tuple[int, int, int, int], Float32[np.ndarray, "1 h w 2"]]:
    """The part (left, top, right, bottom) of the fisheye's picture that the view needs, and where in it (-1 to 1) pixels lie."""
    places = lens.project(_directions())
    low, high = np.floor(places.min((0, 1))), np.ceil(places.max((0, 1)))
    grid = 2 * (places - low) / np.maximum(high - low, 1) - 1
    box = (int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)
    return box, grid[None].astype(np.float32)


@dataclass(frozen=True)
class PinholeTree(ConvertedFiles):
    """A fisheye's pictures are shown as `….ppm`: the view of `FIELD` degrees around the axis, of `SIZE` pixels."""

    lens: Lens

    def convert(self, data: bytes, name: str) -> bytes:
        box, grid = _remap(self.lens)
        try:
            with open_picture(data, name) as picture:
                expected = (int(self.lens.image_width), int(self.lens.image_height))
                if picture.size != expected:
                    width, height = picture.size
                    raise DwmError(
                        f"{name}: is {width}×{height}, but {self.lens.name} is of {expected[0]}×{expected[1]}; fetch both again"
                    )
                part = np.array(as_rgb(picture.crop(box), name))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
            raise DwmError(f"{name}: is no whole picture ({len(data)} bytes, {reason}); fetch it again") from error
        import torch  # here: naming a kind of data set costs no second

        pixels = torch.from_numpy(part).permute(2, 0, 1)[None].float()
        view = torch.nn.functional.grid_sample(pixels, torch.from_numpy(grid), "bilinear", "border", align_corners=True)
        shown = view[0].permute(1, 2, 0).round().to(torch.uint8).numpy()
        return b"P6\n%d %d\n255\n" % SIZE + shown.tobytes()


def pinhole_tree(tree: Tree, folder: str, lens: Lens) -> PinholeTree:
    """A tree whose pictures in folders called `folder` are as a pinhole camera of `INTRINSICS` would have taken them."""
    return PinholeTree(tree, folder, ".png", ".ppm", lens)
