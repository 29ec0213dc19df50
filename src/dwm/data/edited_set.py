"""Scenes of a data set of tables as a nuScenes set with edits and pictures of another origin. Knows no network.

What is not edited keeps every number: tokens, times, poses, boxes with their attributes, visibility and points. `part_of` says
which frames of a scene go in, `save_pictures` puts theirs in place, `write_tables_of` writes tables, maps and captions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from jaxtyping import Bool, UInt8
from PIL import Image

from dwm.clip import NO_BOXES, Boxes, Clip, LaneMap, Rig
from dwm.clip_parts import means
from dwm.data.edits import Edits
from dwm.data.nuscenes.maps import FOLDERS
from dwm.data.nuscenes.write.archive import write_tables
from dwm.data.nuscenes.write.expansion import canvas_of, records_of_map, write_expansion
from dwm.data.nuscenes.write.mask import write_mask
from dwm.data.nuscenes.write.names import LOCATIONS, map_row, token
from dwm.data.package.convert import copy_files, picture_name, whole_stamps, write_captions
from dwm.data.tables.dataset import TableDataset
from dwm.data.tables.relations import relations
from dwm.data.tables.scene import TableScene, Window
from dwm.data.tables.scene_tables import SCHEMAS
from dwm.errors import DwmError, nearest
from dwm.geometry import quaternion_from_rotation, rotation_from_quaternion
from dwm.storage import atomic_write, inside, limits
from dwm.strict_json import parse_json

QUALITY = 95
"""Of JPEGs."""
MOVING = 0.3
"""Metres a second from which an added box counts as moving."""
UNSEEN_POINTS = 1
"""LiDAR points of boxes that were moved or added: no sweep saw them there, and detectors drop boxes with none."""


@runtime_checkable
class PlacedSweeps(Protocol):
    """Sweeps of another origin whose files were put in place."""

    def frames(self, frames: pa.Table) -> pa.Table:
        """Their rows among all frames' rows, with the poses at which they were taken."""
        ...

    def with_points(self, boxes: pa.Table, frames: pa.Table) -> pa.Table:
        """The boxes with the number of points in each; frames: the sweeps' rows."""
        ...


@dataclass(frozen=True)
class ScenePart:
    """Which frames of a scene are written: a window of camera frames, and which of its frames are key frames."""

    scene: TableScene
    window: Window
    keys: Bool[np.ndarray, "t"]

    @property
    def name(self) -> str:
        return self.scene.name

    @property
    def fps(self) -> float:
        return self.window.fps

    def clip(self) -> Clip:
        return self.scene.window(self.window)

    def column(self, name: str) -> list[list[Any]]:
        """A column of the frames' table, by frame and view."""
        values = self.scene.tables.index.frames[name]
        return [[values[int(row)].as_py() for row in line] for line in self.window.rows]


def part_of(
    scene: TableScene, views: Sequence[str], seconds: float | None = None, fps: float | None = None
) -> ScenePart:
    """The key frames of a scene's first `seconds` (None: all); at `fps` (None: as they are) with others evenly between them.

    Raises DwmError where a camera lacks a key frame, or has too few frames between two, and for a rate that is no multiple of
    the key frames'.
    """
    key, stamps = scene.tables.columns.key, scene.tables.columns.timestamp
    of_view = [scene.rows_of[name] for name in scene.channels(views)[-len(views) :]]
    key_rows = [np.flatnonzero(key[rows]) for rows in of_view]
    counts = {len(at) for at in key_rows}
    samples = [scene.tables.columns.sample[rows[at]].tolist() for rows, at in zip(of_view, key_rows, strict=True)]
    if counts == {0} or len(counts) > 1 or any(other != samples[0] for other in samples):
        raise DwmError(f"{scene.name}: a camera lacks a key frame that others have; choose other --views or --scene")
    times = stamps[of_view[0][key_rows[0]]]
    rate = round(1e6 / float(np.median(np.diff(times))), 1) if len(times) > 1 else 2.0
    between = 0 if fps is None else round(fps / rate) - 1
    if fps is not None and (between < 0 or abs((between + 1) * rate - fps) > 0.05 * fps):
        raise DwmError(f"{scene.name}: has {rate:g} key frames a second; --fps {fps:g} is no multiple of it")
    last = len(times) - 1 if seconds is None else min(int(seconds * rate + 1e-6), len(times) - 1)
    steps = np.arange(last * (between + 1) + 1) / (between + 1)
    columns = []
    for name, rows, at in zip(views, of_view, key_rows, strict=True):
        if between and len(at) > 1 and (fewest := int(np.diff(at).min())) <= between:
            raise DwmError(
                f"{scene.name}: {name} has {fewest - 1} frames between two key frames, not {between}; lower --fps"
            )
        columns.append(rows[np.rint(np.interp(steps, np.arange(len(at)), at)).astype(int)])
    keys = np.arange(len(steps)) % (between + 1) == 0
    return ScenePart(scene, Window(scene.number, rate * (between + 1), tuple(views), np.stack(columns, 1)), keys)


