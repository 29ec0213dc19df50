"""One scene of a data set of tables: which frames make a window, and a window as a `Clip`. Opens files through its tree alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from dwm.clip import Boxes, Caption, Clip, LidarTrack, Rig
from dwm.conventions import NUSCENES_VIEWS
from dwm.data.tables.columns import vectors
from dwm.data.tables.index import Index
from dwm.data.tables.indexed import IndexedTables
from dwm.data.tables.presence import Choice, Window, nearest_present
from dwm.data.tables.sensors import TreePictures, TreePoints
from dwm.data.windows import frame_windows, nearest_index, typical_step, unevenness
from dwm.errors import DwmError, nearest
from dwm.geometry import rotation_from_quaternion, transform


@dataclass(frozen=True)
class TableScene:
    """One scene; made by `TableDataset`. Times are seconds since its first frame."""

    tables: IndexedTables
    number: int

    @property
    def _index(self) -> Index:
        return self.tables.index

    def _text(self, column: str) -> str:
        return self._index.scenes[column][self.number].as_py()

    @property
    def name(self) -> str:
        return self._text("name")

    @property
    def token(self) -> str:
        return self._text("token")

    @property
    def description(self) -> str:
        return self._text("description")

    @property
    def location(self) -> str:
        return self._text("location")

    @cached_property
    def rows_of(self) -> dict[str, Int[np.ndarray, "_"]]:
        """The rows of the index by channel, rising in time; only key frames where the data set was opened so."""
        spans, names = self._index.spans, self._index.channels["channel"].to_pylist()
        scene = spans["scene"].to_numpy()
        rows_of_channel = {}
        for span in range(*np.searchsorted(scene, [self.number, self.number + 1])):
            rows = np.arange(spans["start"][span].as_py(), spans["stop"][span].as_py())
            if self.tables.options.key_frames_only:
                rows = rows[self.tables.columns.key[rows]]
            rows_of_channel[names[spans["channel"][span].as_py()]] = rows
        return rows_of_channel

    @cached_property
    def _kinds(self) -> dict[str, str]:
        channels = self._index.channels
        return dict(zip(channels["channel"].to_pylist(), channels["modality"].to_pylist(), strict=True))

    @property
    def views(self) -> tuple[str, ...]:
        """The cameras that the scene has pictures of: those that the options name, where they are the usual ones in the order
        of the set's ring; none where cameras are not read."""
        if not self.tables.options.cameras:
            return ()
        cameras = [name for name in self.rows_of if self._kinds[name] == "camera"]
        names, ring = self.tables.options.views, self.tables.source.views
        if names == NUSCENES_VIEWS and (ring or not (set(names) <= set(cameras) or set(names) >= set(cameras))):
            names = ring  # a car that has a CAM_FRONT among cameras of its own names is no car of nuScenes'
        ordered = [name for name in names if name in cameras]
        return tuple(ordered) or tuple(cameras)

    @property
    def caption_name(self) -> str:
        return self.token

    def caption_span(self, view: str) -> tuple[float, float] | None:
        """When (µs) a camera has its first and last picture; None where there is no such camera."""
        if view not in self.rows_of or not len(stamps := self._stamps(view)):
            return None
        return float(stamps[0]), float(stamps[-1])

    def caption_time(self, view: str, micros: float) -> float:
        """The time (µs) of the picture nearest to another time."""
        stamps = self._stamps(view)
        return float(stamps[nearest_index(stamps, np.asarray(micros))])

    def channels(self, views: Sequence[str] | None = None) -> tuple[str, ...]:
        """The LiDAR, where it is there and wanted, and these views: what a window has frames of."""
        views = tuple(self.views if views is None else views)
        for name in views:
            if name not in self.rows_of:
                others = f"it has others: --views {','.join(self.views)}" if self.views else "it has no pictures"
                raise DwmError(f"{self.name}: has no camera {name}{nearest(name, self.views)}; {others}")
        lidars = [name for name in self.rows_of if self._kinds[name] == "lidar"]
        return (lidars[0], *views) if self.tables.options.lidar and lidars else views

    @cached_property
    def seconds(self) -> float:
        """From the first to the last frame of the clock."""
        channels = self.channels()
        stamps = self._stamps(channels[0]) if channels else np.empty(0)
        return float(stamps[-1] - stamps[0]) / 1e6 if len(stamps) else 0.0

    @cached_property
    def rate(self) -> float:
        """Frames per second of the first view, as recorded."""
        clock = next(iter(self.views or self.channels()), None)
        stamps = () if clock is None else self._stamps(clock)
        return 0.0 if len(stamps) < 2 or stamps[-1] == stamps[0] else round(1e6 / typical_step(stamps), 1)

    def windows(
        self,
        length: int,
        fps: float,
        stride: float,
        views: Sequence[str] | None = None,
        check: bool = True,
        reference_oddity: bool = False,
    ) -> list[Window]:
        """All windows of `length` frames; see `frame_windows` for fps and stride (by index with fps 0)."""
        if not self.views and (
            views or not self.channels()
        ):  # `clip` says so; among other scenes it just gives no windows
            return []
        channels = self.channels(views)
        self._tell_unevenness(channels, fps)
        stamps = [self._stamps(channel) for channel in channels]
        keys = [self.tables.columns.key[self.rows_of[channel]] for channel in channels]
        indices = frame_windows(stamps, keys, length, fps, stride, check, reference_oddity)
        rows = [self.rows_of[channel] for channel in channels]
        return [
            Window(self.number, fps, channels, np.stack([rows[s][window[:, s]] for s in range(len(channels))], 1))
            for window in indices
        ]

    def clip(
        self, start: float = 0.0, frames: int = 8, fps: float | None = None, views: Sequence[str] | None = None
    ) -> Clip:
        """`frames` frames from `start` (s) on, at `fps` (None: as recorded), each the one nearest to its time."""
        if not self.channels(views):
            raise DwmError(
                f"{self.name}: has no pictures of any camera in sample_data.json, so no clips; is a part of the tables missing?"
            )
        channels, fps = self.channels(views), fps or self.rate or 1.0
        if frames < 1 or start < 0:
            raise DwmError(
                f"{self.name}: a clip needs start ≥ 0 and frames ≥ 1; found start {start:g} s and {frames} frames"
            )
        end = start + (frames - 1) / fps
        if end > self.seconds + 0.5 / fps:
            raise DwmError(
                f"{self.name}: {frames} frames at {fps:g} fps from {start:g} s end at {end:.2f} s, but the scene lasts "
                f"{self.seconds:.2f} s; take an earlier start or fewer frames"
            )
        self._tell_unevenness(channels, fps)
        clock = self._stamps(channels[0])[0]
        instants = clock + 1e6 * (start + np.arange(frames) / fps)
        rows = self._nearest(channels, instants)
        return self.window(Window(self.number, float(fps), channels, np.stack(rows, 1)))

    def _nearest(self, channels: Sequence[str], instants: Float[np.ndarray, "t"]) -> list[Int[np.ndarray, "t"]]:
        """The rows of each channel nearest to these times (µs); of cameras those whose pictures are there."""
        rows, stamps = (
            [of[name] for name in channels] for of in (self.rows_of, {n: self._stamps(n) for n in channels})
        )
        indices = [nearest_index(times, instants) for times in stamps]
        cameras = [i for i, name in enumerate(channels) if self._kinds[name] == "camera"]
        choices = [Choice(rows[i], indices[i], np.abs(stamps[i][None] - instants[:, None])) for i in cameras]
        for i, present in zip(cameras, nearest_present(self.tables, self.name, choices), strict=True):
            indices[i] = present
        return [rows[i][indices[i]] for i in range(len(channels))]

    def window(self, window: Window) -> Clip:
        """A window as a clip."""
        views = tuple(channel for channel in window.channels if self._kinds[channel] == "camera")
        camera_rows = window.rows[:, len(window.channels) - len(views) :]
        options, tree, rig = self.tables.options, self.tables.tree, self._rig(views, camera_rows)
        return Clip(
            scene=self.name,
            fps=window.fps,
            rig=rig,
            times=self._times(camera_rows),
            world_from_ego=self._poses(camera_rows),
            pictures=TreePictures(tree, self._files(camera_rows), options.exact_pictures, self._sizes(camera_rows)),
            boxes=self._boxes(camera_rows),
            map=self.tables.map(self.location) if options.maps else None,
            captions=self._captions(views, camera_rows),
            lidar=self._lidar(window.rows[:, 0]) if len(views) < len(window.channels) else None,
            description=self.description,
        )

    def _tell_unevenness(self, channels: Sequence[str], fps: float) -> None:
        view = next((name for name in channels if self._kinds[name] == "camera"), channels[0])
        if (note := unevenness(self._stamps(view), fps)) is not None:
            warnings.warn(note, stacklevel=3)

    def _stamps(self, channel: str) -> Float[np.ndarray, "n"]:
        return self.tables.columns.timestamp[self.rows_of[channel]]

    def _times(self, rows: Int[np.ndarray, "*n"]) -> np.ndarray:
        """µs; whole numbers wherever the tables' are (nominal stamps of interpolated sets may not be)."""
        stamps = self.tables.columns.timestamp[rows]
        return stamps.astype(np.int64) if (stamps == np.floor(stamps)).all() else stamps

    def _poses(self, rows: Int[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 4 4"]:
        columns = self.tables.columns
        return transform(rotation_from_quaternion(columns.rotation[rows]), columns.translation[rows])

    def _rig(self, views: tuple[str, ...], rows: Int[np.ndarray, "t v"]) -> Rig:
        """The cameras at these pictures: (v, …) where all frames have the first one's calibration and size, as usual."""
        columns = self.tables.columns
        calibrations, sizes = columns.calibration[rows], self._sizes(rows)
        if (calibrations == calibrations[0]).all() and (sizes == sizes[0]).all():
            calibrations, sizes = calibrations[0], sizes[0]
        intrinsics = vectors(self._index.calibrations, "intrinsics")[calibrations].reshape(*calibrations.shape, 3, 3)
        blind = np.argwhere(np.isnan(intrinsics).any((-2, -1)))
        if len(blind):
            raise DwmError(
                f"calibrated_sensor.json: camera {views[blind[0, -1]]} of {self.name} has no camera_intrinsic"
            )
        flat = np.argwhere((sizes <= 0).any(-1))
        if len(flat):
            raise DwmError(f"sample_data.json: pictures of {views[flat[0, -1]]} of {self.name} have no width or height")
        return Rig(views, intrinsics, self._mounting(calibrations), sizes)

    def _sizes(self, rows: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n 2"]:
        """Width and height that the tables say of pictures."""
        return np.stack([self.tables.columns.width[rows], self.tables.columns.height[rows]], -1)

    def _mounting(self, calibration: Int[np.ndarray, "*n"] | int) -> Float[np.ndarray, "*n 4 4"]:
        """Ego from sensor of rows of the calibrations."""
        table = self._index.calibrations
        rotation = rotation_from_quaternion(vectors(table, "rotation")[calibration])
        return transform(rotation, vectors(table, "translation")[calibration])

    def _files(self, rows: Int[np.ndarray, "t v"]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(self._index.frames["filename"][int(row)].as_py() for row in line) for line in rows)

    def _boxes(self, rows: Int[np.ndarray, "t v"]) -> tuple[tuple[Boxes | None, ...], ...]:
        columns = self.tables.columns
        boxes_of = {sample: self.tables.boxes_of(int(sample)) for sample in np.unique(columns.sample[rows])}
        return tuple(
            tuple(boxes_of[columns.sample[row]] if columns.key[row] else self._boxes_between(row) for row in line)
            for line in rows
        )

    def _boxes_between(self, row: int) -> Boxes | None:
        """The boxes at a sweep's own time; None where options leave it bare, or nothing is annotated before or after it."""
        if not self.tables.options.boxes_between:
            return None
        times, samples = self._moments
        time = self.tables.columns.timestamp[row]
        after = int(np.searchsorted(times, time))
        if not 0 < after < len(times):
            return None
        share = (time - times[after - 1]) / (times[after] - times[after - 1])
        return self.tables.boxes_between(int(samples[after - 1]), int(samples[after]), float(share))

    @cached_property
    def _moments(self) -> tuple[Float[np.ndarray, "m"], Int[np.ndarray, "m"]]:
        """When boxes were annotated (µs), and the samples' numbers: nuScenes annotates at the times of the LiDAR's key frames."""
        clock = next((name for name in self.rows_of if self._kinds[name] == "lidar"), None) or self.views[0]
        columns, rows = self.tables.columns, self.rows_of[clock]
        rows = rows[columns.key[rows]]
        return columns.timestamp[rows], columns.sample[rows]

    def _captions(self, views: tuple[str, ...], rows: Int[np.ndarray, "t v"]) -> tuple[tuple[Caption, ...], ...] | None:
        if not self.tables.caption_files:
            return None
        stamps = self.tables.columns.timestamp[rows]
        return tuple(
            tuple(self.tables.caption(self.number, view, stamp) for view, stamp in zip(views, line, strict=True))
            for line in stamps
        )

    def _lidar(self, rows: Int[np.ndarray, "t"]) -> LidarTrack:
        calibrations = self.tables.columns.calibration[rows]
        mounting = self._mounting(calibrations[0] if (calibrations == calibrations[0]).all() else calibrations)
        files = tuple(self._index.frames["filename"][int(row)].as_py() for row in rows)
        boxes = None if self.views else tuple(row[0] for row in self._boxes(rows[:, None]))
        return LidarTrack(self._times(rows), self._poses(rows), mounting, TreePoints(self.tables.tree, files), boxes)
