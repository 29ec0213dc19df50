"""The tables of a data set with their index, and what is looked up in them: maps, boxes, captions. Cuts no clips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from dwm.clip import Boxes, Caption, LaneMap
from dwm.data.captions import CaptionFiles
from dwm.data.dataset import ReadOptions
from dwm.data.tables.columns import numbers, vectors
from dwm.data.tables.index import Index
from dwm.data.tables.motion import between_rotations
from dwm.data.tables.scene_tables import SceneTables
from dwm.errors import DwmError
from dwm.geometry import rotation_from_quaternion
from dwm.storage import Tree


@dataclass(frozen=True)
class Columns:
    """Views of the index's number columns, so that slicing them makes no objects."""

    timestamp: Float[np.ndarray, "n"]
    key: Bool[np.ndarray, "n"]
    calibration: Int[np.ndarray, "n"]
    sample: Int[np.ndarray, "n"]
    width: Int[np.ndarray, "n"]
    height: Int[np.ndarray, "n"]
    translation: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 4"]


@dataclass(frozen=True)
class IndexedTables:
    """Picklable: a kept index goes to workers as the place where it lies."""

    source: SceneTables
    index: Index
    options: ReadOptions
    caption_files: tuple[CaptionFiles, ...] = ()

    @property
    def tree(self) -> Tree:
        return self.source.tree

    def map(self, location: str) -> LaneMap:
        """The map of a location, read once."""
        if location not in self._maps:
            self._maps[location] = self.source.map(location)
        return self._maps[location]

    def boxes_of(self, sample: int) -> Boxes:
        """The boxes that were annotated at a sample, in the table's order."""
        part = self._annotated(sample)
        return self._as_boxes(part, vectors(part, "translation"), vectors(part, "rotation"))

    def boxes_between(self, before: int, after: int, share: float) -> Boxes:
        """The boxes of what is annotated at two samples, `share` of the way between them: sizes are the first one's."""
        first, last = self._annotated(before), self._annotated(after)
        row_of = {instance: row for row, instance in enumerate(numbers(last, "instance").tolist())}
        follows = [row_of.get(instance, -1) for instance in numbers(first, "instance").tolist()]
        stays = [row for row, other in enumerate(follows) if other >= 0]
        whole = pa.int64()  # an empty list has no type of its own
        first, last = first.take(pa.array(stays, whole)), last.take(pa.array([follows[row] for row in stays], whole))
        centres = (1 - share) * vectors(first, "translation") + share * vectors(last, "translation")
        turned = between_rotations(vectors(first, "rotation"), vectors(last, "rotation"), np.array([share]))
        return self._as_boxes(first, centres, turned[:, 0])

    def _annotated(self, sample: int) -> pa.Table:
        start, stop = (self.index.samples[name][int(sample)].as_py() for name in ("start", "stop"))
        return self.index.boxes.slice(start, stop - start).combine_chunks()

    def _as_boxes(
        self, part: pa.Table, centres: Float[np.ndarray, "n 3"], quaternions: Float[np.ndarray, "n 4"]
    ) -> Boxes:
        names, instances = self.index.categories["name"], self.index.instances["token"]
        return Boxes(
            centres,
            vectors(part, "size")[:, [1, 0, 2]],
            rotation_from_quaternion(quaternions),
            tuple(names.take(part["category"]).to_pylist()),
            tuple(instances.take(part["instance"]).to_pylist()),
        )

    def caption(self, scene: int, view: str, stamp: float) -> Caption:
        """The caption of a picture, by the policy `missing_captions` where there is none."""
        token, name, description = (self.index.scenes[part][scene].as_py() for part in ("token", "name", "description"))
        strict = self.options.missing_captions == "error"
        for part in self.caption_files:
            if (entry := part.at(token, view, stamp, strict)) is not None:
                return entry
        if strict:
            names = ", ".join(part.name for part in self.caption_files)
            raise DwmError(
                f"{names}: nothing about camera {view} of {name} ({token}|{view}); add it, or read with "
                "missing_captions=empty or =description"
            )
        return Caption(image_description=description if self.options.missing_captions == "description" else "")

    @cached_property
    def columns(self) -> Columns:
        frames = self.index.frames
        plain = {name: numbers(frames, name) for name in ("timestamp", "calibration", "sample", "width", "height")}
        key = numbers(frames, "key")
        return Columns(
            key=key, translation=vectors(frames, "translation"), rotation=vectors(frames, "rotation"), **plain
        )

    @cached_property
    def _maps(self) -> dict[str, LaneMap]:
        return {}
