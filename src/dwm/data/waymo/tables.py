"""Waymo Open's Perception v1 as tables: every record is read and checked once, and what it says is kept as columns.

A frame's sensors share its time and pose, and boxes hold there: that is how the boxes were labelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from shapely import LineString, Polygon

from dwm.clip import LaneMap
from dwm.data.captions import CaptionFiles, find_caption_files, named_caption_files
from dwm.data.tables.row_tables import Rows, RowTables
from dwm.data.waymo.records import RECORDS, RecordTree, read_frame, record_spans
from dwm.data.waymo.sensors import CAMERA_FROM_SENSOR, CAMERAS, LIDARS, RING, matrix
from dwm.errors import DwmError, nearest
from dwm.geometry import quaternion_from_rotation, rotation_z
from dwm.storage import Tree, limits
from dwm.strict_json import parse_json

BEGINNING = "segment-"
ENDINGS = ("_with_camera_labels.tfrecord", RECORDS)
SPLITS = ("training", "validation", "testing")
CATEGORIES = {
    1: "vehicle.car",
    2: "human.pedestrian.adult",
    3: "static_object.sign",
    4: "vehicle.bicycle",
}
"""nuScenes' names of Waymo's types (vehicle, pedestrian, sign, cyclist), as layouts are coloured by them; signs are not drawn."""
UNKNOWN = "unknown"
LAYERS = {"road_line": "lane", "road_edge": "drivable_area", "crosswalk": "ped_crossing"}
"""Map layers by the features that OpenDWM draws in their colours."""
UNDRAWN = ("lane", "speed_bump", "driveway")
"""Features without a layer."""


def segment_files(tree: Tree) -> dict[str, list[str]]:
    """The segments by the folder that they lie in ("" is the root); looks at names only."""
    files = {}
    for folder in ("", *sorted(tree.folders())):
        prefix = f"{folder}/{BEGINNING}" if folder else BEGINNING
        names = [name for name in tree.names(prefix) if name.endswith(RECORDS) and "/" not in name[len(prefix) :]]
        if names:
            files[folder] = names
    return files


def open_waymo(tree: Tree, version: str | None) -> WaymoTables:
    """The segments of a folder, such as `training` (None: the first that is there). Raises DwmError for one that is not there."""
    files_of = segment_files(tree)
    known = [*(name for name in SPLITS if name in files_of), *(name for name in files_of if name not in SPLITS)]
    if version is not None and version not in files_of:
        raise DwmError(
            f"{tree.where}: holds no segments in {version}{nearest(version, known)} (there are: {', '.join(known)})"
        )
    folder = known[0] if version is None else version
    return WaymoTables(RecordTree(tree), folder or "segments", tuple(files_of[folder]), folder)


class WaymoCaptions(CaptionFiles):
    """OpenDWM's files: captions by "scene|µs|number of the camera", times by scene."""

    def camera_key(self, scene: str, channel: str) -> str:
        return scene

    def key(self, scene: str, channel: str, stamp: float) -> str:
        return f"{scene}|{stamp}|{CAMERAS.get(channel, 0)}"

    def all_keys(self) -> Iterator[str]:
        """Not every camera needs a caption at each of a scene's times."""
        keys = (f"{camera_key}|{number}" for camera_key in CaptionFiles.all_keys(self) for number in CAMERAS.values())
        return (key for key in keys if key in self.captions)


