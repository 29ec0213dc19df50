"""`interp_12Hz_trainval` from the original tables: five frames and boxes in every gap between two key frames.

Reads tables only, no pictures. The same source gives the same bytes. What is between two keys is chosen in `between`.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from dwm.data.nuscenes.tables import read_table, rows, text_of
from dwm.data.nuscenes.write.archive import write_json
from dwm.data.splits import scene_names
from dwm.data.tables import motion as between
from dwm.data.tables.columns import FLAG, QUATERNION, STAMP, TEXT, VECTOR, WHOLE, vectors
from dwm.data.tables.index import SampleWalk, join, walk_samples
from dwm.data.tables.motion import STEPS, Grouping
from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import Tree, atomic_folder

Row = dict[str, Any]

NAME = "interp_12Hz_trainval"
COPIED = ("category", "attribute", "visibility", "sensor", "calibrated_sensor", "ego_pose", "log", "map")
CHUNK = 5000
REPEATS = "repeats.json"
"""A file beside tables in which most pictures repeat: such tables are never chosen by themselves."""
MOST_REPEATED = 1 / 3
"""Share of the frames made that may show the picture before them again; a camera of 10 Hz has a fifth."""

SAMPLE = pa.schema({"token": TEXT, "timestamp": STAMP, "next": TEXT, "scene_token": TEXT})
FRAME = pa.schema(
    {"token": TEXT, "sample_token": TEXT, "ego_pose_token": TEXT, "calibrated_sensor_token": TEXT, "timestamp": STAMP}
    | {"fileformat": TEXT, "is_key_frame": FLAG, "height": WHOLE, "width": WHOLE, "filename": TEXT}
)
BOX = pa.schema(
    {"token": TEXT, "sample_token": TEXT, "instance_token": TEXT, "visibility_token": TEXT}
    | {"attribute_tokens": pa.list_(TEXT), "translation": VECTOR, "size": VECTOR, "rotation": QUATERNION}
    | {"prev": TEXT, "next": TEXT, "num_lidar_pts": WHOLE, "num_radar_pts": WHOLE}
)
TAKEN = ("filename", "ego_pose_token", "calibrated_sensor_token")
"""What a frame in a gap has of the recorded frame that fills it; the rest is of the key frame before it."""


@dataclass(frozen=True)
class Interpolation:
    """What was written. gaps counts the gaps of the first camera by the sweeps in them; lag is the largest distance in ms
    between a file's time and its sample's, by channel."""

    folder: Path
    scenes: int
    samples: int
    frames: int
    boxes: int
    gaps: dict[int, int]
    repeated: int
    lag: dict[str, float]


def interpolate(
    tree: Tree,
    version: str,
    output: Path,
    grouping: Grouping = "by_time",
    split: str | Path | Iterable[str] | None = None,
    repeat: bool = False,
) -> Interpolation:
    """Writes the thirteen tables of 12 Hz into the folder `output`, beside and renamed when complete.

    `grouping`: see `between.choose_frames`; with `compat` the frames also have nominal times, with `by_time` their files'.
    `split`: only these scenes (None: all). Raises DwmError for broken tables, and for a set without the sweeps that would fill
    the gaps, unless `repeat` asks for the same pictures again (marked by a file, and never chosen by themselves).
    """
    source = _Source.read(tree, version, split)
    frames = _Frames(source, grouping)
    if frames.mostly_repeated and not repeat:
        raise DwmError(
            f"{tree.where}: {version}/sample_data.json holds too few sweeps for 12 Hz: {frames.repeated} of {frames.count} frames "
            "between key frames would show the picture before them again; read key frames at 2 Hz (boxes between them are "
            "interpolated anyway), or ask for repeated pictures with --repeat"
        )
    with atomic_folder(output) as folder:
        for table in COPIED:
            _copy(tree, f"{version}/{table}.json", folder / f"{table}.json")
        samples = write_json(folder / "sample.json", source.sample_rows())
        if frames.mostly_repeated:
            (folder / REPEATS).write_text(json.dumps({"repeated": frames.repeated, "made": frames.count}) + "\n")
        frame_count = write_json(folder / "sample_data.json", frames.rows())
        boxes = _Boxes(source)
        annotated = write_json(folder / "sample_annotation.json", boxes.rows())
        write_json(folder / "instance.json", _recounted(tree, version, "instance", "nbr_annotations", boxes.counts))
        scenes = write_json(
            folder / "scene.json", _recounted(tree, version, "scene", "nbr_samples", source.samples_by_scene())
        )
    return Interpolation(
        output, scenes, samples, frame_count, annotated, dict(sorted(frames.gaps.items())), frames.repeated, frames.lag
    )


@dataclass(frozen=True)
class _Source:
    """The tables' rows of the chosen scenes. `walk` numbers the samples; `stamps` are their times (µs) by that number."""

    walk: SampleWalk
    stamps: np.ndarray
    samples: pa.Table
    frames: pa.Table
    boxes: pa.Table
    channels: dict[str, str]

    @classmethod
    def read(cls, tree: Tree, version: str, split: str | Path | Iterable[str] | None) -> _Source:
        scenes = read_table(tree, version, "scene")
        if split is not None:
            names = scene_names(split, scenes["name"].to_pylist())
            scenes = scenes.filter(pc.is_in(scenes["name"], pa.array(sorted(names), TEXT)))
            if not len(scenes):
                raise DwmError(f"{tree.where}: {version} holds no scene of split {split}")
        samples = read_table(tree, version, "sample", SAMPLE)
        walk, complete = walk_samples(scenes, samples)
        if not all(complete):
            missing = scenes["name"][complete.index(False)]
            raise DwmError(f"{version}/sample.json: lacks samples of {missing}; interpolate a split that is whole")
        stamps = samples["timestamp"].to_numpy()[pc.index_in(walk.tokens, value_set=samples["token"]).to_numpy()]
        channels = _channels(tree, version)
        frames = read_table(
            tree, version, "sample_data", FRAME, lambda row: row.get("calibrated_sensor_token") in channels
        )
        boxes = read_table(tree, version, "sample_annotation", BOX)
        of_walk = lambda table: table.filter(pc.is_in(table["sample_token"], walk.tokens))  # noqa: E731
        return cls(walk, stamps, samples, of_walk(frames), of_walk(boxes), channels)

    def samples_by_scene(self) -> dict[str, int]:
        """Samples at 12 Hz by scene token."""
        tokens = self.samples["scene_token"].take(pc.index_in(self.walk.tokens, value_set=self.samples["token"]))
        return {token: STEPS * (count - 1) + 1 for token, count in Counter(tokens.to_pylist()).items()}

    def gap_stamps(self, sample: Int[np.ndarray, "g"]) -> np.ndarray:
        """(g, 5) times of the samples between each sample and the next."""
        return between.nominal(self.stamps[sample], self.stamps[sample + 1])

    def sample_rows(self) -> Iterator[Row]:
        """Rows of sample.json, in the source's order."""
        number = self.walk.number(self.samples["token"])
        tokens, scene = self.walk.tokens.to_pylist(), self.walk.scene
        follows = np.append(scene[1:] == scene[:-1], False)
        for row, i in zip(self.samples.to_pylist(), number.tolist(), strict=True):
            if i < 0:
                continue
            token = row["token"]
            times = [row["timestamp"]]
            if follows[i]:
                times += self.gap_stamps(np.array([i]))[0].tolist()
            before = f"{tokens[i - 1]}{STEPS - 1}" if i and follows[i - 1] else ""
            chain = _chain(before, token, len(times), tokens[i + 1] if follows[i] else "")
            for time, (prev, name, following) in zip(times, chain, strict=True):
                yield {"token": name, "timestamp": _plain(time), "prev": prev, "next": following} | {
                    "scene_token": row["scene_token"]
                }


