"""nuScenes → scene package → nuScenes, with every number that the package knows. Pictures are copied as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from dwm.clip import LaneMap
from dwm.conventions import CAPTION_KEYS
from dwm.data.captions import find_caption_files
from dwm.data.films import film_of, read_film
from dwm.data.nuscenes.index import join, walk_samples
from dwm.data.nuscenes.interpolate import BOX, FRAME, SAMPLE
from dwm.data.nuscenes.maps import read_map
from dwm.data.nuscenes.splits import scene_names
from dwm.data.nuscenes.tables import read_table, rows, text_of
from dwm.data.package.schema import SCHEMAS, Manifest, read_package_table
from dwm.data.package.tables import nuscenes_tables
from dwm.data.package.writer import lane_rows, staged, write_tables
from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import Tree, check_output, inside, plain_name

FILM_QUALITY = 95
"""Of the JPEGs that a film is split into where a format knows no films."""


@dataclass(frozen=True)
class Converted:
    """What was written."""

    path: Path
    scenes: int
    frames: int
    boxes: int
    files: int


def to_package(
    tree: Tree, version: str, output: Path, split: str | Path | Iterable[str] | None = None, files: bool = True
) -> Converted:
    """A version of a nuScenes set as a package (a folder, or a `.zip`). Without `files` pictures and sweeps are left out.

    Map layers that layouts do not show are left out. Raises DwmError for broken tables.
    """
    check_output(output, empty=True)
    tables = package_tables(tree, version, split)
    manifest = Manifest(name=output.stem, source=f"nuScenes {version}")
    with staged(output) as folder:
        copied = _copy_files(tree, tables["frames"]["file"], folder) if files else 0
        write_tables(folder, manifest, tables)
    return Converted(output, *(len(tables[name]) for name in ("scenes", "frames", "boxes")), copied)


def package_tables(tree: Tree, version: str, split: str | Path | Iterable[str] | None = None) -> dict[str, pa.Table]:
    """The seven tables of a package from those of nuScenes."""
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
    known = set(sensors["token"].to_pylist())
    frames = read("sample_data", FRAME, lambda row: row.get("calibrated_sensor_token") in known)
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
    found = [row for name in sorted(set(locations.to_pylist())) for row in lane_rows(name, read_map(tree, name))]
    return pa.Table.from_pylist(found, SCHEMAS["lanes"])


def _captions(tree: Tree, version: str, scenes: pa.Table) -> pa.Table:
    wanted, found = set(scenes["token"].to_pylist()), []
    for part in find_caption_files(tree, version):
        for key, entry in part.captions.items():
            scene, _, rest = key.partition("|")
            sensor, _, stamp = rest.rpartition("|")
            if scene in wanted:
                words = {name: entry.get(name, "") for name in CAPTION_KEYS}
                found.append({"scene": scene, "sensor": sensor, "at": int(stamp)} | words)
    return pa.Table.from_pylist(found, SCHEMAS["captions"])


def to_nuscenes(tree: Tree, output: Path, version: str = "v1.0-mini", files: bool = True) -> Converted:
    """A package as a nuScenes folder: the thirteen tables, the map expansion's three layers, captions, pictures."""
    check_output(output, empty=True)
    plain_name(version, "--version")
    package = {name: read_package_table(tree, name) for name in SCHEMAS}
    names = package["frames"]["file"]
    of_films = package["frames"].column_names.index("file")
    package["frames"] = package["frames"].set_column(of_films, "file", _without_films(names))
    tables = nuscenes_tables(package)
    maps = tables["log"]["location"].to_pylist()
    with staged(output) as folder:
        copied = _copy_files(tree, names, folder, split_films=True) if files else 0
        for name, table in tables.items():
            _write_json(folder / version / f"{name}.json", map(_whole_stamps, table.to_pylist()))
        places = [{"token": name, "log_tokens": [name], "category": "semantic_prior", "filename": ""} for name in maps]
        _write_json(folder / version / "map.json", places)
        for name in maps:
            _write_json(folder / inside(f"expansion/{name}.json", tree.where), expansion(read_map(tree, name)))
        _write_captions(folder, package["captions"])
    return Converted(output, *(len(package[name]) for name in ("scenes", "frames", "boxes")), copied)


def expansion(lane_map: LaneMap) -> dict[str, Any]:
    """A map in the form of the map expansion, with the layers that it has."""
    content: dict[str, Any] = {"version": "1.3", "node": [], "polygon": []}

    def ring(points: Iterable[tuple[float, ...]]) -> list[str]:
        tokens = []
        for x, y, *_ in list(points)[:-1]:
            tokens.append(f"node-{len(content['node'])}")
            content["node"].append({"token": tokens[-1], "x": x, "y": y})
        return tokens

    for layer, polygons in lane_map.layers.items():
        content[layer] = []
        for number, polygon in enumerate(polygons):
            name = f"{layer}-{number}"
            holes = [{"node_tokens": ring(hole.coords)} for hole in polygon.interiors]
            shell = ring(polygon.exterior.coords)
            content["polygon"].append({"token": name, "exterior_node_tokens": shell, "holes": holes})
            places = {"polygon_tokens": [name]} if layer == "drivable_area" else {"polygon_token": name}
            content[layer].append({"token": name} | places)
    return content


def _write_captions(folder: Path, captions: pa.Table) -> None:
    if not len(captions):
        return
    said, times = {}, {}
    for row in captions.to_pylist():
        place = f"{row['scene']}|{row['sensor']}"
        said[f"{place}|{row['at']}"] = {name: row[name] for name in CAPTION_KEYS}
        times.setdefault(place, []).append(row["at"])
    _write_json(folder / "captions.json", said)
    _write_json(folder / "caption_times.json", {place: sorted(stamps) for place, stamps in times.items()})


def _copy_files(tree: Tree, names: pa.ChunkedArray, folder: Path, split_films: bool = False) -> int:
    """Files as they are; pictures of films with their film, or `split_films` into a JPEG each."""
    unique = names if split_films else pc.replace_substring_regex(names, r"#\d+$", "")
    unique = pc.unique(unique)
    for name in track(unique, "copying files", len(unique), "files"):
        file, film = name.as_py(), film_of(name.as_py())
        target = folder / inside(_picture_name(file) if film else file, f"{tree.where}: a frame's file")
        target.parent.mkdir(parents=True, exist_ok=True)
        if film:
            Image.fromarray(read_film(tree, *film)).save(target, quality=FILM_QUALITY)
            continue
        with tree.open(file) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    return len(unique)


def _picture_name(name: str) -> str:
    """Where a film's picture goes in a set that knows no films."""
    film, number = film_of(name) or (name, None)
    return name if number is None else f"{film.rpartition('.')[0]}/{number:06d}.jpg"


def _without_films(names: pa.ChunkedArray) -> pa.Array:
    return pa.array([_picture_name(name) for name in names.to_pylist()], pa.string())


def _whole_stamps(row: Mapping[str, Any]) -> dict[str, Any]:
    stamp = row.get("timestamp")
    return dict(row) | ({"timestamp": int(stamp)} if stamp is not None and stamp == int(stamp) else {})


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return
    with path.open("w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in content) + "\n]\n")
