"""Waymo's Perception v2: a Parquet file for each segment and component, and a tree in which its pictures and sweeps are files.

`training/camera_image/SEGMENT.parquet/12-1550083467346370/CAM_FRONT.jpg` is the picture in row 12, of the frame at that time
(µs). Rows are read one after another up to the one that is wanted: no file is unpacked whole. Knows nothing of our tables.
"""

from __future__ import annotations

import io
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dwm.data.tables.made_files import MadeFiles
from dwm.data.tables.parquet import declared, read_parquet
from dwm.data.waymo.sensors import CAMERAS, LIDARS, LidarLens, matrix, points_of, shaped
from dwm.errors import DwmError
from dwm.storage import Tree, limits
from dwm.strict_json import LFS, lfs_pointer

ENDING = ".parquet"
FOLDERS = ("", "training", "validation", "testing", "testing_location")
"""Where folders of components lie: in the root, or in those of the splits as Waymo names them."""
POSES, IMAGES, SWEEPS = "vehicle_pose", "camera_image", "lidar"
CAMERA_LENSES, LIDAR_LENSES, LIDAR_POSES = "camera_calibration", "lidar_calibration", "lidar_pose"
BOXES, STATS = "lidar_box", "stats"
READ = (POSES, CAMERA_LENSES, IMAGES, LIDAR_LENSES, LIDAR_POSES, SWEEPS, BOXES, STATS)
"""Components that are read, by the names of their folders; others are left alone."""
SEGMENT, TIME = "key.segment_context_name", "key.frame_timestamp_micros"
CAMERA, LASER = "key.camera_name", "key.laser_name"
PICTURE, RETURN = "[CameraImageComponent].image", "[LiDARComponent].range_image_return1"
CELL_POSES = "[LiDARPoseComponent].range_image_return1"
POSE = "[VehiclePoseComponent].world_from_vehicle.transform"
LENS = "[LiDARCalibrationComponent]"
MEMBER = re.compile(r"(.*?)(camera_image|lidar)/([^/]+)\.parquet/([0-9]{1,9})-([0-9]{1,19})/([A-Z_]+)\.(jpg|bin)")
KEPT, CURSORS = 16, 8
"""Rows, and files, that a process keeps at hand: the cameras of a frame are asked for in another order than they lie in."""
ADVICE = "fetch it again"


def component_folders(tree: Tree) -> list[str]:
    """The folders, of `FOLDERS`, that hold components of v2; looks at names only."""
    return [folder for folder in FOLDERS if {POSES, CAMERA_LENSES} <= tree.folders(f"{folder}/" if folder else "")]


def component_file(folder: str, component: str, segment: str) -> str:
    return f"{folder}/{component}/{segment}{ENDING}" if folder else f"{component}/{segment}{ENDING}"


