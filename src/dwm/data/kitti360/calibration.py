"""KITTI-360's calibration files: how its cameras are mounted, and the lenses of the rectified forward ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dwm.errors import DwmError
from dwm.geometry import inverse, transform
from dwm.storage import Tree, limits

EGO_FROM_IMU = np.array([[1.0, 0, 0, -0.05], [0, -1, 0, 0.32], [0, 0, -1, 0.60], [0, 0, 0, 1]])
"""The IMU's y is to the right, and its z down."""
EGO_FROM_LIDAR = np.array([[1.0, 0, 0, 0.76], [0, 1, 0, 0], [0, 0, 1, 1.43], [0, 0, 0, 1]])
"""As OpenDWM has it, whose networks learned so; the calibration files differ from it by 0.7 degrees and 4 cm."""
MOUNTING, LENS = "calibration/calib_cam_to_pose.txt", "calibration/perspective.txt"


def read_camera(
    tree: Tree, camera: str
) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "3 3"], tuple[int, int]] | None:
    """Ego from the rectified camera (x right, y down, z ahead), its intrinsics, and (width, height); None without the files."""
    if not (tree.exists(MOUNTING) and tree.exists(LENS)):
        return None
    lenses, number = _numbers(tree, LENS), camera.rpartition("_")[2]
    turn = _of(lenses, LENS, f"R_rect_{number}", 9).reshape(3, 3)
    projection = _of(lenses, LENS, f"P_rect_{number}", 12).reshape(3, 4)
    width, height = _of(lenses, LENS, f"S_rect_{number}", 2)
    camera_from_rectified = inverse(transform(turn, np.zeros(3)))
    return read_mounting(tree, camera) @ camera_from_rectified, projection[:, :3], (int(width), int(height))


def read_mounting(tree: Tree, camera: str) -> Float[np.ndarray, "4 4"]:
    """Ego from the camera (x right, y down, z along the lens's axis), before rectification."""
    imu_from_camera = _of(_numbers(tree, MOUNTING), MOUNTING, camera, 12).reshape(3, 4)
    return EGO_FROM_IMU @ transform(imu_from_camera[:, :3], imu_from_camera[:, 3])


def _numbers(tree: Tree, name: str) -> dict[str, list[float]]:
    """The lines "key: numbers" of a file; others, as its date, are left out."""
    found = {}
    for line in tree.read(name, limits.ROW).decode(errors="replace").splitlines():
        key, colon, rest = line.partition(":")
        try:
            found[key.strip()] = [float(part) for part in rest.split()] if colon else []
        except ValueError:
            continue
    return found


def _of(lines: dict[str, list[float]], name: str, key: str, count: int) -> Float[np.ndarray, "_"]:
    values = np.array(lines.get(key, []), np.float64)
    if len(values) != count or not np.isfinite(values).all():
        raise DwmError(f"{name}: {key} is missing, or not {count} finite numbers; fetch it again")
    return values
