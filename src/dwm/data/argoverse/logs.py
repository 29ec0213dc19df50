"""Argoverse logs: where they lie, their files, and the points of a sweep. Knows no tables of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int

from dwm.data.tables.feather import read_feather
from dwm.storage import Tree

LOG = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SPLITS = ("train", "val", "test")
CAMERAS, LIDAR, SENSORS = "cameras", "lidar", "sensors"
STAMP = re.compile(r"([0-9]{1,18})\.(?:jpg|png|bin)")
"""A picture or sweep is called by its time in ns."""
RING = tuple(
    f"{CAMERAS}/ring_{camera}"
    for camera in ("front_left", "front_right", "side_right", "rear_right", "rear_left", "side_left")
)
"""The six cameras that lie across, clockwise from the front left; the one in front stands upright."""
POINT = pa.schema(
    {axis: pa.float32() for axis in ("x", "y", "z")} | {"intensity": pa.uint8(), "laser_number": pa.uint8()}
)


@dataclass(frozen=True)
class Log:
    """folder: where it lies, "sensor/val/NAME/"; split: empty where its place does not say it."""

    folder: str
    split: str

    @property
    def name(self) -> str:
        return self.folder.rstrip("/").rpartition("/")[2]

    @property
    def token(self) -> str:
        """As OpenDWM's captions name it."""
        return f"sensor/{self.split}/{self.name}" if self.split else self.name

    def file(self, name: str) -> str:
        return self.folder + name

    @property
    def tables(self) -> tuple[str, ...]:
        """Its tables, whether they are there or not."""
        return tuple(map(self.file, (POSES, ANNOTATIONS, EXTRINSICS, INTRINSICS)))

    def cameras(self, tree: Tree) -> list[str]:
        return [f"{CAMERAS}/{name}" for name in sorted(tree.folders(self.file(f"{SENSORS}/{CAMERAS}/")))]

    def frames(self, tree: Tree, sensor: str) -> tuple[list[str], Int[np.ndarray, "n"]]:
        """The files of a sensor and their times (ns), rising."""
        names = list(tree.names(self.file(f"{SENSORS}/{sensor}/")))
        stamps = {name: int(match[1]) for name in names if (match := STAMP.fullmatch(name.rpartition("/")[2]))}
        ordered = sorted(stamps, key=lambda name: stamps[name])
        return ordered, np.array([stamps[name] for name in ordered], np.int64)

    def map(self, tree: Tree) -> str | None:
        return next((name for name in tree.names(self.file("map/log_map_archive_")) if name.endswith(".json")), None)


POSES, ANNOTATIONS = "city_SE3_egovehicle.feather", "annotations.feather"
EXTRINSICS, INTRINSICS = "calibration/egovehicle_SE3_sensor.feather", "calibration/intrinsics.feather"


def find_logs(tree: Tree) -> list[Log]:
    """The logs in a tree's root, in `sensor`, or in the folder of a split in one of them, by split and name."""
    logs = [
        *(log for top in ("", "sensor/") for log in _logs(tree, top, _split_of(tree.where))),
        *(
            log
            for split in SPLITS
            for top in ("", "sensor/")
            if split in tree.folders(top)
            for log in _logs(tree, f"{top}{split}/", split)
        ),
    ]
    return [log for log in logs if {SENSORS, "calibration"} & tree.folders(log.folder)]


def has_logs(tree: Tree) -> bool:
    """Whether there is one; looks at few names."""
    return next(_first_logs(tree), None) is not None


def _first_logs(tree: Tree) -> Iterator[Log]:
    for top in ("", "sensor/", *(f"{top}{split}/" for split in SPLITS for top in ("", "sensor/"))):
        log = next(_logs(tree, top, ""), None)
        if log is not None and {SENSORS, "calibration"} & tree.folders(log.folder):
            yield log


def _logs(tree: Tree, top: str, split: str) -> Iterator[Log]:
    return (Log(f"{top}{name}/", split) for name in sorted(tree.folders(top)) if LOG.fullmatch(name))


def _split_of(where: str) -> str:
    name = where.rstrip("/").rpartition("/")[2]
    return name if name in SPLITS else ""


def decode_sweep(data: bytes, name: str) -> Float32[np.ndarray, "n 5"]:
    """The points of a sweep: x, y, z in the car's frame at its time, intensity, laser."""
    table = read_feather(data, name, POINT)
    return np.stack([table[column].to_numpy().astype(np.float32) for column in POINT.names], 1)
