"""KITTI-360 as tables: a scene for each drive, an instant for each frame. Boxes are those near the car; it has no map."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dwm.data.kitti360 import fisheye
from dwm.data.kitti360.calibration import EGO_FROM_IMU, EGO_FROM_LIDAR, LENS, MOUNTING, read_camera, read_mounting
from dwm.data.kitti360.drives import FISHEYES, PICTURES, Drive, between, decode_sweep, find_drives
from dwm.data.kitti360.objects import Objects, read_objects
from dwm.data.tables.row_tables import Rows, RowTables
from dwm.data.tables.sweeps import sweep_tree
from dwm.errors import DwmError, nearest
from dwm.geometry import inverse, quaternion_from_rotation
from dwm.storage import Tree

VERSION = "drives"
LIDAR = "velodyne"
HELD_OUT = ("0000", "0002")
"""Numbers of the drives that OpenDWM holds out."""
LENSES = {camera: f"calibration/{camera}.yaml" for camera in FISHEYES}
REACH = 100.0
"""Metres from the car to the middles of boxes: those that stand are in the file once for the whole drive."""


def open_kitti360(tree: Tree, version: str | None) -> Kitti360Tables:
    """All drives of a tree. Raises DwmError for another version than "drives"."""
    if version not in (None, VERSION):
        raise DwmError(f"{tree.where}: KITTI-360 has no version {version}{nearest(version, (VERSION,))}; leave it out")
    shown = sweep_tree(tree, "/velodyne_points/data/", ".bin", decode_sweep)
    for camera, file in LENSES.items():
        if (lens := fisheye.read_lens(tree, file)) is not None:
            shown = fisheye.pinhole_tree(shown, f"/{PICTURES[camera]}", lens)
    return Kitti360Tables(shown, VERSION, tuple(find_drives(tree)))


@dataclass(frozen=True)
class Kitti360Tables(RowTables):
    """Drives of both splits."""

    format = "KITTI-360"
    views = tuple(PICTURES)
    recording = "drive"
    kept_as = "kitti360 3"
    drives: tuple[Drive, ...] = ()

    @property
    def label(self) -> str:
        return f"kitti360-{self.version}"

    @property
    def splits(self) -> Mapping[str, Collection[str]]:
        """OpenDWM's: two drives are held out."""
        names = [drive.name for drive in self.drives]
        held_out = [name for name in names if name.split("_")[-2] in HELD_OUT]
        return {"train": [name for name in names if name not in held_out], "val": held_out}

    @cached_property
    def files(self) -> Sequence[str]:
        return (
            "calibration/",
            MOUNTING,
            LENS,
            *LENSES.values(),
            *(file for drive in self.drives for file in drive.files),
        )

    @property
    def recordings(self) -> Sequence[Drive]:
        return self.drives

    def rows_of(self, recording: Drive) -> Rows:
        return _DriveRows(self.tree, recording).rows()


