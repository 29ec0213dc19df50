"""Waymo Open's Perception v2 as tables: keys, poses, calibrations and boxes of each segment's components. It has no maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dwm.data.tables.row_tables import Rows, RowTables
from dwm.data.waymo.captions import WaymoCaptions
from dwm.data.waymo.components import (
    BOXES,
    CAMERA,
    CAMERA_LENSES,
    ENDING,
    IMAGES,
    LASER,
    POSE,
    POSES,
    READ,
    SEGMENT,
    STATS,
    SWEEPS,
    TIME,
    component_file,
    read_component,
)
from dwm.data.waymo.rows import SegmentRows
from dwm.data.waymo.sensors import CAMERAS, LIDARS, RING, matrix
from dwm.data.waymo.splits import splits_of
from dwm.errors import DwmError
from dwm.storage import Tree

LENS = "[CameraCalibrationComponent]."
LENS_COLUMNS = tuple(f"{LENS}{name}" for name in ("intrinsic.f_u", "intrinsic.f_v", "intrinsic.c_u", "intrinsic.c_v"))
BOX = "[LiDARBoxComponent]."
BOX_COLUMNS = (
    *(f"{BOX}box.{part}.{axis}" for part in ("center", "size") for axis in "xyz"),
    f"{BOX}box.heading",
    f"{BOX}type",
    f"{BOX}num_lidar_points_in_box",
)
STATS_COLUMNS = tuple(f"[StatsComponent].{name}" for name in ("time_of_day", "weather", "location"))


@dataclass(frozen=True)
class WaymoComponents(RowTables):
    """Segments of one folder of component folders ("" is the root)."""

    format = "Waymo Open v2"
    views = RING
    caption_files = WaymoCaptions
    recording = "segment"
    kept_as = "waymo v2 1"
    folder: str = ""

    @property
    def label(self) -> str:
        return f"waymo-v2-{self.version}"

    @property
    def splits(self) -> Mapping[str, Collection[str]]:
        return splits_of(self.folder or self.tree.where, self.recordings)

    @property
    def files(self) -> Sequence[str]:
        return [component_file(self.folder, part, segment) for segment in self.recordings for part in READ]

    @property
    def recordings(self) -> list[str]:
        """The segments that have poses, by name."""
        place = f"{self.folder}/{POSES}/" if self.folder else f"{POSES}/"
        names = (name.removeprefix(place) for name in self.tree.names(place))
        return sorted(name.removesuffix(ENDING) for name in names if name.endswith(ENDING) and "/" not in name)

    def rows_of(self, recording: str) -> Rows:
        return _Segment(self.tree, self.folder, recording).read()


class _Segment:
    """The components of one segment on their way into rows."""

    def __init__(self, tree: Tree, folder: str, segment: str) -> None:
        self.tree, self.folder, self.segment = tree, folder, segment
        self.rows = SegmentRows(segment)

    def read(self) -> Rows:
        poses = self._poses()
        first = next(iter(self._component(STATS, STATS_COLUMNS)), {})
        self.rows.begin([first.get(name) or "" for name in STATS_COLUMNS], has_map=False)
        self._cameras()
        for time, pose in poses.items():
            self.rows.instant(time, pose)
        self._frames(SWEEPS, LASER, LIDARS, "bin", poses)
        self._frames(IMAGES, CAMERA, {name: CAMERAS[name] for name in self.rows.sizes}, "jpg", poses)
        for row in self._component(BOXES, (TIME, "key.laser_object_id", *BOX_COLUMNS)):
            values = [row[name] for name in BOX_COLUMNS]
            if not np.isfinite(np.array([np.nan if value is None else value for value in values[:7]])).all():
                raise DwmError(f"{self._file(BOXES)}: a box at {row[TIME]} µs is not finite; fetch it again")
            self._check_time(row[TIME], poses, BOXES)
            name = row["key.laser_object_id"]
            self.rows.box(name, values[7], row[TIME], values[:3], values[3:6], values[6], values[8] or 0)
        return self.rows.tables()

    def _file(self, component: str) -> str:
        return component_file(self.folder, component, self.segment)

    def _component(self, component: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Its rows; none where it was not fetched."""
        file = self._file(component)
        return read_component(self.tree, file, (SEGMENT, *columns)) if self.tree.exists(file) else []

    def _poses(self) -> dict[int, Float[np.ndarray, "4 4"]]:
        """World from car by time (µs), rising."""
        file, poses = self._file(POSES), {}
        for row in self._component(POSES, (TIME, POSE)):
            if row[TIME] in poses:
                raise DwmError(f"{file}: has two poses at {row[TIME]} µs; fetch it again")
            poses[row[TIME]] = matrix(row[POSE], f"{file}: {row[TIME]} µs")
        if not poses:
            raise DwmError(f"{file}: holds no pose; fetch it again")
        return dict(sorted(poses.items()))

    def _check_time(self, time: int, poses: Mapping[int, Float[np.ndarray, "4 4"]], component: str) -> None:
        if time not in poses:
            raise DwmError(
                f"{self._file(component)}: has a row at {time} µs, at which {POSES} has no pose; the files do not belong "
                "together: fetch both again"
            )

    def _cameras(self) -> None:
        columns = (CAMERA, *LENS_COLUMNS, *(f"{LENS}{name}" for name in ("extrinsic.transform", "width", "height")))
        known = {row[CAMERA]: row for row in self._component(CAMERA_LENSES, columns)}
        for name, number in CAMERAS.items():
            if number not in known:
                self.rows.note(f"has no calibration of {name}, which is left out")
                continue
            row, where = known[number], f"{self._file(CAMERA_LENSES)}: {name}"
            lens = [float(value) for column in LENS_COLUMNS if (value := row[column]) is not None]
            size = (row[f"{LENS}width"] or 0, row[f"{LENS}height"] or 0)
            self.rows.camera(name, lens, matrix(row[f"{LENS}extrinsic.transform"], where), size, where)

    def _frames(
        self,
        component: str,
        key: str,
        sensors: Mapping[str, int],
        ending: str,
        poses: Mapping[int, Float[np.ndarray, "4 4"]],
    ) -> None:
        called, seen = {number: name for name, number in sensors.items()}, dict.fromkeys(sensors, 0)
        for number, row in enumerate(self._component(component, (TIME, key))):
            if (name := called.get(row[key])) is not None:
                self._check_time(row[TIME], poses, component)
                place = f"{self._file(component)}/{number}-{row[TIME]}/{name}.{ending}"
                self.rows.frame(name, row[TIME], place)
                seen[name] += 1
        for name, count in seen.items():
            if count < len(poses) and component == IMAGES:
                self.rows.note(f"lacks a picture of {name} in some frame")
