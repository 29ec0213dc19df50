"""Writing a scene package: of one's own recordings row by row, or of whole tables. The package appears when it is complete."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from dwm.clip import Boxes, Caption, LaneMap
from dwm.data.nuscenes.write.archive import files_below, move_into_zip
from dwm.data.package.schema import MANIFEST, Manifest
from dwm.data.pictures import open_picture
from dwm.data.tables.relations import lane_rows
from dwm.data.tables.scene_tables import SCHEMAS
from dwm.errors import DwmError
from dwm.geometry import apply, points_inside, quaternion_from_rotation, rotation_from_quaternion, transform
from dwm.storage import atomic_folder, atomic_write, inside, plain_name, working_folder

MOST_ROWS = 4096
"""Of a table that are held before they are written."""
LONG_TABLES = ("instants", "frames", "boxes", "captions")
"""Those that grow with a recording."""


class PackageWriter:
    """Writes rows and pictures as they come, and holds few of them. Used as `with PackageWriter(path) as package:`.

    A path that ends in `.zip` is packed at the end.
    """

    def __init__(self, path: str | Path, manifest: Manifest = Manifest()) -> None:
        self.path, self.manifest = Path(path), manifest
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
        """What is not written yet."""
        self.tables: dict[str, pq.ParquetWriter] = {}
        self.annotated: set[str] = set()
        """Instants whose boxes are known, be it none."""
        self.uncounted: dict[str, Boxes] = {}
        """Boxes by instant whose points in the LiDAR's sweeps are to be counted."""
        self.sweeps: list[tuple[str, Float[np.ndarray, "4 4"], str]] = []
        """Instant, world from LiDAR and file of each sweep."""
        self._open = ExitStack()

    def __enter__(self) -> PackageWriter:
        self.folder = self._open.enter_context(staged(self.path))
        self._open.push(self._finish)
        for name, schema in SCHEMAS.items():
            self.tables[name] = self._open.enter_context(table_file(self.folder, name, schema))
        self._open.push(self._complete)
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def _finish(self, kind: type | None, error: Any, trace: Any) -> None:
        if kind is None:
            write_manifest(self.folder, self.manifest)

    def _complete(self, kind: type | None, error: Any, trace: Any) -> None:
        if kind is None:
            self._count_points()
            for name in SCHEMAS:
                self._spill(name)

    def add(self, table: str, *rows: dict[str, Any]) -> None:
        """Rows of a table as `SCHEMAS` has them. Boxes wait where their points are still to be counted."""
        waiting = self.rows[table]
        waiting += rows
        if len(waiting) >= MOST_ROWS and table in LONG_TABLES and not (table == "boxes" and self.uncounted):
            self._spill(table)

    def _spill(self, name: str) -> None:
        try:
            self.tables[name].write_table(pa.Table.from_pylist(self.rows[name], SCHEMAS[name]))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DwmError(f"{self.path}: {name}: {str(error).splitlines()[0]}") from error
        self.rows[name] = []

    def map(self, name: str, lane_map: LaneMap) -> None:
        """Adds a map that scenes may name."""
        self.add("lanes", *lane_rows(plain_name(name, f"{self.path}: map"), lane_map))

    def scene(self, name: str, map: str = "", description: str = "") -> SceneWriter:
        """Begins a scene on a map ("" for none)."""
        plain_name(name, f"{self.path}: scene")
        if map:
            plain_name(map, f"{self.path}: scene {name}: map")
        self.add("scenes", {"token": name, "name": name, "description": description, "map": map})
        return SceneWriter(self, name)

    def _count_points(self) -> None:
        """How many points of its instant's sweeps lie in each box: what evaluations of detectors leave boxes out by."""
        points_of: dict[str, int] = {}
        for instant, world_from_lidar, name in self.sweeps:
            if (boxes := self.uncounted.get(instant)) is None:
                continue
            points = np.frombuffer((self.folder / name).read_bytes(), np.float32).reshape(-1, 5)[:, :3]
            counts = points_inside(
                apply(world_from_lidar, points.astype(np.float64)), boxes.center, boxes.size, boxes.rotation
            )
            for thing, count in zip(boxes.instance, counts.tolist(), strict=True):
                token = f"{instant}/{thing}"
                points_of[token] = points_of.get(token, 0) + count
        blind = 0
        for row in self.rows["boxes"]:
            if row["instant"] in self.uncounted:
                blind += row["token"] not in points_of
                row["lidar_points"] = points_of.get(row["token"], 0)
        if blind:
            warnings.warn(
                f"{self.path}: {blind} boxes belong to no LiDAR sweep: their lidar_points are 0, and tools for detectors leave "
                "such boxes out; give instant(…, lidar_points=[…]) where the numbers are known",
                stacklevel=3,
            )


