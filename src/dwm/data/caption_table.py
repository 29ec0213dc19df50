"""The two caption files from an annotation table of one's own: a row says something of a scene, a camera or an instant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.csv

from dwm.conventions import CAPTION_KEYS
from dwm.data.captions import CaptionFiles
from dwm.data.tables.parquet import read_parquet
from dwm.errors import DwmError, nearest
from dwm.storage import atomic_write, check_folder, limits, open_binary, read_file, regular
from dwm.strict_json import parse_json

PLACE = ("scene", "camera", "at", "timestamp")
"""Where a row belongs: the scene (name or token), its camera (empty: all), seconds since its start or µs (empty: all of it)."""
ALIASES = {"text": "image_description", "caption": "image_description", "time_of_day": "time", "channel": "camera"}
CELL = 64
"""Bytes of an empty cell as an object, about."""

Parts = dict[str, str]


@dataclass(frozen=True)
class CaptionsMade:
    """What was written: entries by picture, rows that said them, cameras of scenes that nothing is said about."""

    files: tuple[Path, Path]
    rows: int
    entries: int
    without: int


@runtime_checkable
class CaptionedScene(Protocol):
    """What a table of words has to know of a scene."""

    @property
    def name(self) -> str: ...

    @property
    def token(self) -> str: ...

    @property
    def views(self) -> tuple[str, ...]: ...

    @property
    def caption_name(self) -> str:
        """What caption files know it by."""

    def caption_span(self, view: str) -> tuple[float, float] | None:
        """When (µs) a camera has its first and last picture; None where there is no such camera."""

    def caption_time(self, view: str, micros: float) -> float:
        """The time (µs) that stands for another in caption files, such as that of the nearest picture."""


@runtime_checkable
class CaptionedDataset(Protocol):
    """A data set whose captions can be written. caption_keys: names keys and counts times as its files do."""

    @property
    def scenes(self) -> Sequence[CaptionedScene]: ...

    @property
    def caption_keys(self) -> CaptionFiles: ...


def make_caption_files(table: Path, dataset: CaptionedDataset, output: Path) -> CaptionsMade:
    """Writes `captions.json` and `caption_times.json` into the folder `output`.

    `table` is .csv (UTF-8), .jsonl or .parquet with the column `scene`, optionally `camera`, `at` (s) or `timestamp` (µs), and
    parts of a caption (`time`, `weather`, `environment`, `objects`, `image_description` or `text`). What a row leaves empty is
    taken from the less special rows of its scene. Raises DwmError naming the row of what does not fit.
    """
    check_folder(output, ("captions.json", "caption_times.json"))
    rows = _read(table)
    parts_by_view: dict[tuple[str, str], dict[float | None, Parts]] = {}
    scenes = {key: scene for scene in dataset.scenes for key in (scene.name, scene.token)}
    for number, row in enumerate(rows, 1):
        where = f"{table}: row {number}"
        scene = scenes.get(row["scene"])
        if scene is None:
            raise DwmError(f"{where}: the data set has no scene {row['scene']!r}{nearest(row['scene'], scenes)}")
        views = [row["camera"]] if row.get("camera") else scene.views
        for view in views:
            if (span := scene.caption_span(view)) is None:
                names = ", ".join(scene.views)
                raise DwmError(
                    f"{where}: {scene.name} has no camera {view!r}; it has {names}{nearest(view, scene.views)}"
                )
            stamp = _stamp(where, scene, view, span, row)
            parts = parts_by_view.setdefault((scene.name, view), {}).setdefault(stamp, {})
            # A row about one camera is more special than one about all, whichever comes first.
            rank = {key: row[key] for key in CAPTION_KEYS if row.get(key)}
            parts_by_view[scene.name, view][stamp] = parts | rank if row.get("camera") else rank | parts
    captions, times = _files(dataset, parts_by_view)
    files = (output / "captions.json", output / "caption_times.json")
    for path, content in zip(files, (captions, times), strict=True):
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")
    cameras = sum(len(scene.views) for scene in dataset.scenes)
    return CaptionsMade(files, len(rows), len(captions), cameras - len(parts_by_view))


def _files(
    dataset: CaptionedDataset, parts_by_view: Mapping[tuple[str, str], Mapping[float | None, Parts]]
) -> tuple[dict[str, Parts], dict[str, list[int]]]:
    keys, by_camera = dataset.caption_keys, {}
    scenes = {scene.name: (number, scene) for number, scene in enumerate(dataset.scenes)}
    for (name, view), by_time in sorted(parts_by_view.items(), key=lambda item: (scenes[item[0][0]][0], item[0][1])):
        scene = scenes[name][1]
        general, span = by_time.get(None, {}), scene.caption_span(view)
        stamps = {stamp: general | parts for stamp, parts in by_time.items() if stamp is not None}
        if None in by_time and span is not None:
            stamps.setdefault(scene.caption_time(view, span[0]), general)
        counts = {int(stamp) // keys.micros: parts for stamp, parts in stamps.items()}
        by_camera.setdefault(keys.camera_key(scene.caption_name, view), []).append((scene, view, counts))
    captions, times = {}, {}
    for camera, views in by_camera.items():
        times[camera] = sorted({count for _, _, counts in views for count in counts})
        for scene, view, counts in views:
            for count in times[camera]:  # cameras whose times stand together have words at each: those nearest in time
                parts = counts[min(counts, key=lambda other: (abs(other - count), other))]
                captions[keys.key(scene.caption_name, view, count)] = {
                    part: parts.get(part, "") for part in CAPTION_KEYS
                }
    return captions, times


def _stamp(
    where: str, scene: CaptionedScene, view: str, span: tuple[float, float], row: Mapping[str, str]
) -> float | None:
    """The time of the frame that a row speaks of; None for the whole scene. span: of the camera's pictures (µs)."""
    text = row.get("timestamp") or row.get("at")
    if not text:
        return None
    first, last = span
    try:
        stamp = float(text) if row.get("timestamp") else first + 1e6 * float(text)
    except ValueError as error:
        raise DwmError(f"{where}: {text!r} is no time; `at` is in seconds, `timestamp` in µs") from error
    if not first - 1e6 <= stamp <= last + 1e6:
        raise DwmError(
            f"{where}: {text} lies outside {scene.name}, which lasts {(last - first) / 1e6:.2f} s; `at` is in seconds since "
            "its start, `timestamp` in µs"
        )
    return scene.caption_time(view, stamp)