class _Frames:
    """Rows of sample_data.json, and what is told of them."""

    def __init__(self, source: _Source, grouping: Grouping) -> None:
        self.source, self.grouping = source, grouping
        table = source.frames
        names = sorted(set(source.channels.values()))
        self.channel = np.array([names.index(source.channels[c]) for c in table["calibrated_sensor_token"].to_pylist()])
        sample, stamps = source.walk.number(table["sample_token"]), table["timestamp"].to_numpy()
        order = np.lexsort((stamps, self.channel, source.walk.scene[sample]))
        group = source.walk.scene[sample] * len(names) + self.channel
        key = table["is_key_frame"].to_numpy()
        gaps = between.find_gaps(group[order], key[order], sample[order])
        self.sources = np.full((len(table), STEPS - 1), -1)
        choice = between.choose_frames(stamps[order], gaps, grouping)
        first = order[gaps[:, 0]]
        self.sources[first] = order[choice]
        self.keys = np.flatnonzero(key)
        self.previous, self.following = _neighbours(order[key[order]], group)
        self.sample, self.stamps = sample, stamps
        self._tell(names, gaps, choice, first)

    def _tell(self, names: list[str], gaps: np.ndarray, choice: np.ndarray, first: np.ndarray) -> None:
        camera = next((i for i, name in enumerate(names) if name == "CAM_FRONT"), 0)
        of_camera = self.channel[first] == camera
        self.gaps = {int(n): int(c) for n, c in Counter((gaps[of_camera, 1] - gaps[of_camera, 0] - 1).tolist()).items()}
        self.count = choice.size
        self.repeated = int((np.diff(np.concatenate([gaps[:, :1], choice], 1), axis=1) == 0).sum())
        off = np.abs(self.stamps[self.sources[first]] - self.source.gap_stamps(self.sample[first])) / 1000
        self.lag = {
            name: round(float(off[self.channel[first] == i].max(initial=0)), 3)
            for i, name in enumerate(names)
            if (self.channel == i).any()
        }

    @property
    def mostly_repeated(self) -> bool:
        return self.repeated > MOST_REPEATED * self.count

    def rows(self) -> Iterator[Row]:
        table = self.source.frames
        tokens = table["token"].to_pylist()
        for start in track(range(0, len(self.keys), CHUNK), "frames", unit=f"x {CHUNK}"):
            part = self.keys[start : start + CHUNK]
            filled = np.maximum(self.sources[part], 0)
            rows_between = table.select(TAKEN).take(pa.array(filled.ravel())).to_pylist()
            times = self._times(part, filled).tolist()
            for n, (row, key) in enumerate(zip(table.take(pa.array(part)).to_pylist(), part.tolist(), strict=True)):
                has_gap = self.sources[key, 0] >= 0
                prev, following = self.previous[key], self.following[key]
                before = "" if prev < 0 else tokens[prev] + (str(STEPS - 1) if self.sources[prev, 0] >= 0 else "")
                chain = _chain(
                    before, row["token"], STEPS if has_gap else 1, tokens[following] if following >= 0 else ""
                )
                new = [row["timestamp"], *times[n]]
                for k, (prev_token, token, next_token) in enumerate(chain):
                    filling = rows_between[n * (STEPS - 1) + k - 1] if k else {}
                    yield (
                        row
                        | filling
                        | {
                            "token": token,
                            "sample_token": row["sample_token"] + (str(k) if k else ""),
                            "timestamp": _plain(new[k]),
                            "prev": prev_token,
                            "next": next_token,
                        }
                    )

    def _times(self, keys: Int[np.ndarray, "g"], filled: Int[np.ndarray, "g 5"]) -> np.ndarray:
        if self.grouping == "by_time":
            return self.stamps[filled]
        # Towards the next sample's time, not the channel's own next key frame: as the published tables have it.
        samples = self.source.stamps
        return between.nominal(self.stamps[keys], samples[np.minimum(self.sample[keys] + 1, len(samples) - 1)])


