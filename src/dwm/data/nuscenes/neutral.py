"""nuScenes' tables as the neutral `SceneTables`, with every number that these know. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dwm.conventions import CAPTION_KEYS
from dwm.data.captions import find_caption_files
from dwm.data.nuscenes.interpolate import BOX, FRAME, SAMPLE
from dwm.data.nuscenes.maps import read_map
from dwm.data.nuscenes.tables import read_table, rows, text_of
from dwm.data.splits import scene_names
from dwm.data.tables.index import join, walk_samples
from dwm.data.tables.relations import lane_rows
from dwm.data.tables.scene_tables import SCHEMAS
from dwm.errors import DwmError
from dwm.storage import Tree


def neutral_tables(tree: Tree, version: str, split: str | Path | Iterable[str] | None = None) -> dict[str, pa.Table]:
    """The seven `SCHEMAS` of the scenes of a split (None: of all). Raises DwmError for scenes that are not whole."""
    read = partial(read_table, tree, version)
    scenes, logs = read("scene"), read("log")
    if split is not None:
        names = scene_names(split, scenes["name"].to_pylist())
        scenes = scenes.filter(pc.is_in(scenes["name"], pa.array(sorted(names), pa.string())))
    samples = read("sample", SAMPLE)
    walk, complete = walk_samples(scenes, samples)
    if not len(walk.tokens) or not all(complete):
        raise DwmError(f"{tree.where}: {version}/sample.json lacks samples of the scenes; choose a split that is whole")
    samples = samples.filter(pc.is_in(samples["token"], walk.tokens))
    sensors = _sensors(read, version)
    camera_tokens = set(sensors["token"].to_pylist())
    frames = read("sample_data", FRAME, lambda row: row.get("calibrated_sensor_token") in camera_tokens)
    frames = frames.filter(pc.is_in(frames["sample_token"], walk.tokens))
    location = logs["location"].take(join(version, "scene", scenes, "log_token", "log", logs))
    tables = {
        "scenes": pa.table({name: scenes[name] for name in ("token", "name", "description")} | {"map": location}),
        "sensors": sensors.filter(pc.is_in(sensors["token"], pc.unique(frames["calibrated_sensor_token"]))),
        "instants": pa.table(
            {"token": samples["token"], "scene": samples["scene_token"], "time": samples["timestamp"]}
        ),
        "frames": _frames(read, version, frames),
        "boxes": _boxes(tree, read, version, walk.tokens),
        "lanes": _lanes(tree, location),
        "captions": _captions(tree, version, scenes),
    }
    return {name: table.select(SCHEMAS[name].names).cast(SCHEMAS[name]) for name, table in tables.items()}


def _sensors(read, version: str) -> pa.Table:
    sensors, rows = read("sensor"), read("calibrated_sensor")
    sensor = join(version, "calibrated_sensor", rows, "sensor_token", "sensor", sensors)
    flat = [[number for line in matrix or () for number in line] for matrix in rows["camera_intrinsic"].to_pylist()]
    return pa.table(
        {"token": rows["token"], "name": sensors["channel"].take(sensor), "kind": sensors["modality"].take(sensor)}
        | {"translation": rows["translation"], "rotation": rows["rotation"]}
        | {"intrinsics": pa.array(flat, pa.list_(pa.float64()))}
    )


def _frames(read, version: str, frames: pa.Table) -> pa.Table:
    poses = read("ego_pose")
    pose = join(version, "sample_data", frames, "ego_pose_token", "ego_pose", poses)
    return pa.table(
        {"token": frames["token"], "sensor": frames["calibrated_sensor_token"], "instant": frames["sample_token"]}
        | {"time": frames["timestamp"], "annotated": frames["is_key_frame"], "file": frames["filename"]}
        | {"width": frames["width"], "height": frames["height"]}
        | {name: poses[name].take(pose) for name in ("translation", "rotation")}
    )


def _boxes(tree: Tree, read, version: str, samples: pa.Array) -> pa.Table:
    categories, instances = read("category"), read("instance")
    category = categories["name"].take(join(version, "instance", instances, "category_token", "category", categories))
    boxes = read("sample_annotation", BOX)
    boxes = boxes.filter(pc.is_in(boxes["sample_token"], samples)).combine_chunks()
    instance = join(version, "sample_annotation", boxes, "instance_token", "instance", instances)
    file = f"{version}/attribute.json"
    names = {text_of(file, row, "token"): text_of(file, row, "name") for row in rows(tree, file)}
    attributes = [[names.get(token, token) for token in tokens] for tokens in boxes["attribute_tokens"].to_pylist()]
    size = np.asarray(boxes["size"].combine_chunks().flatten()).reshape(-1, 3)[:, [1, 0, 2]]
    return pa.table(
        {"token": boxes["token"], "instant": boxes["sample_token"], "instance": boxes["instance_token"]}
        | {"category": category.take(instance), "translation": boxes["translation"]}
        | {"size": pa.FixedSizeListArray.from_arrays(pa.array(size.ravel()), 3), "rotation": boxes["rotation"]}
        | {"visibility": boxes["visibility_token"], "attributes": pa.array(attributes, pa.list_(pa.string()))}
        | {"lidar_points": boxes["num_lidar_pts"], "radar_points": boxes["num_radar_pts"]}
    )


def _lanes(tree: Tree, locations: pa.ChunkedArray) -> pa.Table:
    rows = [row for name in sorted(set(locations.to_pylist())) for row in lane_rows(name, read_map(tree, name))]
    return pa.Table.from_pylist(rows, SCHEMAS["lanes"])


def _captions(tree: Tree, version: str, scenes: pa.Table) -> pa.Table:
    tokens, rows = set(scenes["token"].to_pylist()), []
    for part in find_caption_files(tree, version):
        for key, entry in part.captions.items():
            scene, _, rest = key.partition("|")
            sensor, _, stamp = rest.rpartition("|")
            if scene in tokens:
                words = {name: entry.get(name, "") for name in CAPTION_KEYS}
                rows.append({"scene": scene, "sensor": sensor, "at": int(stamp)} | words)
    return pa.Table.from_pylist(rows, SCHEMAS["captions"])