@dataclass(frozen=True)
class SceneWriter:
    """One scene of a package; made by `PackageWriter.scene`. Times are µs, poses 4×4."""

    package: PackageWriter
    scene: str

    def sensor(
        self,
        name: str,
        ego_from_sensor: Float[np.ndarray, "4 4"],
        intrinsics: Float[np.ndarray, "3 3"] | None = None,
        kind: str = "camera",
    ) -> None:
        """A camera (with intrinsics, in pixels of its pictures) or a `lidar`."""
        if kind not in ("camera", "lidar") or (intrinsics is None) == (kind == "camera"):
            raise DwmError(
                f"{self.scene}: sensor {name}: a camera needs intrinsics, a lidar has none; found kind {kind}"
            )
        numbers = [] if intrinsics is None else np.ravel(intrinsics).astype(float).tolist()
        row = {"token": f"{self.scene}/{name}", "name": name, "kind": kind, "intrinsics": numbers}
        self.package.add("sensors", row | _pose(ego_from_sensor))

    def instant(self, time: float, boxes: Boxes | None = None, lidar_points: Sequence[int] | None = None) -> str:
        """A moment that frames belong to, with the boxes in the world at it (None: not annotated). Gives its name.

        lidar_points: of each box; None: counted in the sweeps of this instant.
        """
        if lidar_points is not None and len(lidar_points) != (0 if boxes is None else len(boxes)):
            raise DwmError(
                f"{self.scene}: instant at {time:g}: {len(lidar_points)} lidar_points, one for each box is needed"
            )
        token = f"{self.scene}/{int(time)}"
        self.package.add("instants", {"token": token, "scene": self.scene, "time": float(time)})
        if boxes is not None:
            self.package.annotated.add(token)
            if lidar_points is None and len(boxes):
                self.package.uncounted[token] = boxes
        if boxes is None:
            return token
        for i in range(len(boxes)):
            row = {
                "token": f"{token}/{boxes.instance[i]}",
                "instant": token,
                "instance": f"{self.scene}/{boxes.instance[i]}",
                "category": boxes.category[i],
                "translation": boxes.center[i].tolist(),
                "size": boxes.size[i].tolist(),
                "rotation": quaternion_from_rotation(boxes.rotation[i]).tolist(),
            }
            points = {"lidar_points": 0 if lidar_points is None else int(lidar_points[i]), "radar_points": 0}
            self.package.add("boxes", row | {"visibility": "", "attributes": []} | points)
        return token

    def frame(
        self,
        sensor: str,
        time: float,
        world_from_ego: Float[np.ndarray, "4 4"],
        data: bytes,
        instant: str,
        ending: str = "jpg",
    ) -> None:
        """A picture as the bytes of a file, or a LiDAR's sweep; annotated as its instant is.

        A sweep has the ending `bin`: float32 x, y, z, intensity, ring of each point, in the LiDAR's frame.
        """
        if ending == "bin" and len(data) % 20:
            raise DwmError(
                f"{self.scene}: {sensor} at {time:g}: {len(data)} bytes are no whole number of points of 20 bytes"
            )
        name = self._file(f"{sensor}/{int(time)}.{ending}", data)
        try:
            size = (0, 0) if ending == "bin" else open_picture(data, name).size
        except OSError as error:
            raise DwmError(
                f"{self.package.path}: {name}: is no picture ({len(data)} bytes); give a JPEG or PNG"
            ) from error
        self._frame(sensor, time, world_from_ego, name, instant, size)
        if ending == "bin":
            self.package.sweeps.append((instant, world_from_ego @ self._mounting(sensor), name))

    def _mounting(self, sensor: str) -> Float[np.ndarray, "4 4"]:
        token = f"{self.scene}/{sensor}"
        row = next((row for row in self.package.rows["sensors"] if row["token"] == token), None)
        if row is None:
            raise DwmError(f"{self.scene}: sensor {sensor} is not known; call sensor({sensor!r}, …) before its frames")
        return transform(rotation_from_quaternion(np.array(row["rotation"])), np.array(row["translation"]))

    def film(
        self,
        sensor: str,
        data: bytes,
        frames: Sequence[tuple[float, Float[np.ndarray, "4 4"], str]],
        size: tuple[int, int],
        ending: str = "mp4",
    ) -> None:
        """A camera's pictures as the bytes of one film of `size` (width, height): time, pose and instant of each in turn."""
        name = self._file(f"{sensor}.{ending}", data)
        for number, (time, world_from_ego, instant) in enumerate(frames):
            self._frame(sensor, time, world_from_ego, f"{name}#{number}", instant, size)

    def _file(self, name: str, data: bytes) -> str:
        name = inside(f"data/{self.scene}/{name}", f"{self.package.path}: scene {self.scene}")
        target = self.package.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return name

    def _frame(
        self, sensor: str, time: float, pose: Float[np.ndarray, "4 4"], name: str, instant: str, size: tuple[int, int]
    ) -> None:
        row = {"token": name, "sensor": f"{self.scene}/{sensor}", "instant": instant, "time": float(time)}
        row |= {"annotated": instant in self.package.annotated, "file": name, "width": size[0], "height": size[1]}
        self.package.add("frames", row | _pose(pose))

    def caption(self, sensor: str, time: float, caption: Caption) -> None:
        """What is to be seen in a sensor's pictures from about this time on; of several the nearest in time counts."""
        row = {"scene": self.scene, "sensor": sensor, "at": int(time)}
        self.package.add("captions", row | {item.name: getattr(caption, item.name) for item in fields(Caption)})


