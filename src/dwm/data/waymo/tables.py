"""Waymo Open's Perception v1 as tables: every record is read and checked once, and what it says is kept as columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from shapely import LineString, Polygon

from dwm.clip import LaneMap
from dwm.data.tables.row_tables import Rows, RowTables
from dwm.data.waymo.captions import WaymoCaptions
from dwm.data.waymo.records import RECORDS, read_frame, record_spans
from dwm.data.waymo.rows import SegmentRows
from dwm.data.waymo.sensors import CAMERAS, LIDARS, RING, matrix
from dwm.data.waymo.splits import splits_of
from dwm.errors import DwmError
from dwm.storage import Tree, limits
from dwm.strict_json import parse_json

BEGINNING = "segment-"
ENDINGS = ("_with_camera_labels.tfrecord", RECORDS)
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


@dataclass(frozen=True)
class WaymoTables(RowTables):
    """Segments of one folder."""

    format = "Waymo Open v1"
    views = RING
    caption_files = WaymoCaptions
    recording = "segment"
    kept_as = "waymo 2"
    segments: tuple[str, ...] = ()
    folder: str = ""

    @property
    def label(self) -> str:
        return f"waymo-{self.version}"

    @property
    def splits(self) -> Mapping[str, Collection[str]]:
        return splits_of(self.folder or self.tree.where, [scene_of(file) for file in self.segments])

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
        files = sorted(self.segments, key=lambda file: (order.get(scene_of(file), len(order)), file))
        return [(file, listed.get(scene_of(file))) for file in files]

    def rows_of(self, recording: tuple[str, list[list[int]] | None]) -> Rows:
        file, listed = recording
        return _Segment(self.tree, file).read(listed)

    def map(self, name: str) -> LaneMap:
        """The map of a segment: its first record alone has one."""
        if not name:
            return LaneMap({})
        files = {scene_of(file): file for file in self.segments}
        if name not in files:
            raise DwmError(f"{self.called('lanes')}: there is no segment {name}")
        file = files[name]
        offset, size = next(record_spans(self.tree, file))
        return _lane_map(read_frame(self.tree, file, offset, size), file)

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


def scene_of(file: str) -> str:
    name = file.rpartition("/")[2].removeprefix(BEGINNING)
    return next(name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending))


@dataclass
class _Segment:
    """One file on its way into rows."""

    tree: Tree
    file: str

    def __post_init__(self) -> None:
        self.scene = scene_of(self.file)
        self.rows = SegmentRows(self.scene)

    def read(self, listed: list[list[int]] | None) -> Rows:
        last, number = -1, -1
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
            self._frame(frame, where, f"{self.file}/{offset}-{size}")
            last = time
        if number < 0:
            raise DwmError(f"{self.file}: holds no record; fetch it again")
        if listed is not None and len(listed) != number + 1:
            raise self._stale(f"lists {len(listed)} frames of {self.scene}, which has {number + 1}")
        return self.rows.tables()

    def _compare(self, listed: list[list[int]] | None, number: int, entry: list[int]) -> None:
        if listed is not None and number < len(listed) and listed[number] != entry:
            raise self._stale(
                f"says {listed[number]} of frame {number} of {self.scene}, where [µs, bytes, offset] are {entry}"
            )

    def _stale(self, text: str) -> DwmError:
        return DwmError(f"{self.file}: the info JSON {text}: it is another version's; make it anew, or remove it")

    def _begin(self, frame: Any) -> None:
        """The scene and its sensors, from the first frame."""
        stats = frame.context.stats
        self.rows.begin([stats.time_of_day, stats.weather, stats.location], bool(frame.map_features))
        count = Counter(feature for item in frame.map_features for feature in UNDRAWN if item.HasField(feature))
        for feature in count:
            self.rows.note(f"has map features of the kind {feature}, which layouts do not show")
        cameras = {camera.name: camera for camera in frame.context.cameras}
        for name, number in CAMERAS.items():
            if number not in cameras:
                self.rows.note(f"has no calibration of {name}, which is left out")
                continue
            camera, where = cameras[number], f"{self.file}: calibration of {name}"
            extrinsic = matrix(camera.extrinsic.transform, where)
            self.rows.camera(name, list(camera.intrinsic), extrinsic, (camera.width, camera.height), where)

    def _frame(self, frame: Any, where: str, folder: str) -> None:
        time, pose = frame.timestamp_micros, matrix(frame.pose.transform, f"{where}: pose")
        self.rows.instant(time, pose)
        pictures = {image.name for image in frame.images if image.image}
        sweeps = {laser.name for laser in frame.lasers if laser.first.ranges}
        for name, number in LIDARS.items():
            if number in sweeps:
                self.rows.frame(name, time, f"{folder}/{name}.bin")
        for name, number in CAMERAS.items():
            if name in self.rows.sizes and number not in pictures:
                self.rows.note(f"lacks a picture of {name} in some frame")
            elif name in self.rows.sizes:
                self.rows.frame(name, time, f"{folder}/{name}.jpg")
        for label in frame.laser_labels:
            box = label.box
            center, size = [box.center_x, box.center_y, box.center_z], [box.length, box.width, box.height]
            self.rows.box(label.id, label.type, time, center, size, box.heading, label.lidar_points)


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