def _read(table: Path) -> list[dict[str, str]]:
    readers = {".csv": _read_csv, ".jsonl": _read_lines, ".parquet": _read_parquet}
    if table.suffix not in readers:
        raise DwmError(f"{table}: is no {', '.join(readers)} file; save the table as one of these")
    regular(table, limits.TEXT)
    try:
        content = readers[table.suffix](table)
        limits.check_size(
            f"{table}: {content.num_rows} rows", CELL * content.num_rows * content.num_columns, limits.TABLE
        )
        names = [ALIASES.get(name, name) for name in content.column_names]
        rows = content.rename_columns(names).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DwmError(f"{table}: cannot be read as {table.suffix} in UTF-8 ({str(error).splitlines()[0]})") from error
    columns = (*PLACE, *CAPTION_KEYS)
    for name in names:
        if name not in columns:
            raise DwmError(f"{table}: unknown column {name}{nearest(name, columns)}; known are {', '.join(columns)}")
    if "scene" not in names or not set(names) & set(CAPTION_KEYS):
        raise DwmError(f"{table}: needs the column scene and at least one of {', '.join(CAPTION_KEYS)}")
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def _read_csv(file: Path) -> pa.Table:
    return pa.csv.read_csv(file, convert_options=_as_text(file))


def _read_parquet(file: Path) -> pa.Table:
    with open_binary(file) as opened:
        return read_parquet(opened, str(file))


def _read_lines(file: Path) -> pa.Table:
    """JSON lines, one by one: Arrow's own reader ends the process at rows that are nested deep."""
    rows: list[dict[str, str]] = []
    for number, line in enumerate(read_file(file, limits.TEXT).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}: line {number}"
        limits.check_size(where, len(line), limits.ROW)
        row = parse_json(line, where, "correct it")
        if not isinstance(row, dict) or any(isinstance(value, dict | list) for value in row.values()):
            raise DwmError(f'{where}: is no object of texts and numbers; a row looks like {{"scene": …, "text": …}}')
        rows.append({name: "" if value is None else str(value) for name, value in row.items()})
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name, "") for row in rows], pa.string()) for name in names})


def _as_text(file: Path) -> pa.csv.ConvertOptions:
    """All columns as they are written: a time stamp must not lose digits, nor a scene "0061" its zero."""
    with pa.csv.open_csv(file) as reader:
        return pa.csv.ConvertOptions(column_types={name: pa.string() for name in reader.schema.names})