def read_component(tree: Tree, file: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Its rows. Raises DwmError for what is no Parquet file, is cut off, lacks a column or holds another segment."""
    try:
        with tree.open(file) as stream:
            _refuse_pointers(stream, file)
            rows = read_parquet(stream, file, columns).select(columns).to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise _broken(file, error) from error
    segment = file.rpartition("/")[2].removesuffix(ENDING)
    if strange := next((row for row in rows if row.get(SEGMENT, segment) != segment), None):
        raise DwmError(f"{file}: holds rows of the segment {strange[SEGMENT]}; {ADVICE}")
    return rows


def _refuse_pointers(stream: io.BufferedIOBase, file: str) -> None:
    if stream.read(len(LFS)) == LFS:
        raise DwmError(f"{file}: {lfs_pointer()}")
    stream.seek(0)


def _broken(file: str, error: Exception) -> DwmError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DwmError(f"{file}: is no whole Parquet file ({reason}); {ADVICE}")


@dataclass
class Cursor:
    """Goes through some columns of a file row by row, and keeps the last rows that it met."""

    tree: Tree
    file: str
    columns: tuple[str, ...]
    next_row: int = 0
    kept: OrderedDict[int, dict[str, Any]] = field(default_factory=OrderedDict)
    _rows: Iterator[pa.RecordBatch] | None = None

    def row(self, number: int) -> dict[str, Any]:
        """Raises DwmError for a row that is not there, or a damaged file."""
        try:
            while number not in self.kept:
                if self._rows is None or number < self.next_row:
                    self._rows, self.next_row = self._begin(number), number
                self._keep(next(self._rows))
        except StopIteration:
            raise DwmError(f"{self.file}: has no row {number}; {ADVICE}") from None
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            raise _broken(self.file, error) from error
        return self.kept[number]

    def _keep(self, batch: pa.RecordBatch) -> None:
        limits.check_size(f"{self.file}: row {self.next_row}", batch.nbytes, limits.PICTURE)
        batch.validate(full=True)
        self.kept[self.next_row] = {name: batch.column(place)[0] for place, name in enumerate(batch.schema.names)}
        self.next_row += 1
        while len(self.kept) > KEPT:
            self.kept.popitem(last=False)

    def _begin(self, number: int) -> Iterator[pa.RecordBatch]:
        """Rows from this one on: groups of rows before it are passed over unread."""
        with self.tree.open(self.file) as stream:
            _refuse_pointers(stream, self.file)
            parquet = pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
            limits.check_size(f"{self.file}: a table", declared(parquet.metadata), limits.TABLE)
            if lost := [name for name in self.columns if name not in parquet.schema_arrow.names]:
                raise DwmError(f"{self.file}: lacks the column {lost[0]}; is it of Perception v2?")
            start = 0
            for group in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                if start + count > number:
                    batches = parquet.iter_batches(1, [group], list(self.columns), use_threads=False)
                    for place, batch in enumerate(batches, start):
                        if place >= number:
                            yield batch
                start += count


_cursors: OrderedDict[tuple[Any, ...], Cursor] = OrderedDict()
"""By process and file: a forked one must not share a parent's place in a file."""


def _cursor(tree: Tree, file: str, columns: tuple[str, ...]) -> Cursor:
    key = (os.getpid(), tree.where, tree.stamp(file), file)
    if key not in _cursors:
        _cursors[key] = Cursor(tree, file, columns)
        while len(_cursors) > CURSORS:
            _cursors.popitem(last=False)
    _cursors.move_to_end(key)
    return _cursors[key]


@dataclass(frozen=True)
class ComponentTree(MadeFiles):
    """A tree with the pictures and sweeps in its component files as files. Picklable."""

    def is_made(self, name: str) -> bool:
        return MEMBER.fullmatch(name) is not None

    def stored(self, name: str) -> str:
        member = MEMBER.fullmatch(name)
        return name if member is None else f"{member[1]}{member[2]}/{member[3]}{ENDING}"

    def make(self, name: str, most: int) -> bytes:
        member = MEMBER.fullmatch(name)
        assert member is not None
        return self._picture(member, name) if member[2] == IMAGES else self._sweep(member, name)

    def names(self, prefix: str = "") -> Iterator[str]:
        """Below a component's file those of all its rows' sensors."""
        before, within, _ = prefix.partition(f"{ENDING}/")
        component = before.rpartition("/")[0].rpartition("/")[2]
        if not within or component not in (IMAGES, SWEEPS):
            return self.base.names(prefix)
        file, sensor, ending = f"{before}{ENDING}", *((CAMERA, "jpg") if component == IMAGES else (LASER, "bin"))
        called = {number: name for name, number in (CAMERAS if component == IMAGES else LIDARS).items()}
        rows = enumerate(read_component(self.base, file, (TIME, sensor)))
        all_names = (f"{file}/{i}-{row[TIME]}/{called.get(row[sensor], 'UNKNOWN')}.{ending}" for i, row in rows)
        return iter(sorted(name for name in all_names if name.startswith(prefix)))

    def _picture(self, member: re.Match[str], name: str) -> bytes:
        row = _cursor(self.base, self.stored(name), (TIME, CAMERA, PICTURE)).row(int(member[4]))
        if (row[TIME].as_py(), row[CAMERA].as_py()) != (int(member[5]), CAMERAS.get(member[6])):
            raise DwmError(f"{name}: the row is of another frame or camera; {ADVICE}")
        if not (data := row[PICTURE].as_py()):
            raise DwmError(f"{name}: the row has no picture; {ADVICE}")
        return data

    def _sweep(self, member: re.Match[str], name: str) -> bytes:
        laser, time = LIDARS.get(member[6]), int(member[5])
        row = _cursor(self.base, self.stored(name), (TIME, LASER, f"{RETURN}.values", f"{RETURN}.shape")).row(
            int(member[4])
        )
        if laser is None or (row[TIME].as_py(), row[LASER].as_py()) != (time, laser):
            raise DwmError(f"{name}: the row is of another frame or LiDAR; {ADVICE}")
        folder, segment = member[1].rstrip("/"), member[3]
        lens = self._lens(component_file(folder, LIDAR_LENSES, segment), laser)
        poses = self._cell_poses(component_file(folder, LIDAR_POSES, segment), time, laser, name)
        file = component_file(folder, POSES, segment)
        placed = [item[POSE] for item in _kept_rows(self.base, file, (TIME, POSE)) if item[TIME] == time]
        if not placed:
            raise DwmError(f"{file}: has no pose at {time} µs; {ADVICE}")
        return points_of(
            _image(row, RETURN, name), lens, poses, matrix(placed[0], f"{file}: {time} µs"), name
        ).tobytes()

    def _lens(self, file: str, laser: int) -> LidarLens:
        columns = [
            f"{LENS}.extrinsic.transform",
            *(f"{LENS}.beam_inclination.{part}" for part in ("min", "max", "values")),
        ]
        rows = [row for row in _kept_rows(self.base, file, (LASER, *columns)) if row[LASER] == laser]
        if not rows:
            raise DwmError(f"{file}: has no calibration of LiDAR {laser}; {ADVICE}")
        extrinsic, low, high, listed = (rows[0][name] for name in columns)
        return LidarLens(np.array(listed or [], np.float64), (low, high), matrix(extrinsic, f"{file}: LiDAR {laser}"))

    def _cell_poses(self, file: str, time: int, laser: int, name: str) -> Any:
        """The car's pose at each cell, which the top LiDAR alone has."""
        if not self.base.exists(file):
            return None
        keys = [(row[TIME], row[LASER]) for row in _kept_rows(self.base, file, (TIME, LASER))]
        if (time, laser) not in keys:
            return None
        row = _cursor(self.base, file, (f"{CELL_POSES}.values", f"{CELL_POSES}.shape")).row(keys.index((time, laser)))
        return _image(row, CELL_POSES, name)


def _image(row: dict[str, Any], column: str, name: str) -> Any:
    values, shape = row[f"{column}.values"], row[f"{column}.shape"].as_py()
    if not values.is_valid or not shape:
        raise DwmError(f"{name}: the row has no range image; {ADVICE}")
    return shaped(np.asarray(values.values, np.float32), tuple(shape), name)


_small: OrderedDict[tuple[Any, ...], list[dict[str, Any]]] = OrderedDict()


def _kept_rows(tree: Tree, file: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a small file, kept for the next frame of the same segment."""
    key = (tree.where, tree.stamp(file), file)
    if key not in _small:
        if not tree.exists(file):
            raise DwmError(f"{file}: is missing, and sweeps need it; fetch it too, or leave the component lidar out")
        _small[key] = read_component(tree, file, columns)
        while len(_small) > CURSORS:
            _small.popitem(last=False)
    _small.move_to_end(key)
    return _small[key]