@dataclass(frozen=True)
class WaymoTables(RowTables):
    """Segments of one folder."""

    format = "Waymo Open v1"
    views = RING
    caption_files = WaymoCaptions
    recording = "segment"
    kept_as = "waymo 1"
    segments: tuple[str, ...] = ()
    folder: str = ""

    @property
    def label(self) -> str:
        return f"waymo-{self.version}"

    @property
    def info(self) -> str | None:
        """OpenDWM's list of frames, which orders the scenes; None where there is none."""
        name = f"{self.version}.info.json"
        return name if self.tree.exists(name) else None

    @property
    def files(self) -> Sequence[str]:
        return (*self.segments, *filter(None, [self.info]))

    @property
    def recordings(self) -> list[tuple[str, list[list[int]] | None]]:
        """The segments, each with what the list says of it, in the list's order."""
        listed = self._listed
        order = {scene: index for index, scene in enumerate(listed)}
        files = sorted(self.segments, key=lambda file: (order.get(_scene_of(file), len(order)), file))
        return [(file, listed.get(_scene_of(file))) for file in files]

    def rows_of(self, recording: tuple[str, list[list[int]] | None]) -> Rows:
        (file, listed), rows = recording, _Rows()
        _Segment(self.tree, file, rows).read(listed)
        return rows.tables()

    def map(self, name: str) -> LaneMap:
        """The map of a segment: its first record alone has one."""
        if not name:
            return LaneMap({})
        files = {_scene_of(file): file for file in self.segments}
        if name not in files:
            raise DwmError(f"{self.called('lanes')}: there is no segment {name}")
        file = files[name]
        offset, size = next(record_spans(self.tree, file))
        return _lane_map(read_frame(self.tree, file, offset, size), file)

    def captions(self, named: tuple[str, str] | None = None) -> list[CaptionFiles]:
        parts = named_caption_files(self.tree, named) if named else find_caption_files(self.tree, self.version)
        return [WaymoCaptions(part.name, part.captions, part.times) for part in parts]

    @property
    def _listed(self) -> dict[str, list[list[int]]]:
        """[[µs, bytes, offset], …] by scene, of the info JSON. Raises DwmError for one of another form."""
        if (name := self.info) is None:
            return {}
        content = parse_json(self.tree.read(name, limits.TEXT), name)
        if not isinstance(content, dict) or not all(_is_listing(rows) for rows in content.values()):
            raise DwmError(f"{name}: is no list of [µs, bytes, offset] by scene; make it anew, or remove it")
        return content


def _is_listing(rows: Any) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == 3 and all(type(value) is int for value in row) for row in rows
    )


def _scene_of(file: str) -> str:
    name = file.rpartition("/")[2].removeprefix(BEGINNING)
    return next(name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending))


@dataclass
class _Rows:
    """Rows of the tables, as they are met."""

    scenes: list[dict[str, Any]] = field(default_factory=list)
    sensors: list[dict[str, Any]] = field(default_factory=list)
    instants: list[dict[str, Any]] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    boxes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        return dict(self.__dict__)