def check_names(dataset: TableDataset, edits: Edits) -> None:
    """Raises DwmError for what is to be removed or moved and is in no scene of the set."""
    index = dataset.tables.index
    kinds, things = index.categories["name"].to_pylist(), set(index.instances["token"].to_pylist())
    for name in (*edits.remove, *(move.name for move in edits.move)):
        if name not in things and not means(name, {kind: kind for kind in kinds}):
            raise DwmError(
                f"{name!r} names no box of {dataset.where}{nearest(name, kinds)} (there are {', '.join(kinds)})"
            )


def save_pictures(folder: Path, part: ScenePart, pictures: UInt8[np.ndarray, "t v h w 3"]) -> int:
    """Writes the pictures of a part where the set's tables will name them; each appears when it is whole. Returns how many."""
    count = 0
    for row, names in zip(pictures, part.column("filename"), strict=True):
        for picture, name in zip(row, names, strict=True):
            path = folder / inside(picture_name(name), f"{part.name}: a frame's file")
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                kind = Image.registered_extensions().get(path.suffix.lower(), "JPEG")
                Image.fromarray(picture).save(temporary, kind, **({"quality": QUALITY} if kind == "JPEG" else {}))
            count += 1
    return count


def write_tables_of(
    folder: Path,
    version: str,
    dataset: TableDataset,
    parts: Sequence[ScenePart],
    size: tuple[int, int],
    edits: Edits = Edits(),
    lidar: bool = False,
    generated: PlacedSweeps | None = None,
) -> int:
    """Writes maps, captions and, last, the thirteen tables. size: of the pictures that were put in place. Returns boxes.

    `lidar` copies the sweeps of the scenes' instants; it cannot go with edits that change what stands where. generated: sweeps
    of the key frames that were put in place, whose points are then counted in the boxes.
    """
    if lidar and edits.scenery:
        raise DwmError(f"--lidar: sweeps know nothing of the edits ({', '.join(edits.scenery)}); leave one out")
    neutral = dataset.tables.source.neutral()
    tokens = pa.array([name for part in parts for line in part.column("token") for name in line], pa.string())
    keys = [
        name
        for part in parts
        for line, key in zip(part.column("token"), part.keys, strict=True)
        if key
        for name in line
    ]
    frames = neutral["frames"]
    instants = pc.unique(_where(frames, "token", pa.array(keys, pa.string()))["instant"])
    cameras = _where(frames, "token", tokens)
    scenes = pa.array([part.scene.token for part in parts], pa.string())
    neutral["scenes"] = _where(neutral["scenes"], "token", scenes)
    neutral["instants"] = _where(neutral["instants"], "token", instants)
    neutral["captions"] = _with_words(_where(neutral["captions"], "scene", scenes), edits)
    boxes = _where(neutral["boxes"], "instant", instants)
    sensors = neutral["sensors"]
    sweeps = _lidar_frames(frames, sensors, instants) if lidar else frames.slice(0, 0)
    copy_files(dataset.tables.tree, sweeps["file"], folder)
    if edits.scenery:
        cameras, boxes = _edited_rows(parts, cameras, boxes, neutral["instants"], edits)
    if generated is not None:
        sweeps = generated.frames(frames)
        boxes = generated.with_points(boxes, sweeps)
    sensor_tokens = pc.unique(pa.concat_tables([cameras, sweeps])["sensor"])
    neutral["sensors"] = _with_size(_where(sensors, "token", sensor_tokens), cameras, size)
    neutral["frames"], neutral["boxes"] = pa.concat_tables([_of_size(cameras, size), sweeps]), boxes
    tables = relations(neutral, dataset.tables.source.called)
    maps = []
    for name in tables["log"]["location"].to_pylist():
        mask = _write_map(folder, dataset, name, edits) if name else ""
        maps.append(map_row(token("map", name), mask, [name]))
    write_captions(folder, neutral["captions"])
    rows = {name: map(whole_stamps, table.to_pylist()) for name, table in tables.items()}
    write_tables(folder / version, rows | {"map": maps})
    return len(boxes)


def _where(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table[column], value_set=pc.unique(values))).combine_chunks()


def _lidar_frames(frames: pa.Table, sensors: pa.Table, instants: pa.Array) -> pa.Table:
    of_lidar = sensors.filter(pc.equal(sensors["kind"], "lidar"))["token"].combine_chunks()
    return _where(_where(frames, "sensor", of_lidar), "instant", instants)


