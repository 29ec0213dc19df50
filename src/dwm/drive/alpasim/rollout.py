"""One session of AlpaSim: what was sent at its start, what was drawn last, and the pictures of the next poses. It knows no gRPC."""

from __future__ import annotations

import io
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from dwm.clip import Boxes, Caption, Clip, LaneMap
from dwm.drive.alpasim.cameras import Camera, matrix, read_cameras, rig_of, ring
from dwm.drive.alpasim.world_map import read_map
from dwm.drive.world import LONGEST_PROMPT, as_bytes, as_jpeg, layout_of
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline

MOST_FRAMES = 64
"""Of one chunk."""
MOST_ACTORS = 2_000
PNG, JPEG = 1, 2
QUALITY = 90
CATEGORIES = {
    1: "vehicle.car", 2: "vehicle.truck", 3: "human.pedestrian.adult", 4: "vehicle.bicycle", 5: "movable_object.barrier",
}  # fmt: skip
OTHER = 5
Views = UInt8[np.ndarray, "v h w 3"]


@dataclass(frozen=True)
class Settings:
    """How all sessions draw; what is None is as the weights like it."""

    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    force: bool = False


@dataclass(frozen=True)
class Past:
    """The pictures that a chunk begins with, views in the rig's order; of the frames behind them none is asked for."""

    frames: Sequence[Views]

    def load(self, frame: int, view: int, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        if frame < len(self.frames):
            return self.frames[frame][view]
        height, width = self.frames[0].shape[1:3]
        return np.zeros((height, width, 3), np.uint8)


@dataclass(frozen=True)
class Instant:
    """One frame: its time in µs, the rig's pose and the actors in the session's frame."""

    time: int
    world_from_ego: Float[np.ndarray, "4 4"]
    boxes: Boxes


class Rollout:
    """A drive that a simulator drives. Raises DwmError for a request that cannot be drawn."""

    def __init__(self, pipe: DrivingPipeline, request: Any, settings: Settings) -> None:
        """request: a `SessionRequest`."""
        self.pipe, self.settings = pipe, settings
        cameras = read_cameras(request.camera_specs, request.rig_to_camera)
        self.order = ring(cameras)
        """The request's cameras in the rig's order."""
        self.cameras = tuple(cameras[number] for number in self.order)
        self.rig = rig_of(self.cameras)
        self.size = settings.size or (pipe.card.sizes[0] if pipe.card.sizes else self.cameras[0].size)
        if not settings.force:
            pipe.card.check(self.size, pipe.card.window or 1, len(self.cameras))
        self.map: LaneMap | None = read_map(request.static_world_map.hdmap_parquets)
        self.prompt, self.negative = request.text_prompt.positive, request.text_prompt.negative
        if max(len(self.prompt), len(self.negative)) > LONGEST_PROMPT:
            raise DwmError(f"text_prompt: {LONGEST_PROMPT} letters at most")
        self.shows_layout = request.debug_options.return_hdmap_frames
        self.draws = not request.debug_options.skip_video_generation
        self.generator = torch.Generator().manual_seed(request.random_seed or secrets.randbits(63))
        self.drawn: list[Views] = self._first(request.initial_frames)
        self.instants: list[Instant] = []
        """Of the pictures in `drawn`; the first picture's comes with the first chunk."""

    def _first(self, frames: Sequence[Any]) -> list[Views]:
        """The pictures that the session begins with, none where none were sent."""
        if not frames:
            return []
        if len(frames) != len(self.cameras):
            raise DwmError(f"initial_frames: {len(frames)} for {len(self.cameras)} cameras; give one of each, or none")
        seen = [
            as_pinhole(_decoded(frames[number], camera), camera, self.size)
            for number, camera in zip(self.order, self.cameras, strict=True)
        ]
        return [np.stack(seen)]

    def chunk(self, request: Any) -> list[tuple[str, list[bytes], list[bytes]]]:
        """The next pictures, for each camera in the order in which they were sent: its name, its JPEGs, those of its layout."""
        instants = _instants(request)
        if self.instants and instants[0].time <= self.instants[-1].time:
            raise DwmError(
                f"rig_trajectory: begins at {instants[0].time} µs, and {self.instants[-1].time} µs was drawn already"
            )
        pictures = self._drawn(instants) if self.draws else []
        layouts = self._layouts(instants) if self.shows_layout else []
        answers: list[Any] = [None] * len(self.cameras)
        for view, (number, camera) in enumerate(zip(self.order, self.cameras, strict=True)):
            rows = [
                [as_jpeg(camera.shown(views[view]), QUALITY, subsampling=2) for views in row]
                for row in (pictures, layouts)
            ]
            answers[number] = (camera.name, *rows)
        return answers

    def _drawn(self, instants: list[Instant]) -> list[Views]:
        """Pictures of these frames, which go on from the last ones."""
        if self.drawn and not self.instants:
            # The first pictures were taken one interval before the first pose.
            self.instants = [_beside(instants, -1)]
        total = self._length(len(instants) + 1 if self.drawn else len(instants))
        before = min(len(self.drawn), total - len(instants))
        past = self.instants[len(self.instants) - before :]
        after = [_beside(instants, number + 1) for number in range(total - before - len(instants))]
        clip = self._clip([*past, *instants, *after], self.drawn[len(self.drawn) - before :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a session without words is no mistake of ours
            video = self.pipe(
                clip,
                prompt=self.prompt or None,
                negative_prompt=self.negative,
                num_inference_steps=self.settings.steps,
                guidance_scale=self.settings.guidance,
                generator=self.generator,
                reference_frames=before,
                size=self.size,
                force=self.settings.force,
                output_type="pt",
            )
        made = [as_bytes(video[:, before + frame].float().cpu()) for frame in range(len(instants))]
        longest = max(self.pipe.card.window or 2, 2) - 1
        self.drawn, self.instants = [*self.drawn, *made][-longest:], [*self.instants, *instants][-longest:]
        return made

    def _length(self, frames: int) -> int:
        """The shortest clip of at least so many frames that the weights know."""
        lengths = self.pipe.card.lengths
        return frames if not lengths else min((one for one in lengths if one >= frames), default=frames)

    def _clip(self, instants: list[Instant], pictures: list[Views]) -> Clip:
        views = len(self.cameras)
        times = np.array([instant.time for instant in instants], np.int64)
        poses = np.stack([instant.world_from_ego for instant in instants])
        caption = Caption(image_description=self.prompt) if self.prompt else None
        return Clip(
            scene="alpasim",
            fps=_rate(times),
            rig=self.rig,
            times=np.tile(times[:, None], (1, views)),
            world_from_ego=np.tile(poses[:, None], (1, views, 1, 1)),
            pictures=Past(pictures) if pictures else None,
            boxes=tuple((instant.boxes,) * views for instant in instants),
            map=self.map,
            captions=None if caption is None else ((caption,) * views,) * len(instants),
        )

    def _layouts(self, instants: list[Instant]) -> list[Views]:
        """What the network is told, drawn."""
        told = self.pipe.conditions(self._clip(instants, []), None, self.size)
        rows = [layout_of(told.frames_from(frame, frame + 1)) for frame in range(len(instants))]
        return [row for row in rows if row is not None]


def as_pinhole(
    picture: UInt8[np.ndarray, "H W 3"], camera: Camera, size: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """A camera's picture as the network draws it: straightened, at `size` (width, height)."""
    return np.asarray(Image.fromarray(camera.straightened(picture)).resize(size, Image.Resampling.BOX))


def _instants(request: Any) -> list[Instant]:
    """The frames of a `ChunkRequest`."""
    poses, actors = request.rig_trajectory.poses, request.dynamic_state.actors
    if not 0 < len(poses) <= MOST_FRAMES:
        raise DwmError(f"rig_trajectory: {len(poses)} poses; a chunk has 1 to {MOST_FRAMES}")
    if len(actors) > MOST_ACTORS:
        raise DwmError(f"dynamic_state: {len(actors)} actors; {MOST_ACTORS} at most")
    times = np.array([pose.timestamp_us for pose in poses], object)
    if any(time >= 1 << 62 for time in times) or (np.diff(times) <= 0).any():
        raise DwmError("rig_trajectory: timestamps_us do not rise")
    tracks = [_Track.of(number, actor) for number, actor in enumerate(actors)]
    rows = []
    for pose in poses:
        there = [(track, place) for track in tracks if (place := track.at(pose.timestamp_us)) is not None]
        rows.append(Instant(pose.timestamp_us, matrix(pose.pose, "rig_trajectory"), _boxes(there)))
    return rows


@dataclass(frozen=True)
class _Track:
    """One actor's poses by their times."""

    name: str
    category: str
    size: tuple[float, float, float]
    times: Float[np.ndarray, "n"]
    poses: Float[np.ndarray, "n 4 4"]

    @classmethod
    def of(cls, number: int, actor: Any) -> _Track:
        field = f"dynamic_state actor {number}"
        size = (actor.bbox_dims.size_x, actor.bbox_dims.size_y, actor.bbox_dims.size_z)
        if not all(0 < side < 1000 for side in size):
            raise DwmError(f"{field}: bbox_dims {size}; give metres above 0")
        times = np.array([one.timestamp_us for one in actor.trajectory.poses], float)
        if (np.diff(times) <= 0).any():
            raise DwmError(f"{field}: timestamps_us do not rise")
        poses = [matrix(one.pose, field) for one in actor.trajectory.poses]
        category = CATEGORIES.get(actor.class_id, CATEGORIES[OTHER])
        return cls(f"actor-{number}", category, size, times, np.array(poses).reshape(-1, 4, 4))

    def at(self, time: int) -> Float[np.ndarray, "4 4"] | None:
        """The pose at a time: of that moment, else of the nearest one of the two around it; None before and after."""
        if not len(self.times) or not self.times[0] <= time <= self.times[-1]:
            return None
        return self.poses[int(np.abs(self.times - time).argmin())]


def _boxes(there: list[tuple[_Track, Float[np.ndarray, "4 4"]]]) -> Boxes:
    poses = np.array([place for _, place in there]).reshape(-1, 4, 4)
    return Boxes(
        poses[:, :3, 3],
        np.array([track.size for track, _ in there], float).reshape(-1, 3),
        poses[:, :3, :3],
        tuple(track.category for track, _ in there),
        tuple(track.name for track, _ in there),
    )


def _beside(instants: list[Instant], steps: int) -> Instant:
    """The frame `steps` before the first (negative) or after the last: the car goes on as it went, all others stand."""
    edge = instants[0] if steps < 0 else instants[-1]
    if len(instants) < 2:
        return replace(edge, time=edge.time + steps * 33_333)
    near = instants[1] if steps < 0 else instants[-2]
    motion = np.linalg.inv(near.world_from_ego) @ edge.world_from_ego
    pose = edge.world_from_ego @ np.linalg.matrix_power(motion, abs(steps))
    return Instant(edge.time + abs(steps) * (edge.time - near.time), pose, edge.boxes)


def _rate(times: np.ndarray) -> float:
    return float(1e6 / np.median(np.diff(times))) if len(times) > 1 else 30.0


def _decoded(picture: Any, camera: Camera) -> UInt8[np.ndarray, "H W 3"]:
    """An initial frame. Raises DwmError where it is no JPEG or PNG of the camera's size."""
    field = f"initial_frames of {camera.name}"
    if picture.format not in (PNG, JPEG):
        raise DwmError(f"{field}: format {picture.format}; PNG (1) and JPEG (2) are read")
    try:
        with Image.open(io.BytesIO(picture.data), formats=["PNG" if picture.format == PNG else "JPEG"]) as opened:
            if opened.width > 8192 or opened.height > 8192:
                raise DwmError(f"{field}: {opened.width}x{opened.height} is more than 8192 a side")
            seen = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DwmError(f"{field}: cannot be read ({str(error)[:80]})") from None
    return np.asarray(seen if seen.size == camera.size else seen.resize(camera.size, Image.Resampling.BILINEAR))
