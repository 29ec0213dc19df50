"""Any `SceneTables` → scene package, or → nuScenes, with every number that they know. Pictures are copied as they are."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from dwm.conventions import CAPTION_KEYS
from dwm.data.films import film_of, read_film
from dwm.data.nuscenes.write.archive import write_json
from dwm.data.nuscenes.write.archive import write_tables as write_nuscenes_tables
from dwm.data.nuscenes.write.expansion import canvas_of, records_of_map, write_expansion
from dwm.data.nuscenes.write.names import map_row
from dwm.data.package.schema import Manifest
from dwm.data.package.writer import staged, write_tables
from dwm.data.splits import Split
from dwm.data.tables.relations import relations
from dwm.data.tables.scene_tables import SceneTables
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


def to_package(source: SceneTables, output: Path, split: Split = None, files: bool = True) -> Converted:
    """A data set as a package (a folder, or a `.zip`). Without `files` pictures and sweeps are left out.

    Map layers that layouts do not show are left out. Raises DwmError for broken tables.
    """
    check_output(output, empty=True)
    tables = source.neutral(split)
    manifest = Manifest(name=output.stem, source=source.title, views=source.views)
    with staged(output) as folder:
        copied = copy_files(source.tree, tables["frames"]["file"], folder) if files else 0
        write_tables(folder, manifest, tables)
    return Converted(output, len(tables["scenes"]), len(tables["frames"]), len(tables["boxes"]), copied)


def to_nuscenes(source: SceneTables, output: Path, version: str = "v1.0-mini", files: bool = True) -> Converted:
    """A data set as a nuScenes folder: the thirteen tables, the map expansion's three layers, captions, pictures."""
    check_output(output, empty=True)
    plain_name(version, "--version")
    neutral = source.neutral()
    neutral["sensors"] = _in_ring_order(neutral["sensors"], source.views)
    names = neutral["frames"]["file"]
    of_films = neutral["frames"].column_names.index("file")
    neutral["frames"] = neutral["frames"].set_column(of_films, "file", _without_films(names))
    tables = relations(neutral, source.called)
    maps = tables["log"]["location"].to_pylist()
    with staged(output) as folder:
        copied = copy_files(source.tree, names, folder, split_films=True) if files else 0
        rows = {name: map(whole_stamps, table.to_pylist()) for name, table in tables.items()}
        write_nuscenes_tables(folder / version, rows | {"map": [map_row(name, "", [name]) for name in maps]})
        for name in maps:
            records = records_of_map(name, source.map(name))
            path = folder / inside(f"expansion/{name}.json", source.tree.where)
            write_expansion(path, [records], canvas_of(records))
        write_captions(folder, neutral["captions"])
    return Converted(output, len(neutral["scenes"]), len(neutral["frames"]), len(neutral["boxes"]), copied)


def _in_ring_order(sensors: pa.Table, views: Sequence[str]) -> pa.Table:
    """Sensors with the cameras around the car first: where a format has no field for their order, they come in it."""
    place = [views.index(name) if name in views else len(views) for name in sensors["name"].to_pylist()]
    return sensors.take(np.argsort(place, kind="stable"))


def write_captions(folder: Path, captions: pa.Table) -> None:
    if not len(captions):
        return
    texts, times = {}, {}
    for row in captions.to_pylist():
        key = f"{row['scene']}|{row['sensor']}"
        texts[f"{key}|{row['at']}"] = {name: row[name] for name in CAPTION_KEYS}
        times.setdefault(key, []).append(row["at"])
    write_json(folder / "captions.json", texts)
    write_json(folder / "caption_times.json", {key: sorted(stamps) for key, stamps in times.items()})


def copy_files(tree: Tree, names: pa.ChunkedArray, folder: Path, split_films: bool = False) -> int:
    """Files as they are; pictures of films with their film, or `split_films` into a JPEG each."""
    unique = names if split_films else pc.replace_substring_regex(names, r"#\d+$", "")
    unique = pc.unique(unique)
    for name in track(unique, "copying files", len(unique), "files"):
        file, film = name.as_py(), film_of(name.as_py())
        target = folder / inside(picture_name(file) if film else file, f"{tree.where}: a frame's file")
        target.parent.mkdir(parents=True, exist_ok=True)
        if film:
            Image.fromarray(read_film(tree, *film)).save(target, quality=FILM_QUALITY)
            continue
        with tree.open(file) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    return len(unique)


def picture_name(name: str) -> str:
    """Where a film's picture goes in a set that knows no films."""
    film, number = film_of(name) or (name, None)
    return name if number is None else f"{film.rpartition('.')[0]}/{number:06d}.jpg"


def _without_films(names: pa.ChunkedArray) -> pa.Array:
    return pa.array([picture_name(name) for name in names.to_pylist()], pa.string())


def whole_stamps(row: Mapping[str, Any]) -> dict[str, Any]:
    stamp = row.get("timestamp")
    return dict(row) | ({"timestamp": int(stamp)} if stamp is not None and stamp == int(stamp) else {})
