"""The neutral tables as the relations that the index joins, so that one reader serves all. Arrays only; opens no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from dwm.clip import LaneMap
from dwm.data.tables.columns import FLAG, MATRIX, QUATERNION, STAMP, TEXT, VECTOR, WHOLE
from dwm.errors import DwmError

Tables = Mapping[str, pa.Table]

RELATIONS: dict[str, pa.Schema] = {
    "scene": pa.schema(
        {"token": TEXT, "name": TEXT, "first_sample_token": TEXT, "log_token": TEXT, "description": TEXT}
    ),
    "sample": pa.schema({"token": TEXT, "next": TEXT, "scene_token": TEXT}),
    "sample_data": pa.schema(
        {
            "token": TEXT,
            "sample_token": TEXT,
            "ego_pose_token": TEXT,
            "calibrated_sensor_token": TEXT,
            "timestamp": STAMP,
            "is_key_frame": FLAG,
            "filename": TEXT,
            "width": WHOLE,
            "height": WHOLE,
        }
    ),
    "ego_pose": pa.schema({"token": TEXT, "rotation": QUATERNION, "translation": VECTOR}),
    "calibrated_sensor": pa.schema(
        {"token": TEXT, "sensor_token": TEXT, "rotation": QUATERNION, "translation": VECTOR, "camera_intrinsic": MATRIX}
    ),
    "sensor": pa.schema({"token": TEXT, "channel": TEXT, "modality": TEXT}),
    "sample_annotation": pa.schema(
        {
            "token": TEXT,
            "sample_token": TEXT,
            "instance_token": TEXT,
            "translation": VECTOR,
            "size": VECTOR,
            "rotation": QUATERNION,
        }
    ),
    "instance": pa.schema({"token": TEXT, "category_token": TEXT}),
    "category": pa.schema({"token": TEXT, "name": TEXT}),
    "log": pa.schema({"token": TEXT, "location": TEXT}),
}
"""The ten tables that the index joins, and their columns. They have the names of nuScenes, whose own tables go in as they are."""


def relations(neutral: Tables, label: Callable[[str], str]) -> dict[str, pa.Table]:
    """All tables of nuScenes by name, with all columns that the format has (links between rows made anew).

    neutral: `SCHEMAS` by name; label: a neutral table as errors name it.
    """
    scenes, sensors, frames, boxes = (neutral[name] for name in ("scenes", "sensors", "frames", "boxes"))
    instants = neutral["instants"]
    instants = instants.take(pc.sort_indices(instants, [("scene", "ascending"), ("time", "ascending")]))
    prev, following = chain([instants["scene"]], instants["token"])
    sample = pa.table(
        {"token": instants["token"], "timestamp": instants["time"], "prev": prev, "next": following}
        | {"scene_token": instants["scene"]}
    )
    names = pc.unique(sensors["name"])
    kinds = sensors["kind"].take(pc.index_in(names, value_set=sensors["name"]))
    maps = pc.unique(scenes["map"])
    return {
        "scene": _scenes(scenes, instants, label),
        "sample": sample,
        "sample_data": _frames(frames, sensors, instants, label),
        "ego_pose": pa.table(
            {"token": frames["token"], "timestamp": frames["time"]}
            | {name: frames[name] for name in ("rotation", "translation")}
        ),
        "calibrated_sensor": pa.table(
            {"token": sensors["token"], "sensor_token": sensors["name"], "translation": sensors["translation"]}
            | {"rotation": sensors["rotation"], "camera_intrinsic": _square(sensors["intrinsics"])}
        ),
        "sensor": pa.table({"token": names, "channel": names, "modality": kinds}),
        "log": pa.table({"token": maps, "location": maps}),
        **_boxes(boxes, instants),
    }


def chain(groups: list[pa.ChunkedArray], tokens: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The tokens before and after each row, empty at the ends, of rows that are sorted by group."""
    if not len(tokens):
        return pa.array([], pa.string()), pa.array([], pa.string())
    same = np.ones(len(tokens) - 1, bool)
    for group in groups:
        codes = pc.dictionary_encode(group.combine_chunks()).indices.to_numpy()
        same &= codes[1:] == codes[:-1]
    rows = np.arange(len(tokens))
    before = pa.array(np.where(np.append(False, same), rows - 1, 0), mask=~np.append(False, same))
    after = pa.array(
        np.where(np.append(same, False), np.minimum(rows + 1, len(rows) - 1), 0), mask=~np.append(same, False)
    )
    return tuple(pc.fill_null(tokens.take(index), "").combine_chunks() for index in (before, after))


def _scenes(scenes: pa.Table, instants: pa.Table, label: Callable[[str], str]) -> pa.Table:
    """instants are sorted by scene and time."""
    codes = pc.index_in(instants["scene"], value_set=scenes["token"])
    if codes.null_count:
        row = pc.index(pc.is_null(codes), True).as_py()
        raise DwmError(
            f"{label('instants')}: row {instants['token'][row]}: scene {instants['scene'][row]} is not in "
            f"{label('scenes')}"
        )
    count = np.bincount(codes.to_numpy(), minlength=len(scenes))
    first = np.full(len(scenes), -1)
    numbers = codes.to_numpy()
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    empty = np.flatnonzero(first < 0)
    if len(empty):
        raise DwmError(
            f"{label('instants')}: scene {scenes['name'][int(empty[0])]} has no instants; each needs one at least"
        )
    tokens = instants["token"]
    return pa.table(
        {"token": scenes["token"], "log_token": scenes["map"], "nbr_samples": count}
        | {
            "first_sample_token": tokens.take(pa.array(first)),
            "last_sample_token": tokens.take(pa.array(first + count - 1)),
        }
        | {"name": scenes["name"], "description": scenes["description"]}
    )


