"""Pictures of a clip that are in memory already."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ArrayPictures:
    """frames: bytes (t, v, h, w, 3)."""

    frames: np.ndarray

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> np.ndarray:
        picture = self.frames[frame, view]
        if size is None or size == picture.shape[1::-1]:
            return picture
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
