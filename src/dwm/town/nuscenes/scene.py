"""One scene of the town → its picture and LiDAR files, and its rows of every table. Knows nothing of other scenes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num
from PIL import Image
from shapely.geometry import Polygon

from dwm.clip import Boxes, Rig
from dwm.conventions import CAPTION_KEYS, NUSCENES_VIEWS
from dwm.data.nuscenes.write import names
from dwm.data.nuscenes.write.expansion import MapRecords
from dwm.data.nuscenes.write.names import LIDAR, Row, link, token
from dwm.geometry import quaternion_from_rotation
from dwm.town.drawing.lidar import EGO_FROM_LIDAR, Solids, scan
from dwm.town.drawing.lidar_solids import hulls, moved, scenery
from dwm.town.nuscenes.boxes import MOVING, attribute, box_row, count_points, visibility_level, visible_share
from dwm.town.nuscenes.expansion import map_records, walkable
from dwm.town.nuscenes.twelve_hz import twelve_hz
from dwm.town.scene import CAMERA_HZ, TownOptions, town_scene

START_US = 100_000
"""The scene's instant of the first key frame: cameras fire before it."""
KEY_US = 500_000
CELL = 600.0
"""Edge in metres of the square that a scene has for itself on the canvas of its place."""
COLUMNS = 4


def resized(rig: Rig, size: tuple[int, int]) -> Rig:
    """The same cameras with pictures of another size (width, height)."""
    scale = np.ones((len(rig.names), 3, 1))
    scale[:, :2, 0] = np.array(size) / rig.image_size
    return replace(rig, intrinsics=rig.intrinsics * scale, image_size=np.tile(np.array(size), (len(rig.names), 1)))


@dataclass(frozen=True)
class SceneJob:
    """What a worker needs to write one scene below `root`."""

    root: Path
    index: int
    seed: int
    samples: int
    size: tuple[int, int]
    lidar_hz: int
    quality: int
    town: TownOptions


@dataclass(frozen=True)
class SceneRows:
    """What one scene adds to the set's tables, captions and maps. twelve_hz holds the tables that change at 12 Hz."""

    index: int
    tables: dict[str, list[Row]]
    twelve_hz: dict[str, list[Row]]
    captions: dict[str, Row]
    caption_times: dict[str, list[int]]
    map: MapRecords
    walkable: list[Polygon]


