"""A clip as a recording for the Rerun viewer (`.rrd`): cameras, boxes, lanes, LiDAR, the car's way. Needs the extra `rerun`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float
from PIL import Image

from dwm.clip import Clip, LaneMap, outlines
from dwm.data.layout import color_of
from dwm.data.options import BOX_COLORS, MAP_COLORS
from dwm.data.overview import DEPTH_COLORS, DEPTH_METRES, LookOptions, sweeps_in_world
from dwm.errors import DwmError
from dwm.geometry import quaternion_from_rotation
from dwm.storage import atomic_write

NEAR_METRES = 100.0
"""How far from the car's way lanes are kept."""
QUALITY = 90


def save_recording(clip: Clip, path: str | Path, options: LookOptions = LookOptions()) -> Path:
    """Writes a clip as a Rerun recording; it appears when it is whole.

    Timelines: `time` (seconds since the first picture, each sensor at its own instant) and `frame`. Everything lies in the
    world's frame, z up, metres. Pictures are stored `tile_width` wide, with intrinsics to match. Raises DwmError where Rerun
    is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise DwmError(f"{path}: a .rrd is written by Rerun, which is not here: pip install 'dwm[rerun]'") from error
    recorder = _Recorder(clip, options, rerun, rerun.RecordingStream(f"dwm {clip.scene}"))
    # Rerun's own way to a file says nothing of a full disk: the recording is made in memory, and written as any other file.
    memory = recorder.stream.memory_recording()
    recorder.stream.send_blueprint(recorder.arrangement())
    recorder.record()
    content = memory.drain_as_bytes()
    recorder.stream.disconnect()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


@dataclass(frozen=True)
class _Recorder:
    clip: Clip
    options: LookOptions
    rerun: Any
    stream: Any

    def arrangement(self) -> Any:
        """What the viewer shows at first: the scene in space, the cameras beside it, the words below."""
        from rerun import blueprint

        cameras = [blueprint.Spatial2DView(origin=f"world/cameras/{name}", name=name) for name in self.clip.views]
        beside = blueprint.Grid(*cameras, grid_columns=min(3, len(cameras)))
        if self.clip.captions is not None:
            beside = blueprint.Vertical(beside, blueprint.TextDocumentView(origin="words"), row_shares=[4, 1])
        space = blueprint.Spatial3DView(origin="world", name=self.clip.scene)
        return blueprint.Blueprint(blueprint.Horizontal(space, beside, column_shares=[2, 3]))

    def record(self) -> None:
        self._log("world", self.rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        if self.options.map and self.clip.map is not None:
            self._map(self.clip.map)
        self._way()
        sweeps = sweeps_in_world(self.clip) if self.options.lidar else [None] * self.clip.length
        for frame in range(self.clip.length):
            self.stream.set_time("frame", sequence=frame)
            self._at(self._seconds(frame, 0))
            if self.options.boxes:
                self._boxes(frame)
            if self.clip.captions is not None:
                lines = [f"**{n}** {c.text()}" for n, c in zip(self.clip.views, self.clip.captions[frame], strict=True)]
                self._log("words", self.rerun.TextDocument("\n\n".join(lines), media_type="text/markdown"))
            self._car(frame)
            if (sweep := sweeps[frame]) is not None:
                self._sweep(sweep, _car_poses(self.clip)[frame, :3, 3])
            for view in range(len(self.clip.views)):
                self._at(self._seconds(frame, view))
                self._camera(frame, view)

    def _log(self, entity: str, what: Any, static: bool = False) -> None:
        self.stream.log(entity, what, static=static)

    def _at(self, seconds: float) -> None:
        self.stream.set_time("time", duration=seconds)

    def _seconds(self, frame: int, view: int) -> float:
        return float(self.clip.times[frame, view] - self.clip.times.min()) / 1e6

    def _map(self, lane_map: LaneMap) -> None:
        """Outlines of the map's layers around the car's way."""
        way = shapely.LineString(_way_of(self.clip)[:, :2]).buffer(NEAR_METRES)
        for layer, polygons in lane_map.layers.items():
            near = np.sort(lane_map.trees[layer].query(way, predicate="intersects"))
            rings = outlines([polygons[i] for i in near])
            strips = [np.nan_to_num(shapely.get_coordinates(ring, include_z=True)) for ring in rings]
            if strips:
                self._log(f"world/map/{layer}", self.rerun.LineStrips3D(strips, colors=MAP_COLORS[layer]), static=True)

    def _way(self) -> None:
        way = self.rerun.LineStrips3D([_way_of(self.clip)], colors=[255, 255, 255], radii=0.1)
        self._log("world/way", way, static=True)

    def _car(self, frame: int) -> None:
        """The car's pose: an arrow of four metres, forward."""
        self._log("world/car", self._transform(_car_poses(self.clip)[frame]))
        self._log("world/car", self.rerun.Arrows3D(vectors=[[4.0, 0, 0]], colors=[255, 255, 255]))

    def _boxes(self, frame: int) -> None:
        boxes = None if self.clip.boxes is None else next((one for one in self.clip.boxes[frame] if one), None)
        if boxes is None:
            self._log("world/boxes", self.rerun.Clear(recursive=False))
            return
        turns = [self._quaternion(rotation) for rotation in boxes.rotation]
        colors = [color_of(name, BOX_COLORS) or (128, 128, 128) for name in boxes.category]
        geometry = {"centers": boxes.center, "half_sizes": boxes.size / 2, "quaternions": turns}
        boxes3d = self.rerun.Boxes3D(**geometry, colors=colors, labels=boxes.category, show_labels=False)
        self._log("world/boxes", boxes3d)

    def _sweep(self, points: Float[np.ndarray, "n 3"], car: Float[np.ndarray, "3"]) -> None:
        depth = np.linalg.norm(points - car, axis=1)
        colors = np.stack([np.interp(depth, DEPTH_METRES, DEPTH_COLORS[:, c]) for c in range(3)], 1).astype(np.uint8)
        self._log("world/lidar", self.rerun.Points3D(points, colors=colors, radii=0.05))

    def _camera(self, frame: int, view: int) -> None:
        rig, entity = self.clip.rig.at(frame), f"world/cameras/{self.clip.views[view]}"
        self._log(entity, self._transform(self.clip.world_from_ego[frame, view] @ rig.ego_from_camera[view]))
        width = min(self.options.tile_width, int(rig.image_size[view, 0]))
        scale = width / rig.image_size[view, 0]
        size = (width, round(scale * rig.image_size[view, 1]))
        intrinsics = np.diag([scale, scale, 1.0]) @ rig.intrinsics[view]
        axes = self.rerun.ViewCoordinates.RDF
        self._log(entity, self.rerun.Pinhole(image_from_camera=intrinsics, resolution=size, camera_xyz=axes))
        if self.clip.pictures is not None:
            jpeg = io.BytesIO()
            Image.fromarray(self.clip.pictures.load(frame, view, size)).save(jpeg, "JPEG", quality=QUALITY)
            self._log(entity, self.rerun.EncodedImage(contents=jpeg.getvalue(), media_type="image/jpeg"))

    def _transform(self, pose: Float[np.ndarray, "4 4"]) -> Any:
        return self.rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])

    def _quaternion(self, rotation: Float[np.ndarray, "3 3"]) -> Any:
        w, x, y, z = quaternion_from_rotation(rotation)
        return self.rerun.Quaternion(xyzw=[x, y, z, w])


def _car_poses(clip: Clip) -> Float[np.ndarray, "t 4 4"]:
    return clip.world_from_ego[:, 0] if clip.lidar is None else clip.lidar.world_from_ego


def _way_of(clip: Clip) -> Float[np.ndarray, "t 3"]:
    """Where the car stands, frame by frame; a single place twice, since a line has two ends."""
    positions = _car_poses(clip)[:, :3, 3]
    return positions if len(positions) > 1 else np.repeat(positions, 2, 0)
