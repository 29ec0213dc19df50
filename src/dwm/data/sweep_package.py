"""OpenDWM's packages of sweeps: a JSON of frames with sweeps and pictures from above beside it → batches. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor

from dwm.clip import Clip, LidarTrack, Rig
from dwm.clip_batch import ClipBatch
from dwm.data.pictures import open_picture
from dwm.data.sweeps import SweepPreparation, prepare_sweeps
from dwm.data.windows import frame_windows
from dwm.errors import DwmError
from dwm.options import Options
from dwm.storage import Tree, limits, open_tree, read_file
from dwm.strict_json import parse_json

LIDAR = "LIDAR_TOP"
POINT_BYTES = 20
"""Five float32 a point."""
Row = tuple[float, float, float, float]
Matrix = tuple[Row, Row, Row, Row]
IDENTITY: Matrix = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


class PackageSweep(Options):
    """One sweep. Paths are relative to the JSON; what is missing is an empty sweep, or a black picture."""

    model_config = ConfigDict(extra="ignore")

    lidar: str | None = Field(None, description="points: x, y, z, intensity, ring as float32")
    lidar_transforms: Matrix = Field(IDENTITY, description="ego from LiDAR")
    boxes: str | None = Field(None, alias="3dbox_bev", description="picture of the boxes from above")
    map: str | None = Field(None, alias="hdmap_bev", description="picture of the map from above")


class PackageInstant(Options):
    model_config = ConfigDict(extra="ignore")

    timestamp: float = Field(..., ge=-1e12, le=1e12, description="seconds")
    ego_pose: Matrix = Field(IDENTITY, description="world from ego")
    lidar_infos: dict[str, PackageSweep] = Field(..., description="LiDARs by name")


@dataclass(frozen=True)
class PackageSweeps:
    """Windows of a package as batches of one clip with its LiDAR alone, as those of a data set."""

    path: Path
    length: int
    rates: tuple[tuple[float, float], ...]
    preparation: SweepPreparation

    @property
    def frames(self) -> int:
        return self.length

    def __len__(self) -> int:
        return len(self.windows)

    @cached_property
    def instants(self) -> tuple[PackageInstant, ...]:
        """Raises DwmError naming the frame and field that is wrong."""
        values = parse_json(read_file(self.path, limits.TEXT), str(self.path), "fetch or write it again")
        keys = list(values) if isinstance(values, dict) else []
        if not keys or not all(key.isdecimal() and len(key) < 10 for key in keys):
            raise DwmError(f"{self.path}: is no package of sweeps: expected frames under the keys 0, 1, 2, …")
        return tuple(self._instant(key, values[key]) for key in sorted(keys, key=int))

    @cached_property
    def windows(self) -> list[tuple[float, list[int]]]:
        """(frames a second, numbers of the frames). Raises DwmError where there is none."""
        stamps = np.array([instant.timestamp * 1e6 for instant in self.instants])
        windows = [
            (fps, window[:, 0].tolist())
            for fps, stride in self.rates
            for window in frame_windows([stamps], [np.ones(len(stamps), bool)], self.length, fps, stride, check=False)
        ]
        if not windows:
            raise DwmError(
                f"{self.path}: its {len(stamps)} frames hold no window of {self.length}; ask for fewer frames"
            )
        return windows

    def read(self, index: int, frames: slice = slice(None), generator: torch.Generator | None = None) -> ClipBatch:
        fps, numbers = self.windows[index]
        numbers = numbers[frames]
        sweeps = [self._sweep(number) for number in numbers]
        bare = replace(self.preparation, boxes=False, map=False)
        batch = prepare_sweeps(self._clip(fps, numbers, sweeps), bare, generator)
        assert batch.lidar is not None
        boxes = self._pictures([sweep.boxes for sweep in sweeps]) if self.preparation.boxes else None
        lanes = self._pictures([sweep.map for sweep in sweeps]) if self.preparation.map else None
        return replace(batch, lidar=replace(batch.lidar, layout_boxes=boxes, layout_map=lanes))

    @cached_property
    def _tree(self) -> Tree:
        return open_tree(self.path.parent)

    def _instant(self, key: str, values: Any) -> PackageInstant:
        try:
            return PackageInstant.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (key, *first["loc"])))
            raise DwmError(f"{self.path}: {where}: {first['msg']}") from None

    def _sweep(self, number: int) -> PackageSweep:
        lidars = self.instants[number].lidar_infos
        if LIDAR not in lidars:
            raise DwmError(f"{self.path}: frame {number} has no {LIDAR} (it has {', '.join(lidars) or 'none'})")
        return lidars[LIDAR]

    def _clip(self, fps: float, numbers: Sequence[int], sweeps: Sequence[PackageSweep]) -> Clip:
        times = np.array([round(self.instants[number].timestamp * 1e6) for number in numbers])
        poses = np.array([self.instants[number].ego_pose for number in numbers], float)
        mounting = np.array([sweep.lidar_transforms for sweep in sweeps], float)
        clouds: Any = [self._points(sweep.lidar) for sweep in sweeps]
        rig = Rig((), np.zeros((0, 3, 3)), np.zeros((0, 4, 4)), np.zeros((0, 2), int))
        t = len(times)
        track = LidarTrack(times, poses, mounting, clouds)
        return Clip(self.path.parent.name, fps, rig, np.zeros((t, 0)), np.zeros((t, 0, 4, 4)), lidar=track)

    def _points(self, name: str | None) -> np.ndarray:
        data = b"" if name is None else self._tree.read(name)
        if len(data) % POINT_BYTES:
            raise DwmError(f"{name}: {len(data)} bytes are no whole number of points ({POINT_BYTES} bytes each)")
        return np.frombuffer(data, "<f4").reshape(-1, 5)

    def _pictures(self, names: Sequence[str | None]) -> Tensor:
        """(1, t, 3, H, W) bytes, as large as the grid."""
        width, height = self.preparation.birdseye.size
        pixels = np.zeros((len(names), height, width, 3), np.uint8)
        for frame, name in enumerate(names):
            if name is None:
                continue
            try:
                with open_picture(self._tree.read(name, limits.PICTURE), name) as picture:
                    resized = picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
                    pixels[frame] = np.asarray(resized)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise DwmError(f"{self.path}: {name} is no whole picture ({error})") from None
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)[None].contiguous()