def cell_offset(index: int) -> Float[np.ndarray, "2"]:
    """Where the origin of scene `index` lies on the canvas of its place: each scene has a cell of its own."""
    row, column = divmod(index // len(names.LOCATIONS), COLUMNS)
    return (np.array([column, row]) + 0.5) * CELL


def canvas(scenes: int) -> tuple[float, float]:
    """Width and height in metres of the canvas of each place, for this many scenes."""
    cells = -(-scenes // len(names.LOCATIONS))
    return COLUMNS * CELL if cells >= COLUMNS else cells * CELL, -(-cells // COLUMNS) * CELL


class SceneWriter:
    """Writes one scene. Stamps are µs as the scene counts them; `move` leads from the streets' frame to the place's."""

    def __init__(self, job: SceneJob) -> None:
        self.job = job
        self.scene = town_scene(job.seed, job.index, job.town)
        self.key = f"{job.seed}/{job.index}"
        self.log = names.log_row(job.index, self.scene.start_us)
        self.keys = [self.scene.start_us + START_US + i * KEY_US for i in range(job.samples)]
        self.move = self.scene.world_from_local.copy()
        self.move[:2, 3] = cell_offset(job.index)
        self.offset = self.move[:3, 3] - self.scene.world_from_local[:3, 3]
        still = scenery(self.scene.streets, self.scene.style)
        self.scenery = moved(still, self.move[:3, :3], self.move[:3, 3])
        self.rig = resized(self.scene.rig, job.size)

    def seconds(self, stamp: float) -> float:
        """The town's time at a stamp."""
        return (stamp - self.scene.start_us) * 1e-6

    def token(self, *words: object) -> str:
        return token(self.key, *words)

    def pose(self, stamp: float) -> Float[np.ndarray, "4 4"]:
        """World-from-ego in the place's frame."""
        pose = self.scene.world_from_ego(self.seconds(stamp)).copy()
        pose[:3, 3] += self.offset
        return pose

    def boxes(self, stamp: float) -> Boxes:
        """What is annotated at an instant, in the place's frame."""
        return self._placed(self.scene.boxes(self.seconds(stamp)))

    def everything(self, stamp: float) -> Boxes:
        """All that stands or moves there at an instant, annotated or not."""
        return self._placed(self.scene.boxes_of(self.scene.things(self.seconds(stamp))))

    def _placed(self, boxes: Boxes) -> Boxes:
        return replace(boxes, center=boxes.center + self.offset)

    def solids(self, stamp: float, boxes: Boxes) -> Solids:
        """What light meets at an instant, in the place's frame; owner counts along `boxes` (-1: none of them)."""
        things = self.everything(stamp)
        number = {name: i for i, name in enumerate(boxes.instance)}
        bodies = hulls(things)
        owner = np.array([number.get(things.instance[i], -1) for i in bodies.owner], int)
        return Solids.join(self.scenery, replace(bodies, owner=owner))

    def to_map(self, points: Num[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """From the streets' frame to the place's."""
        return points @ self.move[:2, :2].T + self.move[:2, 3]

    def instance_token(self, name: str) -> str:
        return self.token("instance", name)

    def write(self) -> SceneRows:
        """Draws and writes every file and gives the rows."""
        chains = [self._cameras(channel) for channel in NUSCENES_VIEWS]
        lidar, counts = self._lidar()
        chains.insert(0, lidar)
        tables = {
            "log": [self.log],
            "calibrated_sensor": [self._calibration(channel) for channel in names.CHANNELS],
            "ego_pose": [self._ego_pose(row) for chain in chains for row in chain],
            "sample": self._samples(),
            "sample_data": [row for chain in chains for row in chain],
            "scene": [self._scene()],
        }
        tables |= self._annotations(counts)
        captions, times = self._captions(chains[1:])
        dense = twelve_hz(tables, chains, self.everything, self.instance_token)
        records = map_records(self.scene.streets, self.key, self.to_map)
        return SceneRows(
            self.job.index, tables, dense, captions, times, records, walkable(self.scene.streets, self.to_map)
        )

    def _scene(self) -> Row:
        caption = self.scene.caption(self.seconds(self.keys[0]), NUSCENES_VIEWS[1])
        return {
            "token": self.token("scene"),
            "log_token": self.log["token"],
            "nbr_samples": len(self.keys),
            "first_sample_token": self.token("sample", 0),
            "last_sample_token": self.token("sample", len(self.keys) - 1),
            "name": names.scene_name(self.job.index),
            "description": ", ".join(caption.text().split(". ")),
        }

    def _samples(self) -> list[Row]:
        rows = [
            {
                "token": self.token("sample", i),
                "timestamp": stamp,
                "prev": "",
                "next": "",
                "scene_token": self.token("scene"),
            }
            for i, stamp in enumerate(self.keys)
        ]
        link(rows)
        return rows

    def _calibration(self, channel: str) -> Row:
        pose, intrinsic = EGO_FROM_LIDAR, []
        if channel != LIDAR:
            rig = self.rig
            pose, intrinsic = rig.ego_from_camera[rig.index(channel)], rig.intrinsics[rig.index(channel)].tolist()
        return {
            "token": self.token("calibrated_sensor", channel),
            "sensor_token": token("sensor", channel),
            "translation": pose[:3, 3].tolist(),
            "rotation": quaternion_from_rotation(pose[:3, :3]).tolist(),
            "camera_intrinsic": intrinsic,
        }

    def _ego_pose(self, row: Row) -> Row:
        pose = self.pose(row["timestamp"])
        return {
            "token": row["ego_pose_token"],
            "timestamp": row["timestamp"],
            "rotation": quaternion_from_rotation(pose[:3, :3]).tolist(),
            "translation": pose[:3, 3].tolist(),
        }

    def _chain(self, channel: str, stamps: list[int], per_key: int, suffix: str) -> list[Row]:
        """The sample_data rows of a channel; every `per_key`-th is a key frame, the others belong to the sample that follows."""
        width, height = (0, 0) if channel == LIDAR else self.job.size
        rows = []
        for i, stamp in enumerate(stamps):
            is_key = i % per_key == 0
            name = self.token("sample_data", channel, i)
            file = f"{self.log['logfile']}__{channel}__{stamp}.{suffix}"
            rows.append(
                {
                    "token": name,
                    "sample_token": self.token("sample", -(-i // per_key)),
                    "ego_pose_token": self.token("ego_pose", channel, i),
                    "calibrated_sensor_token": self.token("calibrated_sensor", channel),
                    "timestamp": stamp,
                    "fileformat": suffix.split(".")[0],
                    "is_key_frame": is_key,
                    "height": height,
                    "width": width,
                    "filename": f"{'samples' if is_key else 'sweeps'}/{channel}/{file}",
                    "prev": "",
                    "next": "",
                }
            )
        link(rows)
        for row in rows:
            (self.job.root / str(row["filename"])).parent.mkdir(parents=True, exist_ok=True)
        return rows

    def _cameras(self, channel: str) -> list[Row]:
        per_key = CAMERA_HZ * KEY_US // 1_000_000
        first = self.keys[0] + names.CAMERA_LEAD_US[channel]
        count = (len(self.keys) - 1) * per_key + 1
        stamps = [first + round(i * 1e6 / CAMERA_HZ) for i in range(count)]
        rows = self._chain(channel, stamps, per_key, "jpg")
        for row in rows:
            picture = Image.fromarray(self.scene.picture(self.seconds(row["timestamp"]), channel, self.job.size))
            picture.save(self.job.root / row["filename"], "JPEG", quality=self.job.quality)
        return rows

    def _lidar(self) -> tuple[list[Row], list[np.ndarray]]:
        """The LiDAR's rows, and for each key frame the points in each box."""
        per_key = self.job.lidar_hz * KEY_US // 1_000_000
        count = (len(self.keys) - 1) * per_key + 1
        stamps = [self.keys[0] + round(i * 1e6 / self.job.lidar_hz) for i in range(count)]
        rows = self._chain(LIDAR, stamps, per_key, "pcd.bin")
        counts = []
        for i, (row, stamp) in enumerate(zip(rows, stamps, strict=True)):
            world_from_lidar = self.pose(stamp) @ EGO_FROM_LIDAR
            generator = np.random.default_rng([self.job.seed, self.job.index, i])
            boxes = self.boxes(stamp)
            points = scan(self.solids(stamp, boxes), world_from_lidar, generator)
            points.astype("<f4").tofile(self.job.root / row["filename"])
            if row["is_key_frame"]:
                counts.append(count_points(points, world_from_lidar, boxes))
        return rows, counts

    def _annotations(self, counts: list[np.ndarray]) -> dict[str, list[Row]]:
        rows: list[Row] = []
        chains: dict[str, list[Row]] = {}
        categories: dict[str, str] = {}
        speeds_at = [self._speeds(stamp) for stamp in self.keys]
        moves = {name for speeds in speeds_at for name, speed in speeds.items() if speed >= MOVING}
        for i, stamp in enumerate(self.keys):
            boxes = self.boxes(stamp)
            fires = [stamp + names.CAMERA_LEAD_US[channel] for channel in NUSCENES_VIEWS]
            shares = visible_share(
                boxes, self.solids(stamp, boxes), self.rig, np.stack([self.pose(at) for at in fires])
            )
            for n, (name, category) in enumerate(zip(boxes.instance, boxes.category, strict=True)):
                words = attribute(category, speeds_at[i].get(name, 0.0), name in moves)
                row = {
                    "token": self.token("sample_annotation", name, i),
                    "sample_token": self.token("sample", i),
                    "instance_token": self.instance_token(name),
                    "visibility_token": visibility_level(shares[n]),
                    "attribute_tokens": [token("attribute", words)] if words else [],
                    **box_row(boxes, n),
                    "prev": "",
                    "next": "",
                    "num_lidar_pts": int(counts[i][n]),
                    "num_radar_pts": 0,
                }
                rows.append(row)
                chains.setdefault(name, []).append(row)
                categories[name] = category
        for chain in chains.values():
            link(chain)
        instances = [
            {
                "token": self.instance_token(name),
                "category_token": token("category", categories[name]),
                "nbr_annotations": len(chain),
                "first_annotation_token": chain[0]["token"],
                "last_annotation_token": chain[-1]["token"],
            }
            for name, chain in chains.items()
        ]
        return {"sample_annotation": rows, "instance": instances}

    def _speeds(self, stamp: int) -> dict[str, float]:
        """Speed in m/s of each thing that is there both a little before and a little after an instant."""
        step = 50_000
        before, after = self.everything(stamp - step), self.everything(stamp + step)
        then = dict(zip(before.instance, before.center, strict=True))
        return {
            name: float(np.linalg.norm(center - then[name])) / (2 * step * 1e-6)
            for name, center in zip(after.instance, after.center, strict=True)
            if name in then
        }

    def _captions(self, cameras: list[list[Row]]) -> tuple[dict[str, Row], dict[str, list[int]]]:
        """The words of each camera's key frames and their stamps, by the format of the two caption files."""
        captions, times = {}, {}
        for channel, chain in zip(NUSCENES_VIEWS, cameras, strict=True):
            key = f"{self.token('scene')}|{channel}"
            times[key] = [row["timestamp"] for row in chain if row["is_key_frame"]]
            for stamp in times[key]:
                caption = self.scene.caption(self.seconds(stamp), channel)
                captions[f"{key}|{stamp}"] = {name: getattr(caption, name) for name in CAPTION_KEYS}
        return captions, times


def write_scene(job: SceneJob) -> SceneRows:
    """Writes one scene's files below `job.root` and gives its rows."""
    return SceneWriter(job).write()