@dataclass
class _Segment:
    """One file on its way into rows."""

    tree: Tree
    file: str
    rows: _Rows
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def scene(self) -> str:
        return _scene_of(self.file)

    def read(self, listed: list[list[int]] | None) -> None:
        last, labels, number = -1, 0, -1
        first_frame = len(self.rows.frames)
        for number, (offset, size) in enumerate(record_spans(self.tree, self.file)):
            frame, where = read_frame(self.tree, self.file, offset, size), f"{self.file}: record {number}"
            time = frame.timestamp_micros
            if not frame.HasField("timestamp_micros") or not frame.HasField("pose"):
                raise DwmError(f"{where}: has no time or pose; is this a Perception v1 file?")
            if time <= last:
                raise DwmError(
                    f"{where}: its time {time} µs does not follow {last} µs of the record before; fetch it again"
                )
            self._compare(listed, number, [time, size, offset])
            if number == 0:
                self._begin(frame)
            self._frame(frame, where, offset, size)
            labels, last = labels + len(frame.laser_labels), time
        if number < 0:
            raise DwmError(f"{self.file}: holds no record; fetch it again")
        if listed is not None and len(listed) != number + 1:
            raise self._stale(f"lists {len(listed)} frames of {self.scene}, which has {number + 1}")
        if not labels:
            self._note("has no labelled boxes")
            for row in self.rows.frames[first_frame:]:
                row["annotated"] = False

    def _compare(self, listed: list[list[int]] | None, number: int, entry: list[int]) -> None:
        if listed is not None and number < len(listed) and listed[number] != entry:
            raise self._stale(
                f"says {listed[number]} of frame {number} of {self.scene}, where [µs, bytes, offset] are {entry}"
            )

    def _stale(self, text: str) -> DwmError:
        return DwmError(f"{self.file}: the info JSON {text}: it is another version's; make it anew, or remove it")

    def _note(self, cause: str) -> None:
        self.rows.notes.append({"scene": self.scene, "cause": cause})

    def _begin(self, frame: Any) -> None:
        """The scene and its sensors, from the first frame."""
        has_map, stats = bool(frame.map_features), frame.context.stats
        words = ", ".join(filter(None, (stats.time_of_day, stats.weather, stats.location)))
        self.rows.scenes.append(
            {"token": self.scene, "name": self.scene, "description": words, "map": self.scene if has_map else ""}
        )
        if not has_map:
            self._note("has no map")
        count = Counter(feature for item in frame.map_features for feature in UNDRAWN if item.HasField(feature))
        for feature in count:
            self._note(f"has map features of the kind {feature}, which layouts do not show")
        where = f"{self.file}: calibration of"
        for name in LIDARS:  # points are in the car's frame already
            self._sensor(name, "lidar", np.eye(4), [])
        cameras = {camera.name: camera for camera in frame.context.cameras}
        for name, number in CAMERAS.items():
            if number not in cameras:
                self._note(f"has no calibration of {name}, which is left out")
                continue
            camera = cameras[number]
            if len(camera.intrinsic) < 4 or not (camera.width > 0 and camera.height > 0):
                raise DwmError(f"{where} {name} has no intrinsics or no size; fetch the file again")
            fx, fy, cx, cy = camera.intrinsic[:4]
            mounting = matrix(camera.extrinsic, f"{where} {name}") @ np.linalg.inv(CAMERA_FROM_SENSOR)
            self._sensor(name, "camera", mounting, [fx, 0, cx, 0, fy, cy, 0, 0, 1])
            self.sizes[name] = (camera.width, camera.height)

    def _sensor(self, name: str, kind: str, pose: Float[np.ndarray, "4 4"], intrinsics: list[float]) -> None:
        row = {"token": f"{self.scene}|{name}", "name": name, "kind": kind, "intrinsics": intrinsics}
        self.rows.sensors.append(row | _pose(pose))

    def _frame(self, frame: Any, where: str, offset: int, size: int) -> None:
        token, pose = f"{self.scene}|{frame.timestamp_micros}", matrix(frame.pose, f"{where}: pose")
        self.rows.instants.append({"token": token, "scene": self.scene, "time": frame.timestamp_micros})
        pictures = {image.name for image in frame.images if image.image}
        sweeps = {laser.name for laser in frame.lasers if laser.first.ranges}
        sensors = [(name, "bin", (0, 0)) for name, number in LIDARS.items() if number in sweeps]
        for name, number in CAMERAS.items():
            if name in self.sizes and number not in pictures:
                self._note(f"lacks a picture of {name} in some frame")
            elif name in self.sizes:
                sensors.append((name, "jpg", self.sizes[name]))
        for name, ending, (width, height) in sensors:
            self.rows.frames.append(
                {"token": f"{token}|{name}", "sensor": f"{self.scene}|{name}", "instant": token, "width": width}
                | {"time": frame.timestamp_micros, "annotated": True, "height": height}
                | {"file": f"{self.file}/{offset}-{size}/{name}.{ending}", **_pose(pose)}
            )
        for label in frame.laser_labels:
            self._box(label, token, pose)

    def _box(self, label: Any, token: str, world_from_car: Float[np.ndarray, "4 4"]) -> None:
        box = label.box
        centre = world_from_car @ [box.center_x, box.center_y, box.center_z, 1]
        turn = world_from_car[:3, :3] @ rotation_z(box.heading)
        self.rows.boxes.append(
            {"token": f"{token}|{label.id}", "instant": token, "instance": f"{self.scene}|{label.id}"}
            | {"category": CATEGORIES.get(label.type, UNKNOWN), "size": [box.length, box.width, box.height]}
            | {"translation": centre[:3].tolist(), "rotation": quaternion_from_rotation(turn).tolist()}
            | {"visibility": "", "attributes": [], "lidar_points": label.lidar_points, "radar_points": 0}
        )


def _pose(matrix: Float[np.ndarray, "4 4"]) -> dict[str, list[float]]:
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": quaternion_from_rotation(matrix[:3, :3]).tolist(),
    }


def _lane_map(frame: Any, file: str) -> LaneMap:
    """The features that layouts show, as lines and areas of the world in metres, with their heights."""
    layers: dict[str, list[Any]] = {layer: [] for layer in ("lane", "drivable_area", "ped_crossing")}
    for item in frame.map_features:
        for feature, layer in LAYERS.items():
            if not item.HasField(feature):
                continue
            part = getattr(item, feature)
            points = np.array([(p.x, p.y, p.z) for p in (part.polygon if feature == "crosswalk" else part.polyline)])
            if not np.isfinite(points).all():
                raise DwmError(f"{file}: a {feature} of the map is not finite; fetch the file again")
            if len(points) >= (3 if feature == "crosswalk" else 2):
                layers[layer].append((Polygon if feature == "crosswalk" else LineString)(points))
    return LaneMap({layer: tuple(shapes) for layer, shapes in layers.items()})