def _with_words(captions: pa.Table, edits: Edits) -> pa.Table:
    for name, words in edits.words.items():
        index = captions.column_names.index(name)
        captions = captions.set_column(
            index, SCHEMAS["captions"].field(name), pa.array([words] * len(captions), pa.string())
        )
    return captions


def _of_size(frames: pa.Table, size: tuple[int, int]) -> pa.Table:
    """Camera frames with the size of their new pictures, and names that a set without films can have."""
    files = [picture_name(name) for name in frames["file"].to_pylist()]
    values = {"width": [size[0]] * len(files), "height": [size[1]] * len(files), "file": files}
    for name, column in values.items():
        field = SCHEMAS["frames"].field(name)
        frames = frames.set_column(frames.column_names.index(name), field, pa.array(column, field.type))
    return frames


def _with_size(sensors: pa.Table, cameras: pa.Table, size: tuple[int, int]) -> pa.Table:
    """Cameras whose intrinsics are those of pictures brought to `size`. Raises DwmError where one camera has several sizes."""
    before: dict[str, tuple[int, int]] = {}
    for name, width, height in zip(*(cameras[key].to_pylist() for key in ("sensor", "width", "height")), strict=True):
        if before.setdefault(name, (width, height)) != (width, height):
            raise DwmError(f"sensor {name}: has pictures of several sizes, for which one calibration cannot stand")
    rows = []
    for name, numbers in zip(sensors["token"].to_pylist(), sensors["intrinsics"].to_pylist(), strict=True):
        if name in before and numbers:
            scale = np.array([size[0] / before[name][0]] * 3 + [size[1] / before[name][1]] * 3 + [1.0] * 3)
            numbers = (np.array(numbers) * scale).tolist()
        rows.append(numbers)
    field = SCHEMAS["sensors"].field("intrinsics")
    return sensors.set_column(sensors.column_names.index("intrinsics"), field, pa.array(rows, field.type))


def _edited_rows(
    parts: Sequence[ScenePart], cameras: pa.Table, boxes: pa.Table, instants: pa.Table, edits: Edits
) -> tuple[pa.Table, pa.Table]:
    """Camera frames at the places where the edited car was, and boxes as the edits leave them, at their instants' own times."""
    times = dict(zip(instants["token"].to_pylist(), instants["time"].to_pylist(), strict=True))
    poses, rows = {row["token"]: row for row in cameras.to_pylist()}, []
    by_instant: dict[str, list[dict[str, Any]]] = {}
    for row in boxes.to_pylist():
        by_instant.setdefault(row["instant"], []).append(row)
    for part in parts:
        tokens = part.column("token")
        of_frame = [poses[line[0]]["instant"] if key else "" for line, key in zip(tokens, part.keys, strict=True)]
        clip = part.clip()
        stamps = [times[name] if name else clip.times[frame, 0] for frame, name in enumerate(of_frame)]
        annotated = [_boxes_of(by_instant.get(name, [])) if name else None for name in of_frame]
        whole = with_annotated(clip, stamps, annotated)
        edited = edits.fitting(whole.instances).edit(whole)
        for frame, line in enumerate(tokens):
            for view, name in enumerate(line):
                pose = edited.world_from_ego[frame, view]
                if not np.array_equal(pose, whole.world_from_ego[frame, view]):
                    moved = {
                        "translation": pose[:3, 3].tolist(),
                        "rotation": quaternion_from_rotation(pose[:3, :3]).tolist(),
                    }
                    poses[name] |= moved
            if (instant := of_frame[frame]) and edited.boxes is not None:
                old, new = (clip.boxes[frame][-1] for clip in (whole, edited))  # type: ignore[index]
                rows += _box_rows(by_instant.get(instant, []), old or NO_BOXES, new or NO_BOXES, instant, edits)
    return (
        pa.Table.from_pylist(list(poses.values()), SCHEMAS["frames"]),
        pa.Table.from_pylist(rows, SCHEMAS["boxes"]),
    )


def with_annotated(clip: Clip, stamps: Sequence[float], annotated: Sequence[Boxes | None]) -> Clip:
    """The clip with one more view, which has the boxes that were annotated, at the times (µs) at which they were."""
    rig = clip.rig
    sizes, inner, outer = (
        np.concatenate(
            [values, values[..., :1, :] if values.ndim - 2 == rig.changes else values[..., :1, :, :]], -extra
        )
        for values, extra in ((rig.image_size, 2), (rig.intrinsics, 3), (rig.ego_from_camera, 3))
    )
    rows = clip.boxes or ((None,) * len(clip.views),) * clip.length
    return replace(
        clip,
        rig=Rig((*rig.names, "annotated"), inner, outer, sizes),
        times=np.column_stack([clip.times, stamps]),
        world_from_ego=np.concatenate([clip.world_from_ego, clip.world_from_ego[:, :1]], 1),
        boxes=tuple((*row, boxes) for row, boxes in zip(rows, annotated, strict=True)),
        captions=None,
        pictures=None,
    )


