"""One Argoverse log as rows of the neutral tables. Boxes are annotated at sweeps: of each camera the nearest picture has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from dwm.data.argoverse.categories import CATEGORIES, UNKNOWN
from dwm.data.argoverse.logs import ANNOTATIONS, EXTRINSICS, INTRINSICS, LIDAR, POSES, Log
from dwm.data.tables.feather import read_feather
from dwm.data.tables.motion import product, turned
from dwm.data.tables.row_tables import NOTES
from dwm.data.tables.scene_tables import SCHEMAS
from dwm.errors import DwmError
from dwm.storage import Tree

NANOSECONDS, WHOLE, NUMBER, TEXT = pa.int64(), pa.int64(), pa.float64(), pa.string()
TURN, SHIFT, SIZE = ("qw", "qx", "qy", "qz"), ("tx_m", "ty_m", "tz_m"), ("length_m", "width_m", "height_m")
POSE = dict.fromkeys((*TURN, *SHIFT), NUMBER)
POSE_TABLE = pa.schema({"timestamp_ns": NANOSECONDS, **POSE})
MOUNTING_TABLE = pa.schema({"sensor_name": TEXT, **POSE})
LENS = ("fx_px", "fy_px", "cx_px", "cy_px")
LENS_TABLE = pa.schema(
    {"sensor_name": TEXT, **dict.fromkeys(LENS, NUMBER), "width_px": pa.int32(), "height_px": pa.int32()}
)
BOX_TABLE = pa.schema(
    {"timestamp_ns": NANOSECONDS, "track_uuid": TEXT, "category": TEXT, **dict.fromkeys(SIZE, NUMBER), **POSE}
    | {"num_interior_pts": WHOLE}
)
NEAR_ENOUGH = 50_000_000
"""ns from a sweep, of which there are ten in a second, within which a picture has its boxes."""


@dataclass(frozen=True)
class Frames:
    """Pictures or sweeps of a sensor: files, times (ns), the instant (ns) of each, and whether its boxes hold for them."""

    sensor: str
    files: list[str]
    stamps: Int[np.ndarray, "n"]
    instants: Int[np.ndarray, "n"]
    annotated: Bool[np.ndarray, "n"]


class LogRows:
    """`tables` are the rows of one log: scenes, sensors, instants, frames, boxes, and notes of what it lacks."""

    def __init__(self, tree: Tree, log: Log) -> None:
        self.tree, self.log = tree, log
        self.notes: list[str] = []

    def tables(self) -> dict[str, pa.Table]:
        """Empty of scenes where the log holds no frames. Raises DwmError for a table that is missing or damaged."""
        frames = list(self._frames())
        if not frames:
            self.notes.append("holds no picture and no sweep, and is left out")
            return {"notes": self._notes()}
        if not len(self._annotated):
            self.notes.append("has no annotated boxes")
        lane_map = self.log.map(self.tree)
        if lane_map is None:
            self.notes.append("has no map")
        name = self.log.name
        scene = {"token": self.log.token, "name": name, "description": "", "map": name if lane_map else ""}
        instants = np.unique(np.concatenate([part.instants for part in frames]))
        return {
            "scenes": pa.Table.from_pylist([scene], SCHEMAS["scenes"]),
            "sensors": pa.Table.from_pylist([self._sensor(part.sensor) for part in frames], SCHEMAS["sensors"]),
            "instants": pa.table(
                [self._tokens(instants), pa.array([self.log.token] * len(instants), TEXT), pa.array(instants / 1000)],
                schema=SCHEMAS["instants"],
            ),
            "frames": pa.concat_tables([self._frame_rows(part) for part in frames]),
            "boxes": self._box_rows(instants),
            "notes": self._notes(),
        }

    def _notes(self) -> pa.Table:
        rows = [{"scene": self.log.name, "cause": cause} for cause in self.notes]
        return pa.Table.from_pylist(rows, NOTES)

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        file = self.log.file(name)
        if not self.tree.exists(file):
            raise DwmError(f"{file}: is missing; fetch the log again, or leave it out")
        return read_feather(self.tree.read(file), file, schema)

    @cached_property
    def _poses(self) -> tuple[Int[np.ndarray, "n"], pa.Table]:
        """Their times (ns), rising, and the table in that order. Raises DwmError for two poses of one time."""
        table = self._read(POSES, POSE_TABLE).sort_by("timestamp_ns").combine_chunks()
        stamps = table["timestamp_ns"].to_numpy()
        if (twice := np.flatnonzero(np.diff(stamps) == 0)).size:
            raise DwmError(f"{self.log.file(POSES)}: has two poses at {stamps[twice[0]]} ns; fetch it again")
        return stamps, table

    def _pose_rows(self, stamps: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The row of the pose of exactly each time, -1 where there is none."""
        known = self._poses[0]
        rows = np.minimum(np.searchsorted(known, stamps), max(0, len(known) - 1))
        return np.where(known[rows] == stamps, rows, -1) if len(known) else np.full(len(stamps), -1)

    @cached_property
    def _boxes(self) -> pa.Table:
        if not self.tree.exists(self.log.file(ANNOTATIONS)):
            return BOX_TABLE.empty_table()
        return self._read(ANNOTATIONS, BOX_TABLE)

    @cached_property
    def _annotated(self) -> Int[np.ndarray, "n"]:
        """The times (ns) at which there are boxes, rising."""
        stamps = np.unique(self._boxes["timestamp_ns"].to_numpy())
        placed = self._pose_rows(stamps) >= 0 if len(stamps) else np.zeros(0, bool)
        if not placed.all():
            self.notes.append(f"has boxes at {int((~placed).sum())} times without a pose, which are left out")
        return stamps[placed]

    def _frames(self) -> Iterator[Frames]:
        """The LiDAR's, then each camera's that is calibrated."""
        sweeps, stamps = self._placed(LIDAR)
        instants = np.union1d(stamps, self._annotated)
        if sweeps:
            yield Frames(LIDAR, sweeps, stamps, stamps, np.isin(stamps, self._annotated))
        for name in self.log.cameras(self.tree):
            if name.rpartition("/")[2] not in self._mountings or name.rpartition("/")[2] not in self._lenses:
                self.notes.append(f"has no calibration of {name}, which is left out")
                continue
            files, stamps = self._placed(name)
            if not files:
                continue
            if not len(instants):  # neither sweeps nor boxes: every picture is a moment of its own
                yield Frames(name, files, stamps, stamps, np.zeros(len(stamps), bool))
                continue
            own = instants[nearest(instants, stamps)]
            best = nearest(stamps, self._annotated)
            near = np.abs(stamps[best] - self._annotated) <= NEAR_ENOUGH
            own[best[near]] = self._annotated[near]
            annotated = np.zeros(len(stamps), bool)
            annotated[best[near]] = True
            yield Frames(name, files, stamps, own, annotated)

    def _placed(self, sensor: str) -> tuple[list[str], Int[np.ndarray, "n"]]:
        """The frames of a sensor for which there is a pose."""
        files, stamps = self.log.frames(self.tree, sensor)
        placed = self._pose_rows(stamps) >= 0 if files else np.zeros(0, bool)
        if not placed.all():
            self.notes.append(f"has frames of {sensor} without a pose, which are left out")
        return [file for file, keep in zip(files, placed, strict=True) if keep], stamps[placed]

    @cached_property
    def _mountings(self) -> dict[str, dict[str, Any]]:
        return {row["sensor_name"]: row for row in self._read(EXTRINSICS, MOUNTING_TABLE).to_pylist()}

    @cached_property
    def _lenses(self) -> dict[str, dict[str, Any]]:
        return {row["sensor_name"]: row for row in self._read(INTRINSICS, LENS_TABLE).to_pylist()}

    def _sensor(self, name: str) -> dict[str, Any]:
        row = {"token": f"{self.log.name}|{name}", "name": name}
        if name == LIDAR:  # points are in the car's frame already
            return row | {"kind": "lidar", "translation": [0, 0, 0], "rotation": [1, 0, 0, 0], "intrinsics": []}
        camera = name.rpartition("/")[2]
        mounting = self._mountings[camera]
        fx, fy, cx, cy = (self._lenses[camera][part] for part in LENS)
        pose = {"translation": [mounting[axis] for axis in SHIFT], "rotation": [mounting[axis] for axis in TURN]}
        return row | pose | {"kind": "camera", "intrinsics": [fx, 0, cx, 0, fy, cy, 0, 0, 1]}

    def _tokens(self, stamps: Int[np.ndarray, "n"], *words: str) -> pa.Array:
        return pa.array(["|".join((self.log.name, *words, str(stamp))) for stamp in stamps.tolist()], TEXT)

    def _frame_rows(self, part: Frames) -> pa.Table:
        count, known = len(part.files), self._poses[1].take(pa.array(self._pose_rows(part.stamps)))
        lens = self._lenses.get(part.sensor.rpartition("/")[2]) if part.sensor != LIDAR else None
        width, height = (lens["width_px"], lens["height_px"]) if lens else (0, 0)
        columns = {
            "token": self._tokens(part.stamps, part.sensor),
            "sensor": pa.array([f"{self.log.name}|{part.sensor}"] * count, TEXT),
            "instant": self._tokens(part.instants),
            "time": pa.array(part.stamps / 1000),
            "annotated": pa.array(part.annotated),
            "file": pa.array(part.files, TEXT),
            "width": pa.array(np.full(count, width, np.int32)),
            "height": pa.array(np.full(count, height, np.int32)),
            "translation": lists(columns_of(known, SHIFT)),
            "rotation": lists(columns_of(known, TURN)),
        }
        return pa.table(columns, schema=SCHEMAS["frames"])

    def _box_rows(self, instants: Int[np.ndarray, "m"]) -> pa.Table:
        """The boxes of these times, moved from the car's frame into the world."""
        stamps = self._boxes["timestamp_ns"].to_numpy()
        rows = np.flatnonzero(np.isin(stamps, instants) & np.isin(stamps, self._annotated))
        boxes, count, stamps = self._boxes.take(pa.array(rows)), len(rows), stamps[rows]
        poses = self._poses[1].take(pa.array(self._pose_rows(stamps)))
        world_from_ego = columns_of(poses, TURN)
        centres = turned(world_from_ego, columns_of(boxes, SHIFT)) + columns_of(poses, SHIFT)
        columns = {
            "token": pa.array([f"{self.log.name}|{row}" for row in rows.tolist()], TEXT),
            "instant": self._tokens(stamps),
            "instance": pa.array([f"{self.log.name}|{name}" for name in boxes["track_uuid"].to_pylist()], TEXT),
            "category": pa.array([category_of(name) for name in boxes["category"].to_pylist()], TEXT),
            "translation": lists(centres),
            "size": lists(columns_of(boxes, SIZE)),
            "rotation": lists(product(world_from_ego, columns_of(boxes, TURN))),
            "visibility": pa.array([""] * count, TEXT),
            "attributes": pa.array([[]] * count, pa.list_(TEXT)),
            "lidar_points": boxes["num_interior_pts"].cast(pa.int32()),
            "radar_points": pa.array(np.zeros(count, np.int32)),
        }
        return pa.table(columns, schema=SCHEMAS["boxes"])


def nearest(stamps: Int[np.ndarray, "n"], instants: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
    """The index of the nearest of some whole numbers, which rise; the earlier of two equally near."""
    right = np.clip(np.searchsorted(stamps, instants), 0, len(stamps) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(stamps[left] - instants) <= np.abs(stamps[right] - instants), left, right)


def category_of(name: str) -> str:
    return CATEGORIES.get(name, f"{UNKNOWN}.{name}")


def columns_of(table: pa.Table, names: tuple[str, ...]) -> Float[np.ndarray, "n k"]:
    return np.stack([table[name].to_numpy() for name in names], 1)


def lists(values: Float[np.ndarray, "n k"]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
