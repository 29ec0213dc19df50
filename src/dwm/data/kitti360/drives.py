"""KITTI-360's drives: where they lie, their files by frame number, times and poses. Knows no tables of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from dwm.data.tables.motion import between_rotations
from dwm.errors import DwmError
from dwm.geometry import quaternion_from_rotation, rotation_from_quaternion, transform
from dwm.storage import Tree, limits

DRIVE = re.compile(r"[0-9]{4}_[0-9]{2}_[0-9]{2}_drive_[0-9]{4}_sync")
SWEEPS = "velodyne_points/data/"
PICTURES = {
    "image_02": "image_02/data_rgb/",
    "image_00": "image_00/data_rect/",
    "image_01": "image_01/data_rect/",
    "image_03": "image_03/data_rgb/",
}
"""The cameras from left to right, and the folders of their pictures."""
FISHEYES = ("image_02", "image_03")
"""To the left and to the right; they see half a turn."""
ROOTS = ("", "data_3d_raw/", "data_2d_raw/")
"""Where folders of drives lie: in archives as downloaded, and unpacked as the documentation says."""
POSE_ROOTS, BOX_ROOTS = ("", "data_poses/"), ("data_3d_bboxes/train/", "data_3d_bboxes/train_full/")
NUMBER = re.compile(r"([0-9]{1,10})\.(?:bin|png|jpg|ppm)")
PERIOD = 100_000
"""µs from one frame to the next where no file says when they were taken."""
ADVICE = "fetch it again"


@dataclass(frozen=True)
class Drive:
    name: str

    def frames(self, tree: Tree, folder: str) -> dict[int, str]:
        """Files by frame number, rising, of a folder such as `velodyne_points/data/`."""
        names = [name for root in ROOTS for name in tree.names(f"{root}{self.name}/{folder}")]
        found = {int(match[1]): name for name in names if (match := NUMBER.fullmatch(name.rpartition("/")[2]))}
        return dict(sorted(found.items()))

    def sweeps(self, tree: Tree) -> dict[int, str]:
        return self.frames(tree, SWEEPS)

    def pictures(self, tree: Tree, camera: str) -> dict[int, str]:
        return self.frames(tree, PICTURES[camera])

    @property
    def files(self) -> tuple[str, ...]:
        """All that is read of it, and the folders whose files count, whether they are there or not."""
        folders = [f"{root}{self.name}/{folder}" for root in ROOTS for folder in FOLDERS]
        poses = [f"{root}{self.name}/poses.txt" for root in POSE_ROOTS]
        return (*folders, *poses, *(f"{root}{self.name}.xml" for root in BOX_ROOTS), *self._clocks)

    @property
    def _clocks(self) -> list[str]:
        return [
            f"{root}{self.name}/{part}timestamps.txt" for root in ROOTS for part in ("velodyne_points/", "image_00/")
        ]

    def boxes(self, tree: Tree) -> str | None:
        return next((name for root in BOX_ROOTS if tree.exists(name := f"{root}{self.name}.xml")), None)

    def times(self, tree: Tree, numbers: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """µs of frames: as stated, else evenly from the drive's first. Raises DwmError for a file of other lines."""
        name = next((name for name in self._clocks if tree.exists(name)), None)
        if name is None:
            return numbers.astype(np.float64) * PERIOD
        lines = _text(tree, name).split("\n")
        try:
            stamps = (
                np.array([line.strip() for line in lines if line.strip()], "datetime64[ns]").astype(np.int64) / 1000
            )
        except ValueError as error:
            raise DwmError(f"{name}: is no list of times ({error}); {ADVICE}") from error
        if len(numbers) and numbers[-1] >= len(stamps):
            raise DwmError(f"{name}: has times of {len(stamps)} frames, not of frame {numbers[-1]}; {ADVICE}")
        return stamps[numbers]

    def poses(self, tree: Tree) -> tuple[Int[np.ndarray, "k"], Float[np.ndarray, "k 4 4"]]:
        """Frame numbers, rising, and world from IMU (x ahead, y right, z down), of the frames that have one."""
        name = next((name for root in POSE_ROOTS if tree.exists(name := f"{root}{self.name}/poses.txt")), None)
        if name is None:
            raise DwmError(f"{tree.where}: holds no poses of {self.name}; fetch data_poses.zip and put it beside")
        try:
            rows = np.array([line.split() for line in _text(tree, name).splitlines() if line.strip()], np.float64)
        except ValueError as error:
            raise DwmError(f"{name}: is no list of a frame and twelve numbers ({error}); {ADVICE}") from error
        if rows.ndim != 2 or rows.shape[1] != 13 or not np.isfinite(rows).all():
            raise DwmError(f"{name}: is no list of a frame and twelve finite numbers; {ADVICE}")
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        matrices = rows[:, 1:].reshape(-1, 3, 4)
        turns = matrices[:, :, :3]
        if not np.allclose(turns @ turns.swapaxes(1, 2), np.eye(3), atol=1e-3):
            raise DwmError(f"{name}: a pose is no rotation and shift; {ADVICE}")
        return rows[:, 0].astype(np.int64), transform(turns, matrices[:, :, 3])


