"""Rows of the tables of one Waymo segment, whichever of Waymo's formats they come from. Opens no file.

A frame's sensors share its time and pose, and boxes hold there: that is how the boxes were labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from dwm.data.tables.row_tables import Rows
from dwm.data.waymo.sensors import CAMERA_FROM_SENSOR, LIDARS
from dwm.errors import DwmError
from dwm.geometry import quaternion_from_rotation, rotation_z

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

    def instant(self, time: int) -> None:
        self.instants.append({"token": f"{self.scene}|{time}", "scene": self.scene, "time": time})

    def frame(self, sensor: str, time: int, world_from_car: Float[np.ndarray, "4 4"], file: str) -> None:
        token, (width, height) = f"{self.scene}|{time}", self.sizes.get(sensor, (0, 0))
        self.frames.append(
            {"token": f"{token}|{sensor}", "sensor": f"{self.scene}|{sensor}", "instant": token, "time": time}
            | {"annotated": True, "width": width, "height": height, "file": file, **_pose(world_from_car)}
        )

    def box(
        self,
        name: str,
        kind: int,
        time: int,
        center: list[float],
        size: list[float],
        heading: float,
        points: int,
        world_from_car: Float[np.ndarray, "4 4"],
    ) -> None:
        """A labelled box in the car's frame at a frame's time: centre, (length, width, height) in metres, yaw in radians."""
        token = f"{self.scene}|{time}"
        placed = world_from_car @ [*center, 1]
        turn = world_from_car[:3, :3] @ rotation_z(heading)
        self.boxes.append(
            {"token": f"{token}|{name}", "instant": token, "instance": f"{self.scene}|{name}"}
            | {"category": CATEGORIES.get(kind, UNKNOWN), "size": size, "translation": placed[:3].tolist()}
            | {"rotation": quaternion_from_rotation(turn).tolist(), "visibility": "", "attributes": []}
            | {"lidar_points": points, "radar_points": 0}
        )


def _pose(matrix: Float[np.ndarray, "4 4"]) -> dict[str, list[float]]:
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": quaternion_from_rotation(matrix[:3, :3]).tolist(),
    }
