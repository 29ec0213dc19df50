"""The tables joined and sorted once: frames by scene, channel and time; boxes by sample. Columns only, so that a scene
is a slice and nothing is an object per row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from dwm.data.tables.scene_tables import Read, SceneTables
from dwm.errors import DwmError
from dwm.storage import cache_folder, kept_tables, load_tables

FORMAT = "index 2"
"""Raised when the index's columns change, so that older ones are built anew."""
FARTHEST = 1e6
"""Pixels; no lens of a camera has a focal length, and no picture a centre, beyond."""


@dataclass(frozen=True)
class Index:
    """What a data set knows without its pictures.

    scenes:       token, name, description, location, complete (false: a sample of it is missing)
    spans:        scene, channel, start, stop: the rows of `frames` of one channel of one scene, rising in time
    frames:       token, filename, timestamp (µs), key, calibration, sample, width, height, translation, rotation (ego pose)
    calibrations: channel, translation, rotation, intrinsics (row by row; NaN without a camera)
    samples:      start, stop: the rows of `boxes`
    boxes:        translation, size (width, length, height), rotation, category, instance
    channels, categories, instances: the names behind the numbers
    """

    scenes: pa.Table
    spans: pa.Table
    frames: pa.Table
    calibrations: pa.Table
    samples: pa.Table
    boxes: pa.Table
    channels: pa.Table
    categories: pa.Table
    instances: pa.Table
    folder: Path | None = None
    """Where its tables are kept, for other processes to map them too; None: in this one's memory only."""

    def tables(self) -> dict[str, pa.Table]:
        return {name: getattr(self, name) for name in TABLES}

    def digest(self) -> str:
        """Changes when anything in the tables does, not when they are moved or written anew."""
        hasher = blake2b(digest_size=16)
        for name, table in self.tables().items():
            for column in table.column_names:
                hasher.update(f"{name}.{column} {len(table)} ".encode())
                for part in content(table[column].combine_chunks()):
                    hasher.update(part)
        return hasher.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is not None:
            return mapped_index, (self.folder,)
        return Index, tuple(self.tables().values())


TABLES = tuple(field.name for field in fields(Index) if field.name != "folder")


def content(values: pa.Array) -> Iterator[Any]:
    """What a column holds, as bytes that are the same wherever it lies in memory."""
    if isinstance(values, pa.ChunkedArray):
        for chunk in values.chunks:
            yield from content(chunk)
    elif pa.types.is_fixed_size_list(values.type):
        yield from content(values.flatten())
    elif pa.types.is_string(values.type):
        yield pc.binary_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
        _, offsets, text = values.buffers()
        offsets = np.frombuffer(offsets or bytes(4), np.int32)[values.offset :]
        yield memoryview(text or b"")[int(offsets[0]) : int(offsets[len(values)])]
    else:
        yield np.ascontiguousarray(values.to_numpy(zero_copy_only=False))


def open_index(tables: SceneTables) -> Index:
    """The index of a data set: mapped from where it is kept, built first where it is not there or the tables have changed."""
    key = " ".join((FORMAT, tables.version, *(tables.tree.stamp(file) for file in tables.files)))
    cached, folder = kept_tables(
        cache_folder(tables.tree.beside), f"{tables.version}.index", key, lambda: build_index(tables).tables()
    )
    return Index(**cached, folder=folder)


def mapped_index(folder: Path) -> Index:
    """The index that lies in a folder."""
    tables = load_tables(folder)
    if tables is None or set(tables) != set(TABLES):
        raise DwmError(f"{folder}: the index was removed while it was in use; open the data set again")
    return Index(**tables, folder=folder)


def build_index(tables: SceneTables) -> Index:
    """Reads and joins the tables. Raises DwmError for the first broken link, naming file, row and field."""
    read, version = tables.relations(), tables.version
    scenes, logs = read("scene"), read("log")
    location = logs["location"].take(join(version, "scene", scenes, "log_token", "log", logs))
    walk, complete = walk_samples(scenes, read("sample"))
    channels, calibrations = _calibrations(read, version)
    frames, spans = _frames(read, version, walk, calibrations)
    boxes, samples, categories, instances = _boxes(read, version, walk)
    scenes = scenes.select(["token", "name", "description"])
    scenes = scenes.append_column("location", location).append_column("complete", pa.array(complete, pa.bool_()))
    return Index(scenes, spans, frames, calibrations, samples, boxes, channels, categories, instances)