FOLDERS = (SWEEPS, *PICTURES.values())


def find_drives(tree: Tree) -> list[Drive]:
    return [Drive(name) for name in sorted({name for root in ROOTS for name in _names(tree, root)})]


def has_drives(tree: Tree) -> bool:
    return bool(find_drives(tree))


def _names(tree: Tree, root: str) -> Iterator[str]:
    """Of drives with sweeps or pictures: archives of poses have folders of the same names."""
    for name in tree.folders(root):
        if DRIVE.fullmatch(name) and {"velodyne_points", *PICTURES} & tree.folders(f"{root}{name}/"):
            yield name


def _text(tree: Tree, name: str) -> str:
    try:
        return tree.read(name, limits.TEXT).decode()
    except UnicodeDecodeError as error:
        raise DwmError(f"{name}: is no text; {ADVICE}") from error


def between(
    known: Int[np.ndarray, "k"], poses: Float[np.ndarray, "k 4 4"], numbers: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n 4 4"]:
    """The poses of frames by number: between two known ones along the straight line and the shorter arc; the nearest beyond."""
    after = np.clip(np.searchsorted(known, numbers), 0, len(known) - 1)
    before = np.where(known[after] == numbers, after, np.maximum(after - 1, 0))
    after = np.where(numbers > known[-1], len(known) - 1, np.where(numbers < known[0], 0, after))
    before = np.where(numbers > known[-1], len(known) - 1, np.where(numbers < known[0], 0, before))
    gap = np.maximum(known[after] - known[before], 1)
    share = np.where(after == before, 0, (numbers - known[before]) / gap)
    turns = np.array([quaternion_from_rotation(pose[:3, :3]) for pose in poses])
    places = poses[before, :3, 3] + share[:, None] * (poses[after, :3, 3] - poses[before, :3, 3])
    mixed = [
        between_rotations(turns[one : one + 1], turns[other : other + 1], np.array([part]))[0, 0]
        for one, other, part in zip(before, after, share, strict=True)
    ]
    rotations = rotation_from_quaternion(np.array(mixed).reshape(-1, 4))
    exact = share == 0
    rotations[exact] = poses[before[exact], :3, :3]
    return transform(rotations, places)


def decode_sweep(data: bytes, name: str) -> Float32[np.ndarray, "n 5"]:
    """The points of a sweep: x, y, z in the LiDAR's frame, intensity (0 to 1), and 0 for the ring, which is not stored."""
    if len(data) % 16 or not data:
        raise DwmError(f"{name}: {len(data)} bytes are no whole number of points (16 bytes each); {ADVICE}")
    points = np.frombuffer(data, np.float32).reshape(-1, 4)
    return np.column_stack([points, np.zeros(len(points), np.float32)])
