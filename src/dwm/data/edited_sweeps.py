"""Sweeps of another origin in a set with edits: when and from where they are taken, their files, and the points in each box.

A part of a scene has a sweep at each of its key frames; between them there is none. Knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dwm.clip import Clip, LidarTrack
from dwm.data.edited_set import ScenePart, with_annotated
from dwm.data.edits import Edits
from dwm.data.sweep_places import save_points, sweep_places
from dwm.data.tables.scene import Window
from dwm.data.tables.scene_tables import SCHEMAS
from dwm.errors import DwmError
from dwm.geometry import apply, points_inside, quaternion_from_rotation, rotation_from_quaternion
from dwm.storage import inside


@dataclass(frozen=True)
class KeySweeps:
    """The key frames of a part as the LiDAR has them: clips of one view, whose boxes are those annotated at the sweeps' times,
    as they were recorded and as edits leave them; and the rows of the sweeps in the frames' table."""

    part: ScenePart
    recorded: Clip
    edited: Clip
    rows: tuple[int, ...]

    @cached_property
    def places(self) -> LidarTrack:
        """When and from where sweeps are taken."""
        return sweep_places(self.edited, self.recorded)

    def column(self, name: str) -> list[str]:
        values = self.part.scene.tables.index.frames[name]
        return [values[row].as_py() for row in self.rows]

    def file(self, folder: Path, name: str) -> Path:
        return folder / inside(name, f"{self.part.name}: a sweep's file")


def key_sweeps(part: ScenePart, edits: Edits = Edits()) -> KeySweeps:
    """Raises DwmError for a scene without a LiDAR, or whose LiDAR lacks one of the key frames."""
    scene, views = part.scene, part.window.channels
    channels, columns = scene.channels(views), scene.tables.columns
    if len(channels) == len(views):
        raise DwmError(
            f"{scene.name}: has no LiDAR that says when and from where sweeps are taken; leave --sensors out"
        )
    cameras = part.window.rows[part.keys]
    of_lidar = scene.rows_of[channels[0]]
    by_sample = {int(columns.sample[row]): int(row) for row in of_lidar[columns.key[of_lidar]]}
    rows = tuple(by_sample.get(int(sample), -1) for sample in columns.sample[cameras[:, 0]])
    if -1 in rows:
        raise DwmError(f"{scene.name}: {channels[0]} lacks key frame {rows.index(-1)}; leave --sensors out")
    clip = scene.window(Window(scene.number, part.fps, channels, np.column_stack([np.array(rows), cameras])))
    assert clip.lidar is not None and clip.boxes is not None
    whole = with_annotated(clip, clip.lidar.times.tolist(), [row[0] for row in clip.boxes])
    edited = edits.fitting(whole.instances).edit(whole)
    alone = slice(None), slice(-1, None)
    return KeySweeps(part, whole.part(*alone), edited.part(*alone), rows)


def save_sweeps(folder: Path, sweeps: KeySweeps, track: LidarTrack) -> int:
    """Writes sweeps where the set's tables will name them, five float32 a point; returns how many."""
    for frame, name in enumerate(sweeps.column("filename")):
        save_points(sweeps.file(folder, name), track.points[frame])
    return len(sweeps.rows)


@dataclass(frozen=True)
class SweepFiles:
    """Sweeps of several parts, whose files were put in place below `folder`."""

    parts: tuple[KeySweeps, ...]
    folder: Path

    @classmethod
    def of(cls, parts: Sequence[ScenePart], edits: Edits, folder: Path) -> SweepFiles:
        return cls(tuple(key_sweeps(part, edits) for part in parts), folder)

    def frames(self, frames: pa.Table) -> pa.Table:
        """The frames' rows of these sweeps, at the places from which they were taken."""
        return _frames(frames, self.parts)

    def with_points(self, boxes: pa.Table, frames: pa.Table) -> pa.Table:
        """The boxes with the number of points in each; frames: the sweeps' rows."""
        return _with_points(boxes, self.parts, frames, self.folder)


def _frames(frames: pa.Table, all_sweeps: Sequence[KeySweeps]) -> pa.Table:
    places = {
        token: sweeps.places.world_from_ego[frame]
        for sweeps in all_sweeps
        for frame, token in enumerate(sweeps.column("token"))
    }
    rows = frames.filter(pc.is_in(frames["token"], value_set=pa.array(list(places), pa.string()))).to_pylist()
    for row in rows:
        pose = places[row["token"]]
        recorded = rotation_from_quaternion(np.array(row["rotation"]))
        if not (np.allclose(pose[:3, 3], row["translation"]) and np.allclose(pose[:3, :3], recorded)):
            turned = quaternion_from_rotation(pose[:3, :3]).tolist()
            row |= {"translation": pose[:3, 3].tolist(), "rotation": turned}
    return pa.Table.from_pylist(rows, SCHEMAS["frames"])


def _with_points(boxes: pa.Table, all_sweeps: Sequence[KeySweeps], frames: pa.Table, folder: Path) -> pa.Table:
    instant_of = dict(zip(frames["token"].to_pylist(), frames["instant"].to_pylist(), strict=True))
    in_world = {}
    for sweeps in all_sweeps:
        names = zip(sweeps.column("token"), sweeps.column("filename"), strict=True)
        for frame, (token, name) in enumerate(names):
            points = np.frombuffer(sweeps.file(folder, name).read_bytes(), "<f4").reshape(-1, 5)[:, :3]
            in_world[instant_of[token]] = apply(sweeps.places.world_from_lidar(frame), points.astype(np.float64))
    rows = boxes.to_pylist()
    for row in rows:
        if (points := in_world.get(row["instant"])) is not None:
            center, size, turn = (np.array(row[name], np.float64) for name in ("translation", "size", "rotation"))
            inside_box = points_inside(points, center[None], size[None], rotation_from_quaternion(turn)[None])
            row["lidar_points"] = int(inside_box[0])
    return pa.Table.from_pylist(rows, SCHEMAS["boxes"])
