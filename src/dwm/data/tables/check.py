"""What is broken in a data set of tables: walks it without stopping at the first fault. Changes nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dwm.data.dataset import Checked, Finding, ReadOptions
from dwm.data.films import file_of
from dwm.data.layout import color_of
from dwm.data.options import BOX_COLORS
from dwm.data.tables.columns import numbers, vectors
from dwm.data.tables.index import Index, open_index
from dwm.data.tables.indexed import IndexedTables
from dwm.data.tables.scene import TableScene
from dwm.data.tables.scene_tables import SceneTables
from dwm.data.tables.sensors import TreePictures, TreePoints
from dwm.errors import DwmError
from dwm.geometry import box_corners, inverse, rotation_from_quaternion, transform
from dwm.progress import track


def check_tables(source: SceneTables, read_files: bool = False, key_frames_only: bool = False) -> Checked:
    """Walks a data set. With `read_files` every picture and sweep is decoded, else they need only be there (`key_frames_only`:
    those of key frames)."""
    try:
        index = open_index(source)
    except DwmError as error:
        return Checked(source.version, 0, 0, 0, unopened(source, error), source.title)
    complete = np.flatnonzero(index.scenes["complete"].to_numpy()).tolist()
    findings = [*_incomplete(index), *source.lost_rows()]
    tables = IndexedTables(source, index, ReadOptions(maps=False, key_frames_only=key_frames_only))
    scenes = [TableScene(tables, number) for number in complete]
    if scenes:
        findings += _missing_files(tables)
        findings += _missing_cameras(tables, scenes)
        for part in (_calibrations, _order, _maps):
            findings += part(tables)
        findings += _captions(tables, scenes)
        findings += _colourless(tables)
        findings += _unseen_boxes(tables, scenes)
        findings += _broken_files(tables) if read_files else ()
    else:
        where = source.called("scene")
        findings.append(Finding("scenes", 1, f"{where} has none that is whole, so that there are no clips"))
    return Checked(source.version, len(complete), len(index.frames), len(index.boxes), tuple(findings), source.title)


def unopened(source: SceneTables, error: DwmError) -> tuple[Finding, ...]:
    """Why a set does not open, table by table; what else is broken shows when its tables are mended."""
    try:
        faults = source.faults()
    except DwmError:
        faults = []
    lines = [finding.example for finding in faults]
    return tuple(faults) if str(error) in lines else (Finding("cannot be opened", 1, str(error)), *faults)


def _incomplete(index: Index) -> Iterator[Finding]:
    names = index.scenes.filter(pc.invert(index.scenes["complete"]))["name"].to_pylist()
    if names:
        yield Finding(
            "scenes without all their samples", len(names), f"{names[0]}: a `next` in sample.json leads nowhere or back"
        )


def _missing_files(tables: IndexedTables) -> Iterator[Finding]:
    names = pc.replace_substring_regex(tables.index.frames["filename"], r"#\d+$", "")
    if tables.options.key_frames_only:
        names = names.filter(pa.array(tables.columns.key))
    folders = pc.replace_substring_regex(names, r"[^/]*$", "")
    for folder in track(sorted(set(pc.unique(folders).to_pylist())), "looking for files", unit="folders"):
        in_folder = names.filter(pc.equal(folders, folder))
        there = pa.array(tables.tree.names(folder), pa.string())
        missing = in_folder.filter(pc.invert(pc.is_in(in_folder, value_set=there)))
        if len(missing):
            yield Finding(
                f"missing files in {folder}",
                len(missing),
                f"{missing[0]}; is an archive missing? (or --key-frames)",
            )


def _missing_cameras(tables: IndexedTables, scenes: Sequence[TableScene]) -> Iterator[Finding]:
    """Cameras that the tables know and a scene has no pictures of."""
    cameras = [row["channel"] for row in tables.index.channels.to_pylist() if row["modality"] == "camera"]
    blind = [scene.name for scene in scenes if not scene.channels()]
    if blind:
        example = f"{blind[0]}: no camera has a row in sample_data.json, so that there are no clips"
        yield Finding("scenes without pictures", len(blind), example)
    missing = [f"{scene.name} {name}" for scene in scenes for name in cameras if name not in scene.rows_of]
    if missing:
        yield Finding(
            "cameras without pictures", len(missing), f"{missing[0]}; clips have the scene's other cameras", False
        )


def _broken_files(tables: IndexedTables) -> Iterator[Finding]:
    broken: dict[str, list[str]] = {}
    names, columns = tables.index.frames["filename"], tables.columns
    kinds = tables.index.channels["modality"].to_pylist()
    kind_of = [kinds[channel] for channel in numbers(tables.index.calibrations, "channel").tolist()]
    for row, name in enumerate(track(names, "reading files", len(names), "files")):
        file, kind = name.as_py(), kind_of[columns.calibration[row]]
        if kind not in ("camera", "lidar") or not tables.tree.exists(file_of(file)):
            continue
        try:
            if kind == "lidar":
                TreePoints(tables.tree, (file,))[0]
            else:
                height, width, _ = TreePictures(tables.tree, ((file,),)).load(0, 0).shape
                if (width, height) != (declared := (columns.width[row], columns.height[row])):
                    raise DwmError(
                        f"{file}: is {width}×{height}, not {declared[0]}×{declared[1]} as sample_data.json says"
                    )
        except DwmError as error:
            broken.setdefault(file.rpartition("/")[0], []).append(str(error))
    for folder, errors in broken.items():
        yield Finding(f"damaged files in {folder}", len(errors), errors[0])


def _calibrations(tables: IndexedTables) -> Iterator[Finding]:
    table, channels = tables.index.calibrations, tables.index.channels
    is_camera = np.array([kind == "camera" for kind in channels["modality"].to_pylist()], bool)[
        numbers(table, "channel")
    ]
    blind = np.flatnonzero(is_camera & np.isnan(vectors(table, "intrinsics")).any(1))
    if len(blind):
        row = int(blind[0])
        name = channels["channel"][table["channel"][row].as_py()]
        yield Finding(
            "cameras without calibration", len(blind), f"calibrated_sensor.json: row {table['token'][row]} ({name})"
        )
    camera = np.array([name.startswith("CAM") for name in channels["channel"].to_pylist()], bool)[
        numbers(table, "channel")
    ]
    frames = tables.columns
    flat = np.flatnonzero(((frames.width <= 0) | (frames.height <= 0)) & camera[frames.calibration])
    if len(flat):
        token = tables.index.frames["token"][int(flat[0])]
        yield Finding("pictures without size", len(flat), f"sample_data.json: row {token} has no width or height")


def _order(tables: IndexedTables) -> Iterator[Finding]:
    """Frames are sorted by time: their samples must then rise too, and no two frames may have one time."""
    columns, spans = tables.columns, tables.index.spans
    first = np.zeros(len(columns.timestamp), bool)
    first[numbers(spans, "start")] = True
    step = np.diff(columns.timestamp)
    twice = np.flatnonzero((step == 0) & ~first[1:])
    key = columns.key
    rows = np.flatnonzero(key)
    span = np.cumsum(first)[rows]
    back = rows[1:][(np.diff(columns.sample[rows]) < 0) & (np.diff(span) == 0)]
    kinds = (("frames with the time of another", twice, False), ("time stamps out of order", back, True))
    for kind, frames, is_fault in kinds:
        if len(frames):
            row = int(frames[0])
            example = f"row {tables.index.frames['token'][row]} at {columns.timestamp[row]:.0f} µs"
            yield Finding(kind, len(frames), f"sample_data.json: {example}", is_fault)


def _maps(tables: IndexedTables) -> Iterator[Finding]:
    for location in sorted(set(tables.index.scenes["location"].to_pylist())):
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                tables.source.map(location)
            except DwmError as error:
                yield Finding("maps", 1, str(error))
        for one in notes:
            yield Finding("maps of another version", 1, str(one.message), False)


def _captions(tables: IndexedTables, scenes: Sequence[TableScene]) -> Iterator[Finding]:
    try:
        files = tables.source.captions()
    except DwmError as error:
        yield Finding("captions", 1, str(error))
        return
    if not files:
        yield Finding("captions", 0, "there are no caption files; scenes are described by a sentence only", False)
        return
    missing = [
        f"{scene.name} {view}"
        for scene in scenes
        for view in scene.views
        if not any(part.times.get(part.camera_key(scene.token, view)) for part in files)
    ]
    faults = [fault for part in files for key in part.all_keys() if (fault := part.fault(key)) is not None]
    if faults:
        yield Finding("captions missing or not of texts", len(faults), faults[0])
    if missing:
        yield Finding(
            "cameras without captions", len(missing), f"{missing[0]}; read with missing_captions=empty or add them"
        )


def _colourless(tables: IndexedTables) -> Iterator[Finding]:
    """Categories of boxes that layouts do not draw: a few of nuScenes' are meant so, a car of another name is not."""
    categories = np.unique(numbers(tables.index.boxes, "category")) if len(tables.index.boxes) else []
    names = [tables.index.categories["name"][int(number)].as_py() for number in categories]
    missing = [name for name in names if color_of(name, BOX_COLORS) is None]
    if missing:
        yield Finding(
            "categories that layouts do not draw", len(missing), f"{', '.join(missing[:4])}; see box_colors", False
        )


