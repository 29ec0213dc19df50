"""OpenDWM's layout packages: a `data.json` with layout pictures beside it → windows as batches. Draws and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import ConfigDict, Field, field_validator
from torch import Tensor

from dwm.clip import ring_mask
from dwm.clip_batch import ClipBatch
from dwm.config.data import SourceOptions
from dwm.config.files import read_json, validated
from dwm.conventions import NUSCENES_VIEWS
from dwm.data.pictures import open_picture
from dwm.data.windows import frame_windows
from dwm.errors import DwmError
from dwm.opendwm.commands.vehicle_colors import without_vehicle_colors
from dwm.options import Options
from dwm.storage import Tree, limits, open_tree

BLACK = (448, 256)
"""Size (width, height) of the black picture that stands for one that is missing."""
PACKAGES = "https://huggingface.co/datasets/wzhgba/opendwm-data"
KINDS = {"rgb": "frames", "3dbox": "layout_boxes", "hdmap": "layout_map"}
LARGEST_EDGE = 65_535
"""Pixels; no picture's format knows more."""
FARTHEST = 1e9
"""Metres or pixels: what is beyond has no place in single precision, nor on the earth."""
Matrix = tuple[tuple[float, ...], ...]


class PackageCamera(Options):
    """One camera at one instant. Paths are relative to `data.json`."""

    model_config = ConfigDict(extra="ignore")

    rgb: str | None = Field(None, description="the photograph")
    boxes: str | None = Field(None, alias="3dbox", description="picture of the boxes")
    hdmap: str | None = Field(None, description="picture of the map")
    extrin: Matrix | None = Field(None, description="4×4, ego from camera")
    intrin: Matrix | None = Field(None, description="3×3, in pixels of the original picture")
    image_size: tuple[int, int] | None = Field(
        None, description="width and height of the original picture; none: those of the pictures here"
    )
    image_description: str = Field("", description="what is to be seen")

    @field_validator("extrin", "intrin")
    @classmethod
    def _is_square(cls, matrix: Matrix | None, info: Any) -> Matrix | None:
        return square(matrix, 4 if info.field_name == "extrin" else 3)

    @field_validator("image_size")
    @classmethod
    def _is_a_size(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and not all(0 < edge <= LARGEST_EDGE for edge in size):
            raise ValueError(f"is {size[0]}×{size[1]}, not the width and height of a picture")
        return size

    def file(self, kind: str) -> str | None:
        return self.boxes if kind == "3dbox" else getattr(self, kind)


class PackageFrame(Options):
    """One instant."""

    model_config = ConfigDict(extra="ignore")

    timestamp: float = Field(..., ge=-1e12, le=1e12, description="seconds")
    ego_pose: Matrix | None = Field(None, description="4×4, world from ego")
    camera_infos: dict[str, PackageCamera] = Field(..., description="cameras by name")

    @field_validator("ego_pose")
    @classmethod
    def _is_square(cls, matrix: Matrix | None) -> Matrix | None:
        return square(matrix, 4)


def square(matrix: Matrix | None, size: int) -> Matrix | None:
    """The same matrix. Raises ValueError where it is not of `size` rows and columns."""
    if matrix is not None and [len(row) for row in matrix] != [size] * size:
        raise ValueError(f"is not a matrix of {size}×{size} numbers")
    if matrix is not None and not all(abs(number) < FARTHEST for row in matrix for number in row):
        raise ValueError(f"holds numbers beyond {FARTHEST:g}; metres and pixels are told")
    return matrix


@dataclass(frozen=True)
class LayoutPackage:
    """The frames of a package and where its pictures lie. as_published keeps OpenDWM's oddity: sizes as (height, width)."""

    tree: Tree
    name: str
    frames: tuple[PackageFrame, ...]
    as_published: bool = False

    @classmethod
    def open(cls, path: str | Path, as_published: bool = False) -> LayoutPackage:
        """Reads a `data.json`. Raises DwmError naming the frame and field that is wrong."""
        path = Path(path)
        values = read_json(path)
        if (
            not isinstance(values, Mapping)
            or not values
            or not all(key.isdecimal() and len(key) < 10 for key in values)
        ):
            raise DwmError(f"{path}: is no layout package: expected frames under the keys 0, 1, 2, …")
        ordered = sorted(values, key=int)
        frames = tuple(validated(PackageFrame, values[key], f"{path}: {key}") for key in ordered)
        return cls(open_tree(path.parent), str(path), frames, as_published)

    @cached_property
    def stamps(self) -> np.ndarray:
        """µs, cut to whole ms as OpenDWM does."""
        return np.array([int(frame.timestamp * 1000) * 1000 for frame in self.frames], float)

    def windows(self, length: int, rates: Sequence[tuple[float, float]]) -> list[tuple[float, list[int]]]:
        """(frames a second, numbers of the frames) of every window. Raises DwmError where there is none."""
        keys = [np.ones(len(self.frames), bool)]
        frames_at = [
            (fps, window[:, 0].tolist())
            for fps, stride in rates
            for window in frame_windows([self.stamps], keys, length, fps, stride, check=False)
        ]
        if not frames_at and len(self.frames) == length:
            # OpenDWM wants one frame more than it reads; a package of just one window is read here all the same.
            frames_at = [(rates[0][0], list(range(length)))]
        if not frames_at:
            raise DwmError(
                f"{self.name}: {len(self.frames)} frames over {(self.stamps[-1] - self.stamps[0]) / 1e6:g} s hold no window of "
                f"{length} frames at {rates[0][0]:g} a second; ask for fewer frames"
            )
        return frames_at

    def batch(
        self, fps: float, numbers: Sequence[int], views: Sequence[str], size: tuple[int, int], source: SourceOptions
    ) -> ClipBatch:
        """Frames as a batch of one clip, pictures resized to `size` (width, height)."""
        rows = [[self._camera(number, view) for view in views] for number in numbers]
        pictures = {field: self._pictures(rows, kind, size) for kind, field in KINDS.items()}
        sizes = [[self._size(camera) for camera in row] for row in rows]
        poses = [[self.frames[number].ego_pose or np.eye(4)] * len(views) for number in numbers]
        words = [[camera.image_description for camera in row] for row in rows]
        if source.drop_vehicle_colors:
            words = [[without_vehicle_colors(text) for text in row] for row in words]
        stamps = (self.stamps[list(numbers)] - self.stamps[numbers[0]]) / 1000
        mask = source.crossview_mask
        return ClipBatch(
            fps=torch.tensor([fps]),
            times=torch.from_numpy(stamps).float()[None, :, None].expand(1, -1, len(views)),
            intrinsics=_matrices([[camera.intrin or np.eye(3) for camera in row] for row in rows]),
            ego_from_camera=_matrices([[camera.extrin or np.eye(4) for camera in row] for row in rows]),
            world_from_ego=_matrices(poses),
            image_size=torch.tensor(sizes)[None],
            captions=(tuple(tuple(row) for row in words),),
            crossview_mask=_usual_mask(views) if mask is None else torch.tensor(mask)[None],
            scenes=(Path(self.name).parent.name,),
            **pictures,
        )

    def _camera(self, number: int, view: str) -> PackageCamera:
        cameras = self.frames[number].camera_infos
        if view not in cameras:
            raise DwmError(f"{self.name}: frame {number} has no camera {view} ({', '.join(cameras)})")
        return cameras[view]

    def _pictures(self, rows: list[list[PackageCamera]], kind: str, size: tuple[int, int]) -> Tensor | None:
        """(1, t, v, 3, h, w) in [0, 1]; None where no camera has such a picture."""
        if not any(camera.file(kind) for row in rows for camera in row):
            return None
        width, height = size
        pictures = np.zeros((len(rows), len(rows[0]), height, width, 3), np.uint8)
        for t, row in enumerate(rows):
            for v, camera in enumerate(row):
                if (name := camera.file(kind)) is not None:
                    pictures[t, v] = np.asarray(self._image(name).resize(size, Image.Resampling.BILINEAR))
        return torch.from_numpy(pictures).movedim(-1, -3)[None].float().div_(255)

    def _size(self, camera: PackageCamera) -> tuple[int, int]:
        """(width, height) of the original picture; as published (height, width) of the picture that was read last."""
        names = [name for kind in ("hdmap", "3dbox", "rgb") if (name := camera.file(kind))]
        if camera.image_size is not None and not self.as_published:
            return camera.image_size
        width, height = self._image(names[0]).size if names else BLACK
        return (height, width) if self.as_published else (width, height)

    def _image(self, name: str) -> Image.Image:
        data = self.tree.read(name, limits.PICTURE)
        try:
            with open_picture(data, name) as picture:
                return picture.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DwmError(f"{self.name}: {name} is no whole picture ({error})") from None


def package_batches(source: SourceOptions, size: tuple[int, int], as_published: bool) -> Iterator[ClipBatch]:
    """Every window of a package, one after another."""
    if source.path is None:
        raise DwmError("data: where is the package? give the path of its data.json")
    if not Path(source.path).is_file():
        raise DwmError(
            f"{source.path}: the layout package is not here; fetch OpenDWM's (nuscenes_scene-0627_package.zip or "
            f"carla_town04_package.zip, some hundred MB, {PACKAGES}) and unpack it there, or make one of a recorded data set: "
            "python src/dwm/tools/export_nusc_2_preview_format.py -c CONFIG -o FOLDER"
        )
    package = LayoutPackage.open(source.path, as_published)
    for fps, numbers in package.windows(source.frames, source.rates):
        yield package.batch(fps, numbers, source.views, size, source)


def _usual_mask(views: Sequence[str]) -> Tensor | None:
    """(1, v, v): nuScenes' ring where all cameras have its names, as these packages need no calibration; else None."""
    if not set(views) <= set(NUSCENES_VIEWS):
        return None
    index = [NUSCENES_VIEWS.index(name) for name in views]
    return torch.from_numpy(ring_mask(len(NUSCENES_VIEWS))[np.ix_(index, index)])[None]


def _matrices(rows: Any) -> Tensor:
    return torch.from_numpy(np.asarray(rows, np.float32))[None]


def dump(frames: Sequence[PackageFrame]) -> str:
    """The text of a `data.json`."""
    content = {str(number): frame.model_dump(mode="json", by_alias=True) for number, frame in enumerate(frames)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