@dataclass(frozen=True)
class SampleWalk:
    """The samples that belong to a scene, in order of scene and time: their tokens and scene numbers."""

    tokens: pa.Array
    scene: Int[np.ndarray, "n"]

    def number(self, tokens: pa.ChunkedArray) -> Int[np.ndarray, "m"]:
        """The sample number of each token, -1 where none is of a scene."""
        return pc.fill_null(pc.index_in(tokens, value_set=self.tokens), -1).to_numpy()


def walk_samples(scenes: pa.Table, samples: pa.Table) -> tuple[SampleWalk, list[bool]]:
    """Follows each scene's samples from the first along `next`. A scene that lacks one is not complete and holds none."""
    following = dict(zip(samples["token"].to_pylist(), samples["next"].to_pylist(), strict=True))
    tokens, scene, complete = [], [], []
    for number, token in enumerate(scenes["first_sample_token"].to_pylist()):
        chain = []
        while token and token in following and len(chain) <= len(following):
            chain.append(token)
            token = following[token]
        complete.append(not token)
        if complete[-1]:
            tokens += chain
            scene += [number] * len(chain)
    return SampleWalk(pa.array(tokens, pa.string()), np.array(scene, np.int64)), complete


def join(version: str, table: str, rows: pa.Table, field: str, target: str, targets: pa.Table) -> pa.ChunkedArray:
    """The row of `targets` for each token in `rows[field]`."""
    positions = pc.index_in(rows[field], value_set=targets["token"])
    if positions.null_count:
        row = pc.index(pc.is_null(positions), True).as_py()
        raise DwmError(
            f"{version}/{table}.json: row {rows['token'][row]}: {field} {rows[field][row]} is not in {target}.json; "
            "the tables do not belong together"
        )
    return positions


def _calibrations(read: Read, version: str) -> tuple[pa.Table, pa.Table]:
    sensors, rows = read("sensor"), read("calibrated_sensor")
    sensor = join(version, "calibrated_sensor", rows, "sensor_token", "sensor", sensors)
    name, intrinsics = f"{version}/calibrated_sensor.json", np.full((len(rows), 9), np.nan)
    for i, (matrix, token) in enumerate(zip(rows["camera_intrinsic"].to_pylist(), rows["token"], strict=True)):
        if not matrix:
            continue
        if [len(line) for line in matrix] != [3, 3, 3]:
            raise DwmError(f"{name}: row {token}: camera_intrinsic is not 3×3")
        intrinsics[i] = np.ravel(matrix)
        if not np.isfinite(intrinsics[i]).all() or intrinsics[i, 0] <= 0 or intrinsics[i, 4] <= 0:
            raise DwmError(
                f"{name}: row {token}: camera_intrinsic has the focal lengths {intrinsics[i, 0]:g} and "
                f"{intrinsics[i, 4]:g}; they must be positive numbers of pixels"
            )
        if not _is_of_a_camera(intrinsics[i]):
            raise DwmError(
                f"{name}: row {token}: camera_intrinsic {matrix} is no matrix [[f, s, x], [0, f, y], [0, 0, 1]] in pixels; "
                "correct the table"
            )
    columns = {
        "token": rows["token"],
        "channel": sensor,
        "translation": rows["translation"],
        "rotation": rows["rotation"],
        "intrinsics": _fixed(intrinsics),
    }
    return sensors.select(["channel", "modality"]), pa.table(columns)


def _is_of_a_camera(intrinsics: np.ndarray) -> bool:
    """Whether nine finite numbers have an inverse, and are of pixels: rays are drawn through them."""
    if np.abs(intrinsics).max() > FARTHEST or not np.allclose(intrinsics[6:], (0, 0, 1)):
        return False
    return bool(intrinsics[0] * intrinsics[4] - intrinsics[1] * intrinsics[3] > 0)