def _unseen_boxes(tables: IndexedTables, scenes: Sequence[TableScene]) -> Iterator[Finding]:
    """Boxes of a sample of which no corner falls into any camera's picture: a sign of wrong poses where they are many."""
    unseen = total = 0
    example = ""
    for scene in track(scenes, "looking at boxes", unit="scenes"):
        columns = tables.columns
        rows = np.concatenate([scene.rows_of[view] for view in scene.views] or [np.zeros(0, int)])
        rows = rows[columns.key[rows]]
        for sample in np.unique(columns.sample[rows]):
            boxes = tables.boxes_of(sample)
            if not len(boxes):
                continue
            corners = box_corners(boxes.center, boxes.size, boxes.rotation)
            visible = np.zeros(len(boxes), bool)
            for row in rows[columns.sample[rows] == sample]:
                visible |= _in_view(tables, row, corners)
            unseen, total = unseen + int((~visible).sum()), total + len(boxes)
            if not example and not visible.all():
                example = (
                    f"{scene.name}: {boxes.category[int(np.argmin(visible))]} {boxes.instance[int(np.argmin(visible))]}"
                )
    if not total and not any(scene.views for scene in scenes):
        return
    if not total:
        yield Finding("boxes", 0, "none are annotated in whole scenes; layouts of boxes will be black", False)
    elif unseen == total:
        yield Finding(
            "boxes that no camera sees", unseen, f"all of them, so that poses or calibration must be wrong; {example}"
        )
    elif unseen:
        yield Finding("boxes that no camera sees", unseen, f"of {total}; {example}", False)


def _in_view(tables: IndexedTables, row: int, corners: np.ndarray) -> np.ndarray:
    columns, table = tables.columns, tables.index.calibrations
    calibration = columns.calibration[row]
    mounting = transform(
        rotation_from_quaternion(vectors(table, "rotation")[calibration]), vectors(table, "translation")[calibration]
    )
    world_from_ego = transform(rotation_from_quaternion(columns.rotation[row]), columns.translation[row])
    camera = inverse(world_from_ego @ mounting)
    points = corners @ camera[:3, :3].T + camera[:3, 3]
    intrinsics = vectors(table, "intrinsics")[calibration].reshape(3, 3)
    if np.isnan(intrinsics).any():
        return np.zeros(len(corners), bool)
    in_camera = points @ intrinsics.T
    pixels, ahead = in_camera[..., :2] / np.maximum(in_camera[..., 2:], 1e-6), in_camera[..., 2] > 0.1
    inside = ahead & (pixels >= 0).all(-1) & (pixels <= [columns.width[row], columns.height[row]]).all(-1)
    return inside.any(-1)
