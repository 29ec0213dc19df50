"""A clip of which only the cameras are known: what words alone are generated into. Reads nothing."""

from __future__ import annotations

import numpy as np

from dwm.clip import Clip, Rig
from dwm.conventions import NUSCENES_VIEWS
from dwm.errors import DwmError, nearest
from dwm.geometry import rotation_z, transform

SIZE = (1600, 900)
MOUNTS = {
    # name: (heading in degrees to the left, focal length in pixels, position on the car in metres)
    "CAM_FRONT_LEFT": (55.0, 1260.0, (1.5, 0.5, 1.5)),
    "CAM_FRONT": (0.0, 1260.0, (1.7, 0.0, 1.5)),
    "CAM_FRONT_RIGHT": (-55.0, 1260.0, (1.5, -0.5, 1.5)),
    "CAM_BACK_RIGHT": (-110.0, 1260.0, (1.0, -0.5, 1.5)),
    "CAM_BACK": (180.0, 800.0, (0.0, 0.0, 1.5)),
    "CAM_BACK_LEFT": (110.0, 1260.0, (1.0, 0.5, 1.5)),
}
EGO_FROM_FORWARD_CAMERA = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""A camera that looks ahead: its z is the car's x, its x the car's right, its y down."""


def plain_clip(views: tuple[str, ...], frames: int, fps: float) -> Clip:
    """A standing car with the six usual cameras, of which `views` are used; no boxes, no map, no captions."""
    for name in views:
        if name not in MOUNTS:
            raise DwmError(f"camera {name} is not known{nearest(name, MOUNTS)} (known: {', '.join(NUSCENES_VIEWS)})")
    mounts = [MOUNTS[name] for name in views]
    intrinsics = np.array([[[f, 0, SIZE[0] / 2], [0, f, SIZE[1] / 2], [0, 0, 1]] for _, f, _ in mounts], float)
    poses = np.stack(
        [transform(rotation_z(np.deg2rad(yaw)) @ EGO_FROM_FORWARD_CAMERA, np.array(at)) for yaw, _, at in mounts]
    )
    rig = Rig(views, intrinsics, poses, np.tile(np.array(SIZE), (len(views), 1)))
    stamps = np.round(np.arange(frames) * 1e6 / fps).astype(np.int64)
    return Clip(
        scene="",
        fps=fps,
        rig=rig,
        times=np.tile(stamps[:, None], (1, len(views))),
        world_from_ego=np.tile(np.eye(4), (frames, len(views), 1, 1)),
    )