class _Boxes:
    """Rows of sample_annotation.json; `counts` of them by instance token, when all are out."""

    def __init__(self, source: _Source) -> None:
        self.source, self.counts = source, Counter()
        self.table = table = source.boxes.combine_chunks()
        instance = pc.dictionary_encode(table["instance_token"].combine_chunks()).indices.to_numpy()
        self.partner = between.partners(instance, source.walk.number(table["sample_token"]), source.walk.scene)
        self.earlier = np.full(len(table), -1)
        pairs = np.flatnonzero(self.partner >= 0)
        self.earlier[self.partner[pairs]] = pairs

    def rows(self) -> Iterator[Row]:
        tokens = self.table["token"].to_pylist()
        positions, turns = vectors(self.table, "translation"), vectors(self.table, "rotation")
        for start in track(range(0, len(self.table), CHUNK), "boxes", unit=f"x {CHUNK}"):
            part = np.arange(start, min(start + CHUNK, len(self.table)))
            partner = self.partner[part]
            new_positions = between.between_points(positions[part], positions[partner]).tolist()
            new_turns = between.between_rotations(turns[part], turns[partner]).tolist()
            for n, row in enumerate(self.table.slice(start, len(part)).to_pylist()):
                last, earlier = partner[n], self.earlier[start + n]
                before = row["prev"] if earlier < 0 else f"{tokens[earlier]}{STEPS - 1}"
                steps, after = (1, row["next"]) if last < 0 else (STEPS, tokens[last])
                self.counts[row["instance_token"]] += steps
                for k, (prev, token, following) in enumerate(_chain(before, row["token"], steps, after)):
                    moved = {} if k == 0 else {"translation": new_positions[n][k - 1], "rotation": new_turns[n][k - 1]}
                    sample = row["sample_token"] + (str(k) if k else "")
                    yield row | moved | {"token": token, "sample_token": sample, "prev": prev, "next": following}