def _boxes_of(rows: Sequence[dict[str, Any]]) -> Boxes:
    if not rows:
        return NO_BOXES
    center, size, turns = (
        np.array([row[name] for row in rows], np.float64) for name in ("translation", "size", "rotation")
    )
    names = (tuple(row[name] for row in rows) for name in ("category", "instance"))
    return Boxes(center, size, rotation_from_quaternion(turns), *names)


def _box_rows(
    rows: Sequence[dict[str, Any]], old: Boxes, new: Boxes, instant: str, edits: Edits
) -> list[dict[str, Any]]:
    """Rows of an instant after the edits: kept as they were, moved, or new."""
    before = {row["instance"]: (row, i) for i, row in enumerate(rows)}
    result = []
    for i, name in enumerate(new.instance):
        pose = {"translation": new.center[i].tolist(), "rotation": quaternion_from_rotation(new.rotation[i]).tolist()}
        if name not in before:
            number = len(result)
            result.append(
                {"token": token("added", instant, name, number), "instant": instant, "instance": name}
                | {"category": new.category[i], "size": new.size[i].tolist(), "visibility": "4", **pose}
                | {"attributes": _attributes(name, new.category[i], edits)}
                | {"lidar_points": UNSEEN_POINTS, "radar_points": 0}
            )
            continue
        row, j = before[name]
        same = np.array_equal(old.center[j], new.center[i]) and np.array_equal(old.rotation[j], new.rotation[i])
        result.append(row if same else row | pose | {"lidar_points": max(row["lidar_points"], UNSEEN_POINTS)})
    return result


def _attributes(name: str, category: str, edits: Edits) -> list[str]:
    """What nuScenes says of a thing of this category that moves, or stands."""
    added = next((a for n, a in enumerate(edits.add, 1) if (a.instance or f"added-{n}") == name), None)
    track = added.track if added else ()
    metres = sum(np.hypot(b.x - a.x, b.y - a.y) for a, b in pairwise(track))
    moving = len(track) > 1 and metres > MOVING * (track[-1].seconds - track[0].seconds)
    if category.startswith("human."):
        return ["pedestrian.moving" if moving else "pedestrian.standing"]
    if category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return ["cycle.with_rider"]
    return ["vehicle.moving" if moving else "vehicle.parked"] if category.startswith("vehicle.") else []


def _write_map(folder: Path, dataset: TableDataset, name: str, edits: Edits) -> str:
    """A place's map expansion and mask, as they are where the set has such files. Returns the mask's name."""
    tree, source = dataset.tables.tree, dataset.tables.source
    target = folder / inside(f"maps/expansion/{name}.json", tree.where)
    target.parent.mkdir(parents=True, exist_ok=True)
    there = next((path for at in FOLDERS if tree.exists(path := f"{at}/{name}.json")), None)
    lane_map: LaneMap = source.map(name)
    if there is None:
        left = {layer: () if layer in edits.without_map else shapes for layer, shapes in lane_map.layers.items()}
        records = records_of_map(name, LaneMap(left))
        write_expansion(target, [records], canvas_of(records))
        canvas = canvas_of(records)
    else:
        data = tree.read(there, limits.TEXT)
        content = parse_json(data, there)
        canvas = tuple(content.get("canvas_edge") or (0.0, 0.0))
        if edits.without_map:
            data = json.dumps(_without_layers(content, edits.without_map)).encode()
        target.write_bytes(data)
    mask = f"maps/{LOCATIONS.get(name, token('mask', name))}.png"
    if tree.exists(mask):
        with tree.open(mask) as file, (folder / mask).open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    else:
        shapes = [shapely.force_2d(shape) for shape in lane_map.layers.get("drivable_area", ())]
        width, height = (min(max(float(edge), 1.0), 10_000.0) for edge in canvas)
        write_mask(folder / mask, [shape for shape in shapes if shape.geom_type == "Polygon"], (width, height))
    return mask


def _without_layers(content: dict[str, Any], layers: Sequence[str]) -> dict[str, Any]:
    """A map expansion without some layers; lanes go with what joins them and the graph of both."""
    empty: dict[str, Any] = {layer: [] for layer in layers}
    if "lane" in layers:
        empty |= {"lane_connector": [], "connectivity": {}, "arcline_path_3": {}}
    return content | empty
