"""Argoverse 2 Sensor as tables: what all logs say is read once, and kept as columns. A log's map is read when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from dwm.clip import LaneMap
from dwm.conventions import CAPTION_KEYS
from dwm.data.argoverse.captions import ArgoverseCaptions
from dwm.data.argoverse.log_rows import LogRows
from dwm.data.argoverse.logs import CAMERAS, LIDAR, RING, SENSORS, SPLITS, Log, decode_sweep, find_logs
from dwm.data.argoverse.maps import read_map
from dwm.data.captions import CaptionFiles, find_caption_files, named_caption_files
from dwm.data.tables.row_tables import Rows, RowTables
from dwm.data.tables.scene_tables import SCHEMAS
from dwm.data.tables.sweeps import sweep_tree
from dwm.errors import DwmError, nearest
from dwm.storage import Tree

VERSION = "sensor"


def open_argoverse(tree: Tree, version: str | None) -> ArgoverseTables:
    """All logs of a tree. Raises DwmError for another version than "sensor"."""
    if version not in (None, VERSION):
        raise DwmError(
            f"{tree.where}: Argoverse 2 has no version {version}{nearest(version, (VERSION,))}; leave it out"
        )
    logs = find_logs(tree)
    if twice := [name for name, count in Counter(log.name for log in logs).items() if count > 1]:
        raise DwmError(f"{tree.where}: the log {twice[0]} lies in two places; remove one")
    sweeps = sweep_tree(tree, f"/{SENSORS}/{LIDAR}/", ".feather", decode_sweep)
    return ArgoverseTables(sweeps, VERSION, tuple(logs))


@dataclass(frozen=True)
class ArgoverseTables(RowTables):
    """Logs of all splits that are there."""

    format = "Argoverse 2 sensor"
    views = RING
    recording = "log"
    kept_as = "argoverse 1"
    logs: tuple[Log, ...] = ()

    @property
    def label(self) -> str:
        return f"argoverse-{self.version}"

    @property
    def splits(self) -> Mapping[str, Collection[str]]:
        return {split: [log.name for log in self.logs if log.split == split] for split in SPLITS}

    @cached_property
    def files(self) -> Sequence[str]:
        """The tables of each log, and the folders of its sensors."""
        files_of_logs = []
        for log in self.logs:
            sensors = (LIDAR, CAMERAS, *log.cameras(self.tree))
            files_of_logs += [*log.tables, log.file("map/"), *(log.file(f"{SENSORS}/{name}/") for name in sensors)]
        return files_of_logs

    @property
    def recordings(self) -> Sequence[Log]:
        return self.logs

    def rows_of(self, recording: Log) -> Rows:
        return LogRows(self.tree, recording).tables()

    def table(self, name: str) -> pa.Table | None:
        return self._caption_rows() if name == "captions" else super().table(name)

    def map(self, name: str) -> LaneMap:
        """The map of a log."""
        if not name:
            return LaneMap({})
        log = next((log for log in self.logs if log.name == name), None)
        file = None if log is None else log.map(self.tree)
        if file is None:
            raise DwmError(f"{self.tree.where}: holds no map of the log {name}; fetch it again")
        return read_map(self.tree, file)

    def captions(self, named: tuple[str, str] | None = None) -> list[CaptionFiles]:
        return [*self._captions(named)]

    def _captions(self, named: tuple[str, str] | None = None) -> list[ArgoverseCaptions]:
        parts = named_caption_files(self.tree, named) if named else find_caption_files(self.tree, self.version)
        logs = {log.token: log for log in self.logs}
        return [ArgoverseCaptions(part.name, part.captions, part.times, self.tree, logs) for part in parts]

    def _caption_rows(self) -> pa.Table | None:
        """What the caption files say of these logs, its times in whole µs."""
        tokens = {log.token for log in self.logs}
        rows = []
        for part in self._captions():
            for camera_key in part.times:
                scene, _, sensor = camera_key.partition("|")
                for at, key in part.in_microseconds(scene, sensor) if scene in tokens else ():
                    if (fault := part.fault(key)) is not None:
                        raise DwmError(fault)
                    words = {name: part.captions[key].get(name, "") for name in CAPTION_KEYS}
                    rows.append({"scene": scene, "sensor": sensor, "at": at} | words)
        return pa.Table.from_pylist(rows, SCHEMAS["captions"]) if rows else None
