"""Tables of a format whose files are read recording by recording: each is read whole once, and kept as columns beside the data."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from dwm import progress
from dwm.conventions import CAPTION_KEYS
from dwm.data.captions import CaptionFiles, find_caption_files, named_caption_files
from dwm.data.dataset import Finding
from dwm.data.tables.columns import TEXT
from dwm.data.tables.relations import lane_rows
from dwm.data.tables.scene_tables import SCHEMAS, SceneTables
from dwm.errors import DwmError
from dwm.storage import KeptParts, cache_folder, kept_tables

NOTES = pa.schema({"scene": TEXT, "cause": TEXT})
"""What of a recording could not be taken over, and why."""
KEPT = ("scenes", "sensors", "instants", "frames", "boxes")
ROW_SCHEMAS = {name: SCHEMAS[name] for name in KEPT} | {"notes": NOTES}
PART_SECONDS = 20.0
"""How much work a build that is stopped may lose."""
Rows = Mapping[str, "list[dict[str, Any]] | pa.Table"]
"""Rows of `KEPT` and of the notes, of one recording; a table that is not there has none."""


@dataclass(frozen=True)
class RowTables(SceneTables):
    """The format's own class reads a recording, and its map and captions when they are asked for."""

    joined = KEPT
    recording: ClassVar[str]
    """What one is called, as in "a log has no boxes"."""
    kept_as: ClassVar[str]
    """Raised when what is kept changes."""

    @property
    @abstractmethod
    def recordings(self) -> Sequence[Any]:
        """In the order of the scenes."""

    @abstractmethod
    def rows_of(self, recording: Any) -> Rows:
        """Raises DwmError for a file that is missing or damaged."""

    def called(self, name: str) -> str:
        return f"{self.tree.where}: {self.title} ({name})"

    def table(self, name: str) -> pa.Table | None:
        if name == "captions":
            return self._caption_rows()
        if name == "lanes":
            maps = filter(None, self._rows["scenes"]["map"].to_pylist())
            lanes = [row for scene in maps for row in lane_rows(scene, self.map(scene))]
            return pa.Table.from_pylist(lanes, SCHEMAS["lanes"]) if lanes else None
        return self._rows[name]

    def captions(self, named: tuple[str, str] | None = None) -> list[CaptionFiles]:
        """What the files say, by the format's own keys."""
        parts = named_caption_files(self.tree, named) if named else find_caption_files(self.tree, self.version)
        return [self.caption_files(part.name, part.captions, part.times) for part in parts]

    def _caption_rows(self) -> pa.Table | None:
        """What the caption files say of the cameras of these recordings."""
        sensors, rows = self._rows["sensors"], []
        cameras = pc.unique(sensors["name"].filter(pc.equal(sensors["kind"], "camera"))).to_pylist()
        pairs = [(scene, camera) for scene in self._rows["scenes"]["token"].to_pylist() for camera in cameras]
        for part in self.captions():
            for scene, camera in pairs:
                for at in part.times.get(part.camera_key(scene, camera), ()):
                    if (key := part.key(scene, camera, at)) in part.captions:
                        if (fault := part.fault(key)) is not None:
                            raise DwmError(fault)
                        words = {name: part.captions[key].get(name, "") for name in CAPTION_KEYS}
                        rows.append({"scene": scene, "sensor": camera, "at": int(at)} | words)
        return pa.Table.from_pylist(rows, SCHEMAS["captions"]) if rows else None

    def lost_rows(self) -> Iterator[Finding]:
        notes = self._rows["notes"].to_pylist()
        for cause, count in Counter(note["cause"] for note in notes).items():
            scene = next(note["scene"] for note in notes if note["cause"] == cause)
            yield Finding(f"a {self.recording} {cause}", count, scene, False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_rows"}

    @cached_property
    def _rows(self) -> Mapping[str, pa.Table]:
        """All that the recordings say."""
        key = " ".join((self.kept_as, *(f"{file} {self.tree.stamp(file)}" for file in self.files)))
        parts = KeptParts(cache_folder(self.tree.beside), f"{self.version}.rows", key)
        return kept_tables(parts.folder, parts.name, key, lambda: self._read_all(parts))[0]

    def _read_all(self, kept: KeptParts) -> dict[str, pa.Table]:
        """What was read is kept every `PART_SECONDS`: of a thousand recordings none is read again where a build was stopped."""
        recordings, parts, done = self.recordings, [], 0
        for count, part in kept.load():
            if {name: table.schema for name, table in part.items()} != ROW_SCHEMAS:
                break
            parts.append(part)
            done += count
        what, of = f"{self.tree.where}: {self.title}", len(recordings)
        if done:
            progress.note(f"{what}: {done} of {of} {self.recording}s were read before; going on from there")
        fresh, since = [], time.monotonic()
        for number, recording in enumerate(
            progress.track(recordings[done:], what, unit=f"{self.recording}s"), done + 1
        ):
            fresh.append(_as_tables(self.rows_of(recording)))
            if time.monotonic() - since >= PART_SECONDS and number < of:
                parts.append(_joined(fresh))
                kept.keep(number - len(fresh), len(fresh), parts[-1])
                fresh, since = [], time.monotonic()
        return _joined([*parts, *fresh])


def _as_tables(rows: Rows) -> dict[str, pa.Table]:
    return {
        name: value if isinstance(value := rows.get(name, []), pa.Table) else pa.Table.from_pylist(value, schema)
        for name, schema in ROW_SCHEMAS.items()
    }


def _joined(parts: Sequence[Mapping[str, pa.Table]]) -> dict[str, pa.Table]:
    empty = {name: schema.empty_table() for name, schema in ROW_SCHEMAS.items()}
    return {name: pa.concat_tables([table, *(part[name] for part in parts)]) for name, table in empty.items()}
