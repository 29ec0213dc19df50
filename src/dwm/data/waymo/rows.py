"""Rows of the tables of one Waymo segment, whichever of Waymo's formats they come from. Opens no file.

A frame's sensors share its time and pose, and boxes hold there: that is how the boxes were labelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from dwm.data.tables.row_tables import Rows
from dwm.data.waymo.sensors import CAMERA_FROM_SENSOR, LIDARS
from dwm.errors import DwmError
from dwm.geometry import quaternion_from_rotation

CATEGORIES = {
    1: "vehicle.car",
    2: "human.pedestrian.adult",
    3: "static_object.sign",
    4: "vehicle.bicycle",
}
"""nuScenes' names of Waymo's types (vehicle, pedestrian, sign, cyclist), as layouts are coloured by them; signs are not drawn."""
UNKNOWN = "unknown"


@dataclass
class SegmentRows:
    """Collects the rows of a scene. sizes: (width, height) of the cameras that are calibrated."""

    scene: str
    scenes: list[dict[str, Any]] = field(default_factory=list)
    sensors: list[dict[str, Any]] = field(default_factory=list)
    instants: list[dict[str, Any]] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    boxes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _places: dict[int, tuple[list[list[float]], dict[str, list[float]]]] = field(default_factory=dict)
    """World from the car by time: the matrix, and as a row has it."""

    def tables(self) -> Rows:
        """Frames are not annotated where the segment has no box at all."""
        if not self.boxes:
            self.note("has no labelled boxes")
            for row in self.frames:
                row["annotated"] = False
        names = ("scenes", "sensors", "instants", "frames", "boxes", "notes")
        return {name: getattr(self, name) for name in names}

    def note(self, cause: str) -> None:
        self.notes.append({"scene": self.scene, "cause": cause})

    def begin(self, words: list[str], has_map: bool) -> None:
        """The scene, described by these words, and its LiDARs."""
        row = {"token": self.scene, "name": self.scene, "description": ", ".join(filter(None, words))}
        self.scenes.append(row | {"map": self.scene if has_map else ""})
        if not has_map:
            self.note("has no map")
        for name in LIDARS:  # points are in the car's frame already
            self._sensor(name, "lidar", np.eye(4), [])

    def camera(
        self, name: str, lens: list[float], extrinsic: Float[np.ndarray, "4 4"], size: tuple[int, int], where: str
    ) -> None:
        """lens: focal lengths and centre in pixels, f_u, f_v, c_u, c_v. Raises DwmError for one that cannot be."""
        if len(lens) < 4 or min(size) <= 0:
            raise DwmError(f"{where} has no intrinsics or no size; fetch the file again")
        fx, fy, cx, cy = lens[:4]
        mounting = extrinsic @ np.linalg.inv(CAMERA_FROM_SENSOR)
        self._sensor(name, "camera", mounting, [fx, 0, cx, 0, fy, cy, 0, 0, 1])
        self.sizes[name] = size

    def _sensor(self, name: str, kind: str, pose: Float[np.ndarray, "4 4"], intrinsics: list[float]) -> None:
        row = {"token": f"{self.scene}|{name}", "name": name, "kind": kind, "intrinsics": intrinsics}
        self.sensors.append(row | _pose(pose))

    def instant(self, time: int, world_from_car: Float[np.ndarray, "4 4"]) -> None:
        """A moment (µs) at which there are frames and boxes, and where the car is then."""
        self.instants.append({"token": f"{self.scene}|{time}", "scene": self.scene, "time": time})
        self._places[time] = (world_from_car.tolist(), _pose(world_from_car))

    def frame(self, sensor: str, time: int, file: str) -> None:
        token, (width, height) = f"{self.scene}|{time}", self.sizes.get(sensor, (0, 0))
        self.frames.append(
            {"token": f"{token}|{sensor}", "sensor": f"{self.scene}|{sensor}", "instant": token, "time": time}
            | {"annotated": True, "width": width, "height": height, "file": file, **self._places[time][1]}
        )

    def box(
        self, name: str, kind: int, time: int, center: list[float], size: list[float], heading: float, points: int
    ) -> None:
        """A labelled box in the car's frame at an instant: centre, (length, width, height) in metres, yaw in radians.

        Plain numbers: there are a hundred a frame. Raises DwmError for one that is not finite.
        """
        if not all(map(math.isfinite, (*center, *size, heading))):
            raise DwmError(f"{self.scene}: a box at {time} µs is not finite; fetch the file again")
        token, (matrix, pose) = f"{self.scene}|{time}", self._places[time]
        x, y, z = center
        self.boxes.append(
            {"token": f"{token}|{name}", "instant": token, "instance": f"{self.scene}|{name}"}
            | {"category": CATEGORIES.get(kind, UNKNOWN), "size": size, "visibility": "", "attributes": []}
            | {"translation": [row[0] * x + row[1] * y + row[2] * z + row[3] for row in matrix[:3]]}
            | {"rotation": _turned(pose["rotation"], heading), "lidar_points": points, "radar_points": 0}
        )


def _turned(quaternion: list[float], yaw: float) -> list[float]:
    """The rotation (w, x, y, z), w ≥ 0, that turns by `yaw` radians about z first."""
    w, x, y, z = quaternion
    c, s = math.cos(yaw / 2), math.sin(yaw / 2)
    turned = [w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s]
    return turned if turned[0] >= 0 else [-value for value in turned]


def _pose(matrix: Float[np.ndarray, "4 4"]) -> dict[str, list[float]]:
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": quaternion_from_rotation(matrix[:3, :3]).tolist(),
    }