class _DriveRows:
    """One drive on its way into rows."""

    def __init__(self, tree: Tree, drive: Drive) -> None:
        self.tree, self.drive = tree, drive
        self.notes: list[str] = []

    def rows(self) -> Rows:
        """Of no scene where there is no frame. Raises DwmError for a file that is missing or damaged."""
        name = self.drive.name
        sensors, files = self._sensors()
        numbers = np.unique([number for part in files.values() for number in part]).astype(np.int64)
        if not len(numbers):
            self._note("holds no sweep and no picture that can be read, and is left out")
            return {"notes": self._notes()}
        world_from_ego = self._poses(numbers)
        times = self.drive.times(self.tree, numbers)
        xml = self.drive.boxes(self.tree)
        if xml is None:
            self._note("has no boxes")
        boxes = [] if xml is None else self._boxes(read_objects(self.tree, xml), numbers, world_from_ego)
        return {
            "scenes": [{"token": name, "name": name, "description": "", "map": ""}],
            "sensors": sensors,
            "instants": [
                {"token": self._token(number), "scene": name, "time": time}
                for number, time in zip(numbers.tolist(), times.tolist(), strict=True)
            ],
            "frames": self._frames(files, sensors, numbers, times, world_from_ego, xml is not None),
            "boxes": boxes,
            "notes": self._notes(),
        }

    def _note(self, cause: str) -> None:
        self.notes.append(cause)

    def _notes(self) -> list[dict[str, str]]:
        return [{"scene": self.drive.name, "cause": cause} for cause in self.notes]

    def _token(self, number: int, *words: str) -> str:
        return "|".join((self.drive.name, str(number), *words))

    def _sensors(self) -> tuple[list[dict[str, Any]], dict[str, dict[int, str]]]:
        """Rows of the LiDAR and of the cameras that are calibrated, and the files of each by frame number."""
        sensors, files = [], {}
        if sweeps := self.drive.sweeps(self.tree):
            sensors.append(self._sensor(LIDAR, "lidar", EGO_FROM_LIDAR, []))
            files[LIDAR] = sweeps
        for camera in PICTURES:
            if not (pictures := self.drive.pictures(self.tree, camera)):
                continue
            if (found := self._camera(camera)) is None:
                named = f" ({LENSES[camera]})" if camera in LENSES else ""
                self._note(f"has no calibration of {camera}{named}, which is left out; fetch calibration.zip")
                continue
            mounting, intrinsics, size = found
            row = self._sensor(camera, "camera", mounting, intrinsics.ravel().tolist())
            sensors.append(row | {"width": size[0], "height": size[1]})
            files[camera] = pictures
        return sensors, files

    def _camera(self, camera: str) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "3 3"], tuple[int, int]] | None:
        """As `read_camera`; of a fisheye those of the pinhole view that is cut out of it."""
        if camera not in LENSES:
            return read_camera(self.tree, camera)
        if not (self.tree.exists(LENSES[camera]) and self.tree.exists(MOUNTING)):
            return None
        return read_mounting(self.tree, camera), fisheye.INTRINSICS, fisheye.SIZE

    def _sensor(self, name: str, kind: str, mounting: Float[np.ndarray, "4 4"], lens: list[float]) -> dict[str, Any]:
        return {"token": f"{self.drive.name}|{name}", "name": name, "kind": kind, "intrinsics": lens} | _pose(mounting)

    def _poses(self, numbers: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n 4 4"]:
        known, world_from_imu = self.drive.poses(self.tree)
        beyond = int(((numbers < known[0]) | (numbers > known[-1])).sum())
        if beyond:
            self._note(f"has {beyond} frames before its first pose or after its last, which take the nearest")
        return between(known, world_from_imu, numbers) @ inverse(EGO_FROM_IMU)

    def _frames(
        self,
        files: dict[str, dict[int, str]],
        sensors: list[dict[str, Any]],
        numbers: Int[np.ndarray, "n"],
        times: Float[np.ndarray, "n"],
        poses: Float[np.ndarray, "n 4 4"],
        annotated: bool,
    ) -> list[dict[str, Any]]:
        sizes = {row["name"]: (row.pop("width", 0), row.pop("height", 0)) for row in sensors}
        row_of, placed = {number: row for row, number in enumerate(numbers.tolist())}, [_pose(pose) for pose in poses]
        return [
            {"token": self._token(number, sensor), "sensor": f"{self.drive.name}|{sensor}", "file": file}
            | {"instant": self._token(number), "time": float(times[row_of[number]]), "annotated": annotated}
            | {"width": sizes[sensor][0], "height": sizes[sensor][1], **placed[row_of[number]]}
            for sensor, part in files.items()
            for number, file in part.items()
        ]

    def _boxes(
        self, objects: Objects, numbers: Int[np.ndarray, "n"], poses: Float[np.ndarray, "n 4 4"]
    ) -> list[dict[str, Any]]:
        if objects.others:
            self._note("has objects of kinds that have no category here, such as buildings, which are left out")
        placed = [_pose(pose) for pose in objects.world_from_box]
        return [
            {"token": self._token(number, str(row)), "instant": self._token(number)}
            | {"instance": f"{self.drive.name}|{objects.names[row]}", "category": objects.categories[row]}
            | {"size": objects.size[row].tolist(), **placed[row], "visibility": "", "attributes": []}
            | {"lidar_points": 0, "radar_points": 0}
            for number, pose in zip(numbers.tolist(), poses, strict=True)
            for row in objects.at(number, pose[:3, 3], REACH).tolist()
        ]


def _pose(matrix: Float[np.ndarray, "4 4"]) -> dict[str, list[float]]:
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": quaternion_from_rotation(matrix[:3, :3]).tolist(),
    }