def _frames(read: Read, version: str, walk: SampleWalk, calibrations: pa.Table) -> tuple[pa.Table, pa.Table]:
    rows = read("sample_data")
    sample = walk.number(rows["sample_token"])
    rows, sample = rows.filter(pa.array(sample >= 0)), sample[sample >= 0]
    poses = read("ego_pose")
    pose = join(version, "sample_data", rows, "ego_pose_token", "ego_pose", poses)
    calibration = join(version, "sample_data", rows, "calibrated_sensor_token", "calibrated_sensor", calibrations)
    scene, channel = walk.scene[sample], calibrations["channel"].to_numpy()[calibration.to_numpy()]
    order = np.lexsort((rows["timestamp"].to_numpy(), channel, scene))
    indices = pa.array(order)
    frames = rows.select(["token", "filename", "timestamp", "width", "height"]).append_column(
        "key", rows["is_key_frame"]
    )
    frames = frames.append_column("calibration", calibration).append_column("sample", pa.array(sample)).take(indices)
    pose_rows = poses.select(["translation", "rotation"]).take(pose.take(indices))
    for name in pose_rows.column_names:
        frames = frames.append_column(name, pose_rows[name])
    spans = _spans(scene[order], channel[order])
    _check_unit(f"{version}/sample_data.json", rows["timestamp"].to_numpy()[order], spans)
    return frames.combine_chunks(), spans


def _check_unit(name: str, stamps: np.ndarray, spans: pa.Table) -> None:
    """Raises DwmError for times that cannot be µs: frames of most channels lie less than 1 ms, or more than 8 s
    (30 s where dates are sound), apart."""
    first, stop = spans["start"].to_numpy(), spans["stop"].to_numpy()
    several = stop - first > 1
    first, last = first[several], stop[several] - 1
    steps = (stamps[last] - stamps[first]) / np.maximum(1, last - first)
    steps = steps[steps > 0]
    since_1970 = bool(len(stamps)) and OURS[0] <= float(np.median(stamps)) <= OURS[1]
    longest = LONGEST_OURS if since_1970 else LONGEST
    if not len(steps) or SHORTEST <= (step := float(np.median(steps))) <= longest:
        return
    unit = "nanoseconds" if step > LONGEST else "milliseconds" if step > 1 else "seconds"
    raise DwmError(
        f"{name}: frames lie {step:.4g} apart, as if timestamp were in {unit}; nuScenes counts microseconds: convert the times "
        "of all tables (and of captions)"
    )


SHORTEST, LONGEST = 1e3, 8e6
"""µs between frames beyond which times are of another unit: from 1000 pictures a second to one in 8 seconds."""
OURS, LONGEST_OURS = (1e15, 4e15), 3e7
"""Times that as µs since 1970 lie between 2001 and 2096, as no other unit's do, are µs: there a part of a recording may have one
picture in 30 seconds. Nanoseconds since a computer was switched on may be such numbers too, but lie farther apart."""


def _spans(scene: np.ndarray, channel: np.ndarray) -> pa.Table:
    change = np.flatnonzero(np.diff(scene) | np.diff(channel)) + 1
    start = np.concatenate([[0], change]) if len(scene) else np.zeros(0, np.int64)
    stop = np.append(start[1:], len(scene))[: len(start)]
    return pa.table({"scene": scene[start], "channel": channel[start], "start": start, "stop": stop})


def _boxes(read: Read, version: str, walk: SampleWalk) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    categories, instances = read("category"), read("instance")
    category_of = join(version, "instance", instances, "category_token", "category", categories)
    rows = read("sample_annotation")
    sample = walk.number(rows["sample_token"])
    rows, sample = rows.filter(pa.array(sample >= 0)), sample[sample >= 0]
    instance = join(version, "sample_annotation", rows, "instance_token", "instance", instances)
    order = np.argsort(sample, kind="stable")
    boxes = rows.select(["translation", "size", "rotation"])
    boxes = boxes.append_column("category", category_of.take(instance)).append_column("instance", instance)
    bounds = np.searchsorted(sample[order], np.arange(len(walk.tokens) + 1))
    samples = pa.table({"start": bounds[:-1], "stop": bounds[1:]})
    return (
        boxes.take(pa.array(order)).combine_chunks(),
        samples,
        categories.select(["name"]),
        instances.select(["token"]),
    )


def _fixed(values: Float[np.ndarray, "n k"]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