def write_tables(folder: Path, manifest: Manifest, tables: Mapping[str, pa.Table]) -> None:
    """The manifest and all tables of a package into a folder that is not yet in its place."""
    for name, schema in SCHEMAS.items():
        with table_file(folder, name, schema) as file:
            file.write_table(tables[name].select(schema.names).cast(schema))
    write_manifest(folder, manifest)


def table_file(folder: Path, name: str, schema: pa.Schema) -> pq.ParquetWriter:
    """A table's file, to be written in pieces."""
    # Pages have checksums, which reading verifies: zstd alone does not notice every torn page.
    return pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd", write_page_checksum=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """An empty folder that becomes `path` when the block ends well: renamed, or packed where it is a `.zip` (files as they are)."""
    if path.suffix != ".zip":
        with atomic_folder(path) as folder:
            yield folder
        return
    with atomic_write(path) as packed, working_folder(path) as folder:
        yield folder
        with zipfile.ZipFile(packed, "w") as archive:
            move_into_zip(archive, folder, files_below(folder), deflate=False)


def _pose(matrix: Float[np.ndarray, "4 4"]) -> dict[str, list[float]]:
    matrix = np.asarray(matrix, float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DwmError(f"a pose is a finite 4×4 matrix, not {matrix.tolist()}")
    return {"translation": matrix[:3, 3].tolist(), "rotation": quaternion_from_rotation(matrix[:3, :3]).tolist()}
