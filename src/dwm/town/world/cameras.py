"""The six cameras of the town's cars: calibrated and mounted like those of nuScenes, jittered a little from car to car."""

from __future__ import annotations

import numpy as np

from dwm.clip import Rig
from dwm.conventions import NUSCENES_VIEWS
from dwm.geometry import rotation_z, transform

IMAGE_SIZE = (1600, 900)

# name: (focal length, centre x, centre y; mounting x, y, z in metres; yaw in degrees)
MOUNTS = {
    "CAM_FRONT_LEFT": (1272.0, 826.0, 480.0, 1.52, 0.49, 1.51, 55.0),
    "CAM_FRONT": (1266.0, 816.0, 491.0, 1.70, 0.02, 1.51, 0.0),
    "CAM_FRONT_RIGHT": (1260.0, 808.0, 495.0, 1.55, -0.49, 1.50, -55.0),
    "CAM_BACK_RIGHT": (1259.0, 807.0, 501.0, 1.01, -0.48, 1.56, -110.0),
    "CAM_BACK": (809.0, 829.0, 481.0, 0.03, 0.0, 1.57, 180.0),
    "CAM_BACK_LEFT": (1256.0, 792.0, 493.0, 1.04, 0.48, 1.59, 110.0),
}
FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""ego_from_camera rotation of a camera that looks straight ahead."""


def rig(rng: np.random.Generator) -> Rig:
    """The cameras of one car, in the order of `NUSCENES_VIEWS`."""
    rows = [MOUNTS[name] for name in NUSCENES_VIEWS]
    intrinsics, mounts = [], []
    for focal, cx, cy, x, y, z, yaw in rows:
        focal, cx, cy = np.array([focal, cx, cy]) + rng.normal(0, (4.0, 4.0, 4.0))
        intrinsics.append([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])
        position = np.array([x, y, z]) + rng.normal(0, 0.01, 3)
        mounts.append(transform(rotation_z(np.radians(yaw + rng.normal(0, 0.5))) @ FORWARD, position))
    sizes = np.tile(np.array(IMAGE_SIZE), (len(rows), 1))
    return Rig(NUSCENES_VIEWS, np.array(intrinsics), np.array(mounts), sizes)
