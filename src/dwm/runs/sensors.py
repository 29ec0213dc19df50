"""A generation's LiDAR beside its pictures: sweeps of the same clip, written as nuScenes stores them, and drawn together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from dwm.clip import Clip
from dwm.data import LookOptions, look_at
from dwm.data.rays import RayOptions
from dwm.data.sweep_places import save_points
from dwm.report import Video
from dwm.report.film import Film
from dwm.report.rays import lidar_video
from dwm.storage import atomic_write

FOLDER, LIST_NAME = "sweeps", "sweeps/sweeps.json"
FILES = tuple(f"{name}.{kind}" for name in ("lidar", "sensors") for kind in ("png", "mp4"))


@dataclass(frozen=True)
class VideoPictures:
    """A generated video as a clip's pictures."""

    pictures: UInt8[np.ndarray, "t v h w 3"]

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        picture = self.pictures[frame, view]
        if size is None or size == (picture.shape[1], picture.shape[0]):
            return picture
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class MadeSweeps:
    """The clip with its generated sweeps, as the LiDAR's rays see it, and what is written of it."""

    clip: Clip
    rays: RayOptions
    recorded: Clip | None = None
    """The clip as it was recorded, where its own sweeps are of the same scene."""

    @cached_property
    def video(self) -> Video:
        """Range images and the view from above."""
        return lidar_video(self.clip, self.rays, self.recorded)

    def write(self, video: Video, output: Path) -> Iterator[Path]:
        """Files of sweeps with a list of them, their pictures, and the six cameras with boxes and sweep; yields the paths."""
        yield from self.write_points(output)
        kind = "png" if video.length == 1 else "mp4"
        yield from self.video.save(output / f"lidar.{kind}")
        together = replace(self.clip, pictures=VideoPictures(video.pictures()))
        look = look_at(together, LookOptions(tile_width=max(64, min(448, 2 * video.size[0]))))
        yield Film(look, self.clip.fps or 1.0).save(output / f"sensors.{kind}")

    def write_points(self, output: Path) -> Iterator[Path]:
        """`sweeps/0000.pcd.bin` …: x, y, z (metres, the LiDAR's frame), intensity, ring as float32, and `sweeps/sweeps.json`."""
        track, rows = self.clip.lidar, []
        assert track is not None
        for frame in range(self.clip.length):
            path, points = output / FOLDER / f"{frame:04d}.pcd.bin", np.asarray(track.points[frame])
            save_points(path, points)
            yield path
            milliseconds = float(track.times[frame] - track.times[0]) / 1000
            poses = track.mounting(frame), track.world_from_ego[frame]
            rows.append(sweep_row(path.relative_to(output), self.clip.scene, frame, milliseconds, len(points), *poses))
        yield save_rows(output / LIST_NAME, rows)


def sweep_row(
    file: Path,
    scene: str,
    frame: int,
    milliseconds: float,
    points: int,
    ego_from_lidar: Float[np.ndarray, "4 4"],
    world_from_ego: Float[np.ndarray, "4 4"],
) -> dict[str, Any]:
    """What the list of sweeps says of one; `file` is relative to the output."""
    return {
        "file": file.as_posix(),
        "scene": scene,
        "frame": frame,
        "milliseconds": milliseconds,
        "points": points,
        "ego_from_lidar": ego_from_lidar.tolist(),
        "world_from_ego": world_from_ego.tolist(),
    }


def save_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return path
