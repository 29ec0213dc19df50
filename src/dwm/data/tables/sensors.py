"""Photographs and LiDAR sweeps of a clip, read from a tree when asked for. Knows no tables."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, UnidentifiedImageError

from dwm.data.films import file_of, film_of, read_film
from dwm.data.pictures import open_picture
from dwm.data.pixels import as_rgb
from dwm.data.resize import resize
from dwm.errors import DwmError
from dwm.storage import Tree, limits
from dwm.strict_json import LFS, lfs_pointer


def _read(tree: Tree, name: str) -> bytes:
    data = tree.read(name, limits.PICTURE)
    if data.startswith(LFS):
        raise DwmError(f"{name}: {lfs_pointer()}")
    return data


@dataclass(frozen=True)
class TreePictures:
    """Pictures by file name [frame][view], or of films (`front.mp4#17`).

    A JPEG is decoded at the smallest scale (1/2, 1/4, 1/8) that is not below the wanted size, which is several times quicker
    and looks the same; `exact` decodes at full size before resizing, as OpenDWM does.
    sizes: (width, height) that the tables say of each, in whose pixels its calibration is: a picture that was stored smaller
    or larger is used with a warning, one of another shape is refused. None: not known.
    """

    tree: Tree
    files: tuple[tuple[str, ...], ...]
    exact: bool = False
    sizes: Int[np.ndarray, "t v 2"] | None = None

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        name = self.files[frame][view]
        film = film_of(name)
        whole, stored = self._decoded(name, size) if film is None else self._of_film(*film)
        if self.sizes is not None:
            _compare(name, stored, (int(self.sizes[frame, view, 0]), int(self.sizes[frame, view, 1])))
        if size is None or whole.size == size:
            return np.asarray(whole)
        if self.exact:
            return np.asarray(whole.resize(size, Image.Resampling.BILINEAR))
        return resize(np.array(whole), size)

    def _of_film(self, film: str, number: int) -> tuple[Image.Image, tuple[int, int]]:
        picture = Image.fromarray(read_film(self.tree, film, number))
        return picture, picture.size

    def _decoded(self, name: str, size: tuple[int, int] | None) -> tuple[Image.Image, tuple[int, int]]:
        """The picture, perhaps smaller than its file's, and the file's (width, height)."""
        data = _read(self.tree, name)
        try:
            with open_picture(data, name) as picture:
                stored = picture.size
                if size is not None and not self.exact:
                    picture.draft("RGB", size)
                picture.load()
                return as_rgb(picture, name), stored
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
            raise DwmError(
                f"{name}: is no whole picture ({len(data)} bytes, {reason}); fetch the archive that holds it again"
            ) from error


def _compare(name: str, stored: tuple[int, int], expected: tuple[int, int]) -> None:
    """Warns of a picture of another size than the tables say, whose shape is the same; raises DwmError for another shape."""
    if stored == expected:
        return
    (width, height), (wide, high) = stored, expected
    sizes = f"{width}×{height}, not {wide}×{high} as the tables say"
    if abs(height - high * width / wide) > 1 and abs(width - wide * height / high) > 1:
        raise DwmError(
            f"{name}: is {sizes}: of another shape, so that its calibration cannot be its own; correct width and height, and "
            "camera_intrinsic with them"
        )
    warnings.warn(
        f"{posixpath.dirname(file_of(name))}: pictures are {sizes}; they are taken as the same picture stored smaller or larger",
        stacklevel=3,
    )


@dataclass(frozen=True)
class TreePoints(Sequence):
    """LiDAR sweeps by file name: x, y, z in metres in the LiDAR's frame, intensity, ring."""

    tree: Tree
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Float[np.ndarray, "n 5"]: ...
    @overload
    def __getitem__(self, index: slice) -> TreePoints: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return TreePoints(self.tree, self.files[index])
        data = _read(self.tree, self.files[index])
        if len(data) % 20 or not data:
            raise DwmError(
                f"{self.files[index]}: {len(data)} bytes are no whole number of points (20 bytes each); fetch it again"
            )
        return np.frombuffer(data, np.float32).reshape(-1, 5)