def _chain(before: str, token: str, count: int, after: str) -> list[tuple[str, str, str]]:
    """(prev, token, next) of a key row and the rows that follow it up to the next key row."""
    names = [before, token, *(f"{token}{k}" for k in range(1, count)), after]
    return list(zip(names, names[1:], names[2:], strict=False))


def _neighbours(keys: Int[np.ndarray, "k"], group: Int[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
    """The key row before and after each key row of the same group (keys are sorted by group and time), -1 for none."""
    before, after = np.full(len(group), -1), np.full(len(group), -1)
    same = group[keys[1:]] == group[keys[:-1]]
    before[keys[1:][same]], after[keys[:-1][same]] = keys[:-1][same], keys[1:][same]
    return before, after


def _channels(tree: Tree, version: str) -> dict[str, str]:
    """Channel names by calibration token, without radars, which nothing reads."""
    sensors, rows = read_table(tree, version, "sensor"), read_table(tree, version, "calibrated_sensor")
    sensor = join(version, "calibrated_sensor", rows, "sensor_token", "sensor", sensors)
    names, kinds = sensors["channel"].take(sensor).to_pylist(), sensors["modality"].take(sensor).to_pylist()
    tokens = rows["token"].to_pylist()
    return {token: name for token, name, kind in zip(tokens, names, kinds, strict=True) if kind != "radar"}


def _recounted(tree: Tree, version: str, table: str, field: str, counts: dict[str, int]) -> Iterator[Row]:
    name = f"{version}/{table}.json"
    for row in rows(tree, name):
        token = text_of(name, row, "token")
        if token in counts:
            yield row | {field: counts[token]}


def _plain(stamp: float) -> int | float:
    return int(stamp) if stamp == int(stamp) else stamp


def _copy(tree: Tree, name: str, target: Path) -> None:
    with tree.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