def _frames(frames: pa.Table, sensors: pa.Table, instants: pa.Table, label: Callable[[str], str]) -> pa.Table:
    sensor = pc.index_in(frames["sensor"], value_set=sensors["token"])
    instant = pc.index_in(frames["instant"], value_set=instants["token"])
    for name, targets, table in (("sensor", sensor, "sensors"), ("instant", instant, "instants")):
        if targets.null_count:
            row = pc.index(pc.is_null(targets), True).as_py()
            raise DwmError(
                f"{label('frames')}: row {frames['token'][row]}: {name} {frames[name][row]} is not in {label(table)}"
            )
    frames = frames.append_column("scene", instants["scene"].take(instant))
    frames = frames.append_column("channel", sensors["name"].take(sensor))
    frames = frames.take(pc.sort_indices(frames, [(n, "ascending") for n in ("scene", "channel", "time")]))
    prev, following = chain([frames["scene"], frames["channel"]], frames["token"])
    # nuScenes calls a LiDAR's `….pcd.bin` a pcd.
    ending = pc.replace_substring_regex(frames["file"], r"^(?:.*\.(pcd)\.bin|.*\.([^.]*))$", r"\1\2")
    return pa.table(
        {"token": frames["token"], "sample_token": frames["instant"], "ego_pose_token": frames["token"]}
        | {"calibrated_sensor_token": frames["sensor"], "timestamp": frames["time"], "fileformat": ending}
        | {"is_key_frame": frames["annotated"], "height": frames["height"], "width": frames["width"]}
        | {"filename": frames["file"], "prev": prev, "next": following}
    )


def _boxes(boxes: pa.Table, instants: pa.Table) -> dict[str, pa.Table]:
    """sample_annotation in the package's order, and the tables that hang on it."""
    instant_index = pc.fill_null(pc.index_in(boxes["instant"], value_set=instants["token"]), -1)
    order = pc.sort_indices(
        pa.table({"instance": boxes["instance"], "place": instant_index}),
        [("instance", "ascending"), ("place", "ascending")],
    )
    sorted_boxes = boxes.take(order)
    back = pc.sort_indices(order)
    prev, following = (column.take(back) for column in chain([sorted_boxes["instance"]], sorted_boxes["token"]))
    size = np.asarray(boxes["size"].combine_chunks().flatten()).reshape(-1, 3)[:, [1, 0, 2]]
    rows = pa.table(
        {"token": boxes["token"], "sample_token": boxes["instant"], "instance_token": boxes["instance"]}
        | {"visibility_token": boxes["visibility"], "attribute_tokens": boxes["attributes"]}
        | {"translation": boxes["translation"], "size": pa.FixedSizeListArray.from_arrays(pa.array(size.ravel()), 3)}
        | {"rotation": boxes["rotation"], "prev": prev, "next": following}
        | {"num_lidar_pts": boxes["lidar_points"], "num_radar_pts": boxes["radar_points"]}
    )
    instances = pc.unique(sorted_boxes["instance"])
    first = pc.index_in(instances, value_set=sorted_boxes["instance"])
    count = np.diff(np.append(first.to_numpy(), len(boxes))) if len(boxes) else np.zeros(0, np.int64)
    last = pa.array(first.to_numpy() + count - 1) if len(boxes) else pa.array([], pa.int64())
    categories = pc.unique(boxes["category"])
    attributes = pc.unique(pc.list_flatten(boxes["attributes"]))
    levels = pc.unique(boxes["visibility"])
    return {
        "sample_annotation": rows,
        "instance": pa.table(
            {"token": instances, "category_token": sorted_boxes["category"].take(first), "nbr_annotations": count}
            | {"first_annotation_token": sorted_boxes["token"].take(first)}
            | {"last_annotation_token": sorted_boxes["token"].take(last)}
        ),
        "category": pa.table(
            {"token": categories, "name": categories, "description": pc.utf8_slice_codeunits(categories, 0, 0)}
        ),
        "attribute": pa.table({"token": attributes, "name": attributes}),
        "visibility": pa.table({"token": levels, "level": levels}),
    }


def _square(intrinsics: pa.ChunkedArray) -> pa.Array:
    """Nine numbers as three rows of three; nothing as no rows."""
    rows = [[line[:3], line[3:6], line[6:]] if line else [] for line in intrinsics.to_pylist()]
    return pa.array(rows, pa.list_(pa.list_(pa.float64())))


def lane_rows(name: str, lane_map: LaneMap) -> list[dict[str, Any]]:
    """Rows of `lanes`, in the map's order."""
    return [
        {"map": name, "layer": layer, "polygon": shapely.to_wkb(polygon)}
        for layer, polygons in lane_map.layers.items()
        for polygon in polygons
    ]
